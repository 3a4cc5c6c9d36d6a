"""train.py: what a run leaves, how it goes on after a kill, what it refuses to mix."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geograph_types import stopping
from geograph_types.hub.model_folder import TRAVELLING_FILES
from geograph_types.training import checkpoints
from tests.support import warm
from tests.support.commands import in_process, made_dataset
from tests.training.conftest import FLAGS


def same_weights(one: Path, other: Path) -> bool:
    found, expected = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(torch.equal(found[name], value) for name, value in expected.items())


def begun(trained: Path, folder: Path) -> Path:
    """A copy of the trained run as it was before it ended: its checkpoints and its settings."""
    shutil.copytree(trained, folder)
    for name in ("train_results.json", "model.safetensors", "eval_results.json"):
        (folder / name).unlink()
    return folder


def test_the_output_is_a_whole_repository(trained):
    from transformers import AutoModel

    made = {"model.safetensors", "config.json", "requirements.txt", "README.md", "learning_curve.png",
            "train_results.json", "eval_results.json", "test_results.json", "trainer_state.json"}  # fmt: skip
    names = {path.name for path in trained.iterdir()}
    assert made | set(TRAVELLING_FILES) <= names
    assert not [name for name in names if name.startswith(".")]
    found = list(trained.glob("checkpoint-*"))
    assert len(found) == 2, "the same command needs them"
    for checkpoint in found:
        assert set(TRAVELLING_FILES) <= {path.name for path in checkpoint.iterdir()}
        assert checkpoints.what_is_broken(checkpoint) is None
    results = json.loads((trained / "train_results.json").read_text())
    assert results["train_samples_per_second"] > 0
    figures = json.loads((trained / "test_results.json").read_text())
    model = AutoModel.from_pretrained(trained, trust_remote_code=True)
    assert model.config.synthetic is True
    assert [f["threshold"] for f in figures["per_class"].values()] == model.config.thresholds
    card = (trained / "README.md").read_text()
    assert f"{figures['f1_macro']:.3f}" in card
    assert "Trained on synthetic rows" in card
    assert (trained / "model.safetensors").stat().st_mode == (trained / "config.json").stat().st_mode
    for path in trained.glob("*.json"):
        assert str(trained) not in path.read_text(), f"{path.name} names a path of this machine"


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(dataset, train, trained, tmp_path):
    output = tmp_path / "model"
    process = warm.start("train.py", "--dataset", dataset, "--output_dir", output, *FLAGS)
    until = time.monotonic() + 120
    while not list(output.glob("checkpoint-*")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (output / "train_results.json").exists()
    again = train(output)
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stderr
    for name in ("eval_results.json", "test_results.json"):
        found, whole = (json.loads((folder / name).read_text()) for folder in (output, trained))
        assert found["f1_macro"] == pytest.approx(whole["f1_macro"], abs=1e-6)


def test_what_is_not_whole_is_passed_over(train, trained, tmp_path):
    output = begun(trained, tmp_path / "model")
    older, newest = checkpoints.all_checkpoints(output)
    size = (newest / "optimizer.pt").stat().st_size
    os.truncate(newest / "optimizer.pt", size // 2)
    (output / f".checkpoint-99{checkpoints.UNFINISHED}").mkdir()
    assert checkpoints.what_is_kept(output, False) == f"{older} is kept; the same command goes on from it"
    assert "the same command without --overwrite_output_dir goes on" in checkpoints.what_is_kept(output, True)
    done = train(output)
    assert stopping._kept() == f"{output} is finished", "what a signal would have said last"
    assert done.returncode == 0, done.stderr
    assert f"{newest} is not whole (optimizer.pt is missing or cut short)" in done.stderr
    assert f"going on from {older}" in done.stderr
    assert same_weights(output, trained)
    assert not list(output.glob(".*"))


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "scheduler.pt", "rng_state.pth"])
def test_each_file_of_a_checkpoint_is_looked_at(trained, tmp_path, name):
    shutil.copytree(checkpoints.all_checkpoints(trained)[0], tmp_path / "checkpoint-1")
    path = tmp_path / "checkpoint-1" / name
    os.truncate(path, path.stat().st_size - 30)
    assert checkpoints.what_is_broken(tmp_path / "checkpoint-1")
    assert checkpoints.last_whole_checkpoint(tmp_path) is None


def test_a_full_disk_leaves_no_half_checkpoint(train, tmp_path, monkeypatch):
    """torch's writer says "No space left" as a RuntimeError, in the middle of a checkpoint."""

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    done = train(tmp_path / "model")
    assert done.returncode == 1
    assert re.search(r"checkpoint-\d+ cannot be saved \(PytorchStreamWriter", done.last_line)
    assert not list((tmp_path / "model").glob("*checkpoint*")) and not list((tmp_path / "model").glob(".*"))


def test_a_finished_run_stays_and_other_flags_are_refused(train, trained):
    before = (trained / "model.safetensors").stat().st_mtime_ns
    again = train(trained)
    assert again.returncode == 0
    assert "finished" in again.stderr
    assert "macro F1" in again.stdout
    assert (trained / "model.safetensors").stat().st_mtime_ns == before
    for flag, other, message in (("--seed", 7, "seed 42, not 7"), ("--max_steps", 5, "max_steps -1, not 5")):
        done = train(trained, flag, other)
        assert done.returncode == 1
        assert message in done.last_line


