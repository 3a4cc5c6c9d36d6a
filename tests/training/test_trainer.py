"""Training: the loss however a batch is divided, distances anew each epoch, and runs that are killed and go on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from configuration_geograph import GeographConfig
from geograph_types.hub.model_folder import TRAVELLING_FILES
from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.trainer import GeographTrainer
from geograph_types.training.training_arguments import GeographTrainingArguments
from modeling_geograph import GeographModel, weighted_bce
from names_geograph import CLASSES, UNKNOWN_BUCKET
from tests.conftest import ROOT

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


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from tests.training.test_trainer import weights_after
weights = weights_after(Path(sys.argv[1]), 16, 2, ddp_backend="gloo")
if torch.distributed.get_rank() == 0:
    torch.save(weights, sys.argv[1] + "/weights.pt")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_take_the_same_step(root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    command = [sys.executable, str(tmp_path / "two.py"), str(tmp_path)]
    group = ONE_THREAD | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            command, env=group | {"RANK": str(i), "LOCAL_RANK": str(i)}, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    assert torch.allclose(torch.load(tmp_path / "weights.pt"), expected(), atol=1e-6)


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


@pytest.fixture(scope="module")
def dataset(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rows") / "geograph-types"
    command = [
        sys.executable,
        str(root / "prepare_dataset.py"),
        "--source",
        "synthetic:1500",
        "--output_dir",
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True, env=ONE_THREAD)
    return folder


def command(dataset: Path, output: Path, *flags: str) -> list[str]:
    epochs = [
        "--num_train_epochs",
        "6",
        "--per_device_train_batch_size",
        "128",
        "--folds",
        "0",
        "--clean_labels",
        "False",
    ]
    train = str(ROOT / "train.py")
    return [sys.executable, train, "--dataset", str(dataset), "--output_dir", str(output), *epochs, *flags]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, env=ONE_THREAD)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "model"
    result = run(command(dataset, output))
    assert result.returncode == 0, result.stderr
    return output


def test_the_output_is_a_whole_repository(trained):
    from transformers import AutoModel

    made = {"model.safetensors", "config.json", "requirements.txt", "README.md", "learning_curve.png",
            "train_results.json", "eval_results.json", "test_results.json", "trainer_state.json"}  # fmt: skip
    names = {path.name for path in trained.iterdir()}
    assert made | set(TRAVELLING_FILES) <= names
    checkpoints = list(trained.glob("checkpoint-*"))
    assert checkpoints, "the same command needs them"
    for checkpoint in checkpoints:
        assert set(TRAVELLING_FILES) <= {path.name for path in checkpoint.iterdir()}
    results = json.loads((trained / "train_results.json").read_text())
    assert results["train_samples_per_second"] > 0
    figures = json.loads((trained / "test_results.json").read_text())
    model = AutoModel.from_pretrained(trained, trust_remote_code=True)
    assert model.config.synthetic is True
    assert [f["threshold"] for f in figures["per_class"].values()] == model.config.thresholds
    card = (trained / "README.md").read_text()
    assert f"{figures['f1_macro']:.3f}" in card
    assert "Trained on synthetic rows" in card
    for path in trained.glob("*.json"):
        assert str(trained) not in path.read_text(), f"{path.name} names a path of this machine"


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(dataset, trained, tmp_path):
    output = tmp_path / "model"
    process = subprocess.Popen(command(dataset, output), env=ONE_THREAD, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(output.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "train_results.json").exists()
    again = run(command(dataset, output))
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stderr
    found, whole = (load_file(folder / "model.safetensors") for folder in (output, trained))
    for name in whole:
        assert torch.equal(found[name], whole[name]), name
    for name in ("eval_results.json", "test_results.json"):
        assert json.loads((output / name).read_text()) == json.loads((trained / name).read_text())


def test_a_finished_run_stays_and_other_flags_are_refused(dataset, trained, tmp_path):
    before = (trained / "model.safetensors").stat().st_mtime_ns
    again = run(command(dataset, trained))
    assert again.returncode == 0
    assert "finished" in again.stderr
    assert "macro F1" in again.stdout
    assert (trained / "model.safetensors").stat().st_mtime_ns == before
    other = run(command(dataset, trained, "--seed", "7"))
    assert other.returncode == 1
    assert "seed 42, not 7" in other.stderr


def test_a_start_that_failed_does_not_hold_the_folder(dataset, tmp_path):
    output = tmp_path / "model"
    result = run(command(tmp_path / "no-such", output))
    assert result.returncode == 1
    assert not output.exists()
    output.mkdir()
    (output / "training_settings.json").write_text('{"seed": 1}')  # as a run leaves it that failed before a checkpoint
    result = run(command(dataset, output, "--recipe", "official-v1"))
    assert result.returncode == 0, result.stderr


def test_a_dataset_without_validation_says_what_to_do(dataset, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for path in (dataset / "small").glob("train-*.parquet"):
        (folder / path.name).write_bytes(path.read_bytes())
    result = run(command(folder, tmp_path / "model"))
    assert result.returncode == 1
    assert "--eval_strategy no" in result.stderr.splitlines()[-1]


def test_without_validation_there_is_no_best_model(dataset, tmp_path):
    output = tmp_path / "model"
    for flags in ([], ["--overwrite_output_dir"]):
        result = run(command(dataset, output, "--eval_strategy", "no", "--num_train_epochs", "2", *flags))
        assert result.returncode == 0, result.stderr
    state = json.loads((output / "trainer_state.json").read_text())
    assert state["epoch"] == 2
    assert state["best_model_checkpoint"] is None


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--distance_dropout", "1.5"], 2, "share between 0 and 1"),
        (["--recipe", "best"], 2, "official-v2.3"),
        (["--hidden_dim", "0"], 2, "at least 1"),
        (["--dropout", "1"], 2, "below 1"),
        (["--dataset", "no/such/folder/here"], 1, "no/such/folder/here"),
    ],
)
def test_wrong_flags_are_one_line(dataset, tmp_path, flags, status, message):
    result = run(command(dataset, tmp_path / "model", *flags))
    assert result.returncode == status
    assert message in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
