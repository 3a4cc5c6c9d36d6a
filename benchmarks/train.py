"""Training through Trainer, against a bare PyTorch loop: the same rows, model, batch size, optimiser and precision.

.venv/bin/python -m benchmarks.train [--rows 60000] [--epochs 4] [--pairs 5] [--bf16]

The bare loop holds the rows as tensors, takes each batch by `index_select` of a random order, and does forward, loss,
backward and Adam, nothing else. Ours is `GeographTrainer` as train.py sets it up, timed by its own
`train_samples_per_second`, without validation and checkpoints, which the bare loop has not either. Both take turns;
the ratio is the median over the pairs. The target is 0.9.
"""

import argparse
import os
import statistics
import tempfile
import time

import numpy as np
import torch

from configuration_geograph import GeographConfig
from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.trainer import GeographTrainer
from geograph_types.training.training_arguments import GeographTrainingArguments
from modeling_geograph import GeographModel, weighted_bce

BATCH = 1024


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


def bare(dataset, epochs: int, bf16: bool) -> float:
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


def ours(dataset, epochs: int, bf16: bool, folder: str) -> float:
    """Samples a second, as Trainer itself counts them."""
    args = GeographTrainingArguments(
        output_dir=folder, num_train_epochs=epochs, bf16=bf16, eval_strategy="no", save_strategy="no", use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    trainer = GeographTrainer(model=GeographModel(GeographConfig()), args=args, train_dataset=dataset)
    return trainer.train().metrics["train_samples_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--distance_dropout", type=float, default=0.0, help="so much more than the bare loop does")
    flags = parser.parse_args()
    labels = LabelArguments(distance_dropout=flags.distance_dropout)
    dataset = MemoryRows(TrainingData.of(made_rows(flags.rows), GeographConfig(), labels), training=True, seed=0)
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as folder:
        bare(dataset, 1, flags.bf16), ours(dataset, 1, flags.bf16, folder)  # warm
        pairs = []
        for number in range(flags.pairs):  # who goes first changes, since a machine slows down and speeds up
            order = [lambda: bare(dataset, flags.epochs, flags.bf16),
                     lambda: ours(dataset, flags.epochs, flags.bf16, folder)]  # fmt: skip
            found = [run() for run in (order if number % 2 == 0 else reversed(order))]
            pairs.append(found if number % 2 == 0 else found[::-1])
    ratios = [own / base for base, own in pairs]
    print(f"rows: {flags.rows:,} × {flags.epochs} epochs, batch {BATCH}, {os.cpu_count()} cores, bf16: {flags.bf16}")
    print(f"bare loop: {statistics.median(base for base, _ in pairs):,.0f} samples/s")
    print(f"Trainer: {statistics.median(own for _, own in pairs):,.0f} samples/s")
    print(f"ratio: {statistics.median(ratios):.2f} (target 0.9; {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
