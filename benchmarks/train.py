"""Training: through Trainer against a bare PyTorch loop, and the whole command against loops as people write them.

    .venv/bin/python -m benchmarks.train [--rows 60000] [--epochs 4] [--pairs 5] [--bf16]

1. Steps. The bare loop holds the rows as tensors, takes each batch by `index_select` of a random order, and does
   forward, loss, backward and Adam, nothing else. Ours is `GeographTrainer` as train.py sets it up, timed by its own
   `train_samples_per_second`, without validation and checkpoints, which the bare loop has not either. The plain
   Trainer has the same arguments and rows, as a torch Dataset with the default collator.
2. Whole commands, start included, on the same rows and as many epochs: train.py with its default recipe (folds,
   doubtful labels, calibration, figures) against a loop like the official notebook's: the JSONL read by `json`, a
   Dataset of one row at a time, a DataLoader that stacks them, validation each epoch.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
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
import base64, json, sys
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
source, epochs = sys.argv[1], int(sys.argv[2])
CLASSES = ["Aerial", "Close Look", "Cross Far", "Extra", "Geograph", "Inside", "From Drone"]
MAP = {"Cross Grid": "Cross Far", "From Above": "From Drone"}
DISTANCES = {"": 0, "0": 0, "Unknown": 22, **{str(2**i): i + 1 for i in range(21)}}

class Photos(Dataset):
    def __init__(self, rows):
        self.rows = rows
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, i):
        row = self.rows[i]
        labels = torch.zeros(len(CLASSES))
        for tag in row["types"].split(","):
            labels[CLASSES.index(MAP.get(tag, tag))] = 1
        vector = np.frombuffer(base64.b64decode(row["embeddings"]), dtype=np.float32).copy()
        return torch.from_numpy(vector), DISTANCES[row["distance"]], labels, float(row["weight"])

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.dist_emb = nn.Embedding(24, 16)
        self.fc = nn.Sequential(nn.Linear(528, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 7))
    def forward(self, vector, distance):
        return self.fc(torch.cat([vector, self.dist_emb(distance)], dim=1))

with open(source) as file:
    rows = [json.loads(line) for line in file]
train = DataLoader(Photos([r for r in rows if r["split"] == "tra"]), batch_size=1024, shuffle=True)
validation = DataLoader(Photos([r for r in rows if r["split"] == "val"]), batch_size=1024)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_of = nn.BCEWithLogitsLoss(reduction="none")
for epoch in range(epochs):
    model.train()
    for vector, distance, labels, weight in train:
        optimizer.zero_grad()
        loss = (loss_of(model(vector, distance), labels).mean(1) * weight.float()).mean()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(loss_of(model(v, d), l).mean().item() for v, d, l, w in validation)
"""


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
    model = GeographModel(GeographConfig()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    columns = (dataset.embedding, dataset.distance, dataset.labels, dataset.weight)
    start = time.perf_counter()
    for _ in range(epochs):
        for index in torch.randperm(len(dataset)).split(BATCH):
            embedding, distance, labels, weight = (column.index_select(0, index) for column in columns)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(embedding, distance).logits
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
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        source = write_rows(folder, rows)
        run_whole(prepare(source, folder))
        flags = ("--num_train_epochs", epochs, "--patience", epochs, "--report_to", "none")
        ours = [sys.executable, ROOT / "train.py", "--dataset", folder / "geograph-types", "--dataset_config", "large"]
        seconds, memory, _ = run_whole([*ours, "--output_dir", folder / "model", *flags])
        other, _, _ = run_whole([sys.executable, "-c", NOTEBOOK, source, epochs])
    note("train.py whole against the official kind of loop", [other / seconds], goal="≥ 4", seconds=round(seconds),
         theirs=round(other), MiB=memory >> 20, rows=rows, epochs=epochs)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--distance_dropout", type=float, default=0.0, help="so much more than the bare loop does")
    flags = parser.parse_args()
    steps(flags)
    whole(flags.rows, 4 * flags.epochs)


if __name__ == "__main__":
    main()
