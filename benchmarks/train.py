"""Training: through Trainer against a bare PyTorch loop, and the whole command against the official notebook's way.

    .venv/bin/python -m benchmarks.train [--rows 60000] [--epochs 4] [--pairs 5] [--bf16] [--whole_rows 122000]

1. Steps. The bare loop holds the rows as tensors and the network as the official notebook writes it, takes each batch
   by `index_select` of a random order, and does forward, loss, backward and fused Adam, nothing else. Ours is
   `GeographTrainer` as train.py sets it up, timed by its own `train_samples_per_second`, without validation and
   checkpoints, which the bare loop has not either. The plain Trainer has the same arguments and rows, as a torch
   Dataset with the default collator.
2. Whole commands, start included, on as many rows as official v1 has: train.py with its default recipe (folds, doubt,
   calibration, figures, card) against what the official notebook does, step by step, without its pictures: the
   JSONL read by `json`; a Dataset that decodes a row each time it is asked for and looks at each of its numbers with
   `math.isnan` and `math.isinf`; a DataLoader of 1,024 without workers; `.item()` of each loss; validation each epoch,
   the best model saved; scikit-learn's report of the test rows. Once with as many epochs as official v1 took (26), and
   once as each stops by itself (at most 50 epochs, patience 7). The same without the look at each number is told, too.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import Trainer

from benchmarks.measuring import in_turn, note, run_whole
from benchmarks.prepare import prepare, write_rows
from configuration_geograph import GeographConfig
from geograph_types.files import ROOT
from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.trainer import GeographTrainer
from geograph_types.training.training_arguments import GeographTrainingArguments
from modeling_geograph import GeographModel, weighted_bce

BATCH = 1024

NOTEBOOK = """
import base64, json, math, sys
import numpy as np, torch
from sklearn.metrics import classification_report
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm
source, epochs, patience, looks, saved = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
CLASSES = ["Aerial", "Close Look", "Cross Far", "Extra", "Geograph", "Inside", "From Drone"]
MAP = {"Cross Grid": "Cross Far", "From Above": "From Drone"}
DISTANCES = {"": 0, "0": 0, "Unknown": 22, **{str(2**i): i + 1 for i in range(21)}}

def decoded(text):
    vector = np.frombuffer(base64.b64decode(text), dtype=np.float32)
    if looks and any(math.isnan(x) or math.isinf(x) for x in vector):
        return [0.0] * 512
    return vector

class Photos(Dataset):
    def __init__(self, rows):
        self.rows = rows
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, i):
        row = self.rows[i]
        vector = torch.tensor(decoded(row["embeddings"]), dtype=torch.float32)
        distance = torch.tensor(DISTANCES.get(str(row["distance"]).strip(), 22), dtype=torch.long)
        labels = torch.zeros(len(CLASSES))
        for tag in row["types"].split(","):
            labels[CLASSES.index(MAP.get(tag.strip(), tag.strip()))] = 1.0
        return vector, distance, labels, torch.tensor(row.get("weight", 1.0), dtype=torch.float32)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.dist_emb = nn.Embedding(24, 16)
        self.fc = nn.Sequential(nn.Linear(528, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 7))
    def forward(self, vector, distance):
        return self.fc(torch.cat([vector, self.dist_emb(distance)], dim=1))

with open(source, encoding="utf-8") as file:
    rows = [json.loads(line) for line in file]
photos = Photos(rows)
parts = [Subset(photos, [i for i, row in enumerate(rows) if row["split"] == name]) for name in ("tra", "val", "tes")]
train = DataLoader(parts[0], batch_size=1024, shuffle=True)
validation, test = DataLoader(parts[1], batch_size=1024), DataLoader(parts[2], batch_size=64)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_of = nn.BCEWithLogitsLoss(reduction="none")
best, waited = float("inf"), 0
for epoch in range(epochs):
    model.train()
    total = 0.0
    for vector, distance, labels, weight in tqdm(train):
        optimizer.zero_grad()
        loss = (loss_of(model(vector, distance), labels).mean(dim=1) * weight).mean()
        loss.backward()
        optimizer.step()
        total += loss.item()
    model.eval()
    held = 0.0
    with torch.no_grad():
        for vector, distance, labels, weight in tqdm(validation):
            held += (loss_of(model(vector, distance), labels).mean(dim=1) * weight).mean().item()
    waited += 1
    if held < best:
        best, waited = held, 0
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, saved)
    if waited >= patience:
        break
model.load_state_dict(torch.load(saved)["model"])
answers, truth = [], []
with torch.no_grad():
    for vector, distance, labels, weight in test:
        answers.append((torch.sigmoid(model(vector, distance)) > 0.5).numpy())
        truth.append(labels.numpy())