def test_a_short_try_is_not_the_run(train, tmp_path):
    assert train(tmp_path / "model", "--max_steps", 3).returncode == 0
    done = train(tmp_path / "model")
    assert done.returncode == 1 and "max_steps 3, not -1" in done.last_line


def test_other_rows_under_the_same_name_are_another_run(train, trained, tmp_path):
    output = begun(trained, tmp_path / "model")
    other = made_dataset(tmp_path / "geograph-types", "synthetic:1500:9")
    done = train(output, "--dataset", other)
    assert done.returncode == 1
    named = train(output, "--dataset", other, "--resume_from_checkpoint", "True")
    assert "dataset" in done.last_line and "dataset" in named.last_line
    settings = json.loads((output / "training_settings.json").read_text())
    (output / "training_settings.json").write_text(json.dumps(settings | {"dataset": str(other)}))
    done = train(output, "--dataset", other)  # as if the same folder held other rows now
    assert done.returncode == 1 and "other train rows" in done.last_line


def test_overwriting_leaves_nothing_of_the_earlier_run(train, trained, tmp_path):
    output = tmp_path / "model"
    shutil.copytree(trained, output)
    old = ("label_noise.csv", "foreground.csv", "metrics.json", "report.html", "reliability.png", "out_of_fold.npz")
    for name in old:
        (output / name).write_text("old")
    (output / "notes.txt").write_text("mine")
    done = train(
        output, "--overwrite_output_dir", "--eval_strategy", "no", "--num_train_epochs", 1, "--tune_thresholds", False
    )
    assert done.returncode == 0, done.stderr
    assert not [name for name in old if (output / name).exists()]
    assert (output / "notes.txt").read_text() == "mine"
    state = json.loads((output / "trainer_state.json").read_text())
    assert state["epoch"] == 1
    assert state["best_model_checkpoint"] is None, "without validation there is no best model"


def test_a_start_that_failed_does_not_hold_the_folder(train, tmp_path):
    output = tmp_path / "model"
    assert train(output, "--dataset", tmp_path / "no-such").returncode == 1
    assert not output.exists()
    output.mkdir()
    (output / "training_settings.json").write_text('{"seed": 1}')  # as a run leaves it that failed before a checkpoint
    done = train(output, "--recipe", "official-v1", "--max_steps", 2)
    assert done.returncode == 0, done.stderr


def test_a_dataset_without_validation_says_what_to_do(dataset, train, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for path in (dataset / "small").glob("train-*.parquet"):
        (folder / path.name).write_bytes(path.read_bytes())
    done = train(tmp_path / "model", "--dataset", folder)
    assert done.returncode == 1
    assert "--eval_strategy no" in done.last_line


def test_normalised_vectors_are_refused(dataset, train, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (source,) = (dataset / "small").glob("train-*.parquet")
    table = pq.read_table(source)
    vectors = table["embedding"].combine_chunks()
    values = vectors.flatten().to_numpy().reshape(len(table), -1)
    values = values / (values**2).sum(1, keepdims=True) ** 0.5
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]).cast(vectors.type)
    table = table.set_column(table.schema.get_field_index("embedding"), "embedding", column)
    pq.write_table(table, tmp_path / "rows.parquet")
    done = train(tmp_path / "model", "--dataset", tmp_path / "rows.parquet")
    assert done.returncode == 1 and "--allow_normalised" in done.last_line


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--distance_dropout", "1.5"], 2, "share between 0 and 1"),
        (["--recipe", "best"], 2, "official-v2.3"),
        (["--hidden_dim", "0"], 2, "at least 1"),
        (["--dropout", "1"], 2, "below 1"),
        (["--model_name_or_path", "M", "--hidden_dim", "128"], 2, "--hidden_dim is fixed by --model_name_or_path"),
        (["--dataset", "no/such/folder/here"], 1, "no/such/folder/here"),
        (["--resume_from_checkpoint", "no/such/checkpoint-3"], 1, "no such folder"),
        (["--dataloader_drop_last", "True", "--per_device_train_batch_size", "4096"], 1, "leaves no batch"),
        (["--model_name_or_path", "no/such/model"], 1, "no/such/model"),
    ],
)
def test_wrong_flags_are_one_line(train, tmp_path, flags, status, message):
    done = train(tmp_path / "model", *flags)
    assert done.returncode == status
    assert message in done.last_line
    assert "Traceback" not in done.stderr


def test_flags_in_a_file(dataset, tmp_path):
    flags = {"dataset": str(dataset), "output_dir": str(tmp_path / "model"), "folds": 0}
    flags |= {"clean_labels": False, "distance_faults": False}
    (tmp_path / "args.json").write_text(json.dumps(flags | {"max_steps": 2, "seed": 3}))
    done = in_process("train", tmp_path / "args.json", "--seed", 4)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "model" / "training_settings.json").read_text())
    assert (settings["max_steps"], settings["seed"]) == (2, 4)
    (tmp_path / "args.yaml").write_text("- no\n- object\n")
    assert "expected an object" in in_process("train", tmp_path / "args.yaml").last_line
