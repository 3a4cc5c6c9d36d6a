"""Training: the loss however a batch is divided, distances anew each epoch, and runs that are killed and go on."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from configuration_geograph import GeographConfig
from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.trainer import GeographTrainer
from geograph_types.training.training_arguments import GeographTrainingArguments
from modeling_geograph import GeographModel, weighted_bce
from names_geograph import CLASSES, UNKNOWN_BUCKET

ROWS = 64
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def made(count: int = ROWS) -> Rows:
    generator = np.random.default_rng(5)
    return Rows(
        gridimage_id=np.arange(1, count + 1),
        tags=generator.random((count, 8)) < 0.3,
        distance=generator.integers(0, 22, count).astype(np.uint8),
        embedding=generator.standard_normal((count, 512), dtype=np.float32) * 0.45,
        weight=generator.random(count, dtype=np.float32),
    )


def in_memory(rows: Rows, training: bool = True, seed: int = 0, **options) -> MemoryRows:
    return MemoryRows(TrainingData.of(rows, GeographConfig(), LabelArguments(**options)), training, seed)


def model_without_dropout() -> GeographModel:
    torch.manual_seed(0)
    return GeographModel(GeographConfig(dropout=0.0))


def weights_after(folder: Path, batch: int, accumulate: int, count: int = ROWS, **flags) -> torch.Tensor:
    """All weights after one plain gradient step over `count` rows: start minus the gradient."""
    args = GeographTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate,
        num_train_epochs=1, eval_strategy="no", save_strategy="no", optim="sgd", learning_rate=1.0, use_cpu=True,
        disable_tqdm=True, **flags,
    )  # fmt: skip
    dataset = in_memory(made(count))
    trainer = GeographTrainer(model=model_without_dropout(), args=args, train_dataset=dataset)
    trainer.train()
    assert trainer.state.global_step == 1
    return flat(trainer.model)


def flat(model) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def expected(count: int = ROWS) -> torch.Tensor:
    """The same step in plain PyTorch, over the whole batch."""
    model, rows = model_without_dropout(), in_memory(made(count))
    batch = rows.__getitems__(list(range(count)))
    logits = model(batch["embedding"], batch["distance"]).logits
    weighted_bce(logits, batch["labels"], batch["weight"]).backward()
    return torch.cat([(value - value.grad).detach().flatten() for value in model.parameters()])


@pytest.mark.parametrize(("batch", "accumulate", "count"), [(64, 1, 64), (16, 4, 64), (16, 4, 53), (64, 1, 53)])
def test_a_step_is_the_same_however_it_is_divided(tmp_path, batch, accumulate, count):
    """53 rows in micro-batches of 16 leave one of 5: it may not count more than its rows."""
    assert torch.allclose(weights_after(tmp_path, batch, accumulate, count), expected(count), atol=1e-6)


def test_bf16_follows_float32(tmp_path):
    start = flat(model_without_dropout())
    step = weights_after(tmp_path, 16, 4, bf16=True) - start
    assert torch.nn.functional.cosine_similarity(step, expected() - start, dim=0) > 0.999


def test_distances_are_hidden_anew_each_epoch():
    rows = made(4000)
    rows.distance[:] = 15
    options = {"distance_dropout": 0.3, "cross_far_scramble": 1.0}
    training = in_memory(rows, True, 3, **options)
    epochs = []
    for epoch in (0, 1, 0):
        training.set_epoch(epoch)
        epochs.append(training.distance.clone())
    assert torch.equal(epochs[0], epochs[2]), "from the seed and the epoch alone"
    assert not torch.equal(epochs[0], epochs[1])
    assert (epochs[0] == UNKNOWN_BUCKET).float().mean().item() == pytest.approx(0.3, abs=0.03)
    cross_far = training.labels[:, CLASSES.index("Cross Far")] > 0
    assert epochs[0][cross_far & (epochs[0] != UNKNOWN_BUCKET)].max() < 10
    judging = in_memory(rows, False, 3, **options)
    judging.set_epoch(1)
    assert (judging.distance == 15).all(), "validation sees what is there"