print(classification_report(np.vstack(truth), np.vstack(answers), target_names=CLASSES, zero_division=0))
"""


class OfficialNet(nn.Module):
    """The network as the official notebook writes it."""

    def __init__(self):
        super().__init__()
        self.dist_emb = nn.Embedding(24, 16)
        self.fc = nn.Sequential(nn.Linear(528, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 7))

    def forward(self, embedding: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([embedding, self.dist_emb(distance)], dim=1))


def made_rows(count: int) -> Rows:
    """Random rows of the right shape: what they say does not change what a step costs."""
    generator = np.random.default_rng(0)
    return Rows(
        gridimage_id=np.arange(1, count + 1),
        tags=generator.random((count, 8)) < 0.2,
        distance=generator.integers(0, 23, count).astype(np.uint8),
        embedding=(generator.standard_normal((count, 512), dtype=np.float32) * 0.45),
        weight=np.ones(count, np.float32),
    )


def bare(dataset: MemoryRows, epochs: int, bf16: bool) -> float:
    """Samples a second."""
    model = OfficialNet().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    columns = (dataset.embedding, dataset.distance, dataset.labels, dataset.weight)
    start = time.perf_counter()
    for _ in range(epochs):
        for index in torch.randperm(len(dataset)).split(BATCH):
            embedding, distance, labels, weight = (column.index_select(0, index) for column in columns)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(embedding, distance)
            weighted_bce(logits, labels, weight).backward()
            optimizer.step()
            optimizer.zero_grad()
    return epochs * len(dataset) / (time.perf_counter() - start)


class OneByOne(torch.utils.data.Dataset):
    """The same rows as a plain Trainer takes them."""

    def __init__(self, rows: MemoryRows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        names = ("embedding", "distance", "labels", "weight")
        return {name: getattr(self.rows, name)[i] for name in names}


def through(trainer_class, dataset, epochs: int, bf16: bool) -> float:
    """Samples a second, as Trainer itself counts them."""
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as folder:
        args = GeographTrainingArguments(
            output_dir=folder, num_train_epochs=epochs, bf16=bf16, eval_strategy="no", save_strategy="no",
            use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        trainer = trainer_class(model=GeographModel(GeographConfig()), args=args, train_dataset=dataset)
        return trainer.train().metrics["train_samples_per_second"]


def steps(flags: argparse.Namespace) -> None:
    options = LabelArguments(distance_dropout=flags.distance_dropout)
    dataset = MemoryRows(TrainingData.of(made_rows(flags.rows), GeographConfig(), options), training=True, seed=0)
    epochs, bf16 = flags.epochs, flags.bf16
    bare(dataset, 1, bf16), through(GeographTrainer, dataset, 1, bf16)  # warm
    pairs = in_turn(
        lambda: bare(dataset, epochs, bf16), lambda: through(GeographTrainer, dataset, epochs, bf16), flags.pairs
    )
    note("train, the bare loop", [base for base, _ in pairs], "samples/s", bf16=bf16)
    note("train, through GeographTrainer", [own for _, own in pairs], "samples/s", bf16=bf16)
    note("train against the bare loop", [own / base for base, own in pairs], goal="≥ 1.0", bf16=bf16)
    plain = through(Trainer, OneByOne(dataset), 1, bf16)
    note("train against the plain Trainer", [own / plain for _, own in pairs], bf16=bf16)


def whole(rows: int, epochs: int) -> None:
    """The whole command against the notebook's way, both as long as `epochs`, and as each stops by itself."""
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        source = write_rows(folder, rows)
        run_whole(prepare(source, folder))

        def ours(epochs: int, patience: int) -> tuple[float, int, float]:
            flags = ("--num_train_epochs", epochs, "--patience", patience, "--overwrite_output_dir")
            command = [sys.executable, ROOT / "train.py", "--dataset", folder / "geograph-types", *flags]
            seconds, memory, _ = run_whole([*command, "--dataset_config", "large", "--output_dir", folder / "model"])
            return seconds, memory, json.loads((folder / "model" / "train_results.json").read_text())["epoch"]

        def theirs(epochs: int, patience: int, looks: bool = True) -> float:
            options = (source, epochs, patience, int(looks), folder / "best.pth")
            return run_whole([sys.executable, "-c", NOTEBOOK, *options])[0]

        seconds, memory, _ = ours(epochs, epochs)
        other, quicker = theirs(epochs, epochs), theirs(epochs, epochs, looks=False)
        about = {"seconds": round(seconds), "MiB": memory >> 20, "rows": rows, "epochs": epochs}
        note("train.py whole against the official way", [other / seconds], goal="≥ 4", theirs=round(other), **about)
        note("train.py whole against the official way without its look at each number", [quicker / seconds],
             theirs=round(quicker), **about)  # fmt: skip
        seconds, memory, epochs = ours(50, 7)
        other = theirs(50, 7)
        note("train.py whole against the official way, as each stops by itself", [other / seconds], goal="≥ 4",
             theirs=round(other), seconds=round(seconds), rows=rows, epochs=round(epochs))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--distance_dropout", type=float, default=0.0, help="so much more than the bare loop does")
    parser.add_argument("--whole_rows", type=int, default=122_000, help="as many as official v1 has")
    parser.add_argument("--whole_epochs", type=int, default=26, help="as many as official v1 took")
    flags = parser.parse_args()
    steps(flags)
    whole(flags.whole_rows, flags.whole_epochs)


if __name__ == "__main__":
    main()
