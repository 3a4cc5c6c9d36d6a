"""Two processes on a CPU, started as torchrun starts them: they end as one process with the same global batch does."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from geograph_types.cli import CommandError
from geograph_types.training import checkpoints
from geograph_types.training.processes import check_launcher
from tests.support import warm

# Without dropout both see the same numbers; two folds, label noise and calibration as by default.
FLAGS = ("--num_train_epochs", "2", "--dropout", "0", "--save_steps", "3", "--save_strategy", "steps",
         "--eval_strategy", "steps", "--eval_steps", "3", "--load_best_model_at_end", "True")  # fmt: skip


def group(dataset: Path, output: Path, *flags: str) -> list[warm.Process]:
    """The two workers of one job, without torchrun's own process, which would cost another Python."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
              "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    command = ("train.py", "--dataset", dataset, "--output_dir", output, *FLAGS, *flags)
    # A process group that is left open ends Python with a crash, at its very end.
    return [
        warm.start(*command, env=os.environ | shared | {"RANK": str(i), "LOCAL_RANK": str(i)}, finalise=True)
        for i in range(2)
    ]


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["eval_loss"] for entry in history if "eval_loss" in entry]


def test_a_killed_group_goes_on_and_ends_as_one_process_does(dataset, train, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    done = train(one, "--folds", 2, "--clean_labels", True, "--distance_faults", True, *FLAGS)
    assert done.returncode == 0, done.stderr
    batch = ("--per_device_train_batch_size", "64")
    first, second = group(dataset, two, *batch)
    until = time.monotonic() + 240
    while not list(two.glob("checkpoint-*")) and time.monotonic() < until:
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    second.kill()
    _, told = first.communicate(timeout=120)
    second.communicate()
    assert first.returncode == 1
    assert "Traceback" not in told and told.strip().splitlines()[-1].startswith("train.py: error: ")
    assert all(checkpoints.what_is_broken(path) is None for path in checkpoints.all_checkpoints(two))
    workers = group(dataset, two, *batch)
    outputs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "going on from" in outputs[0][1]
    assert not outputs[1][0], "only the first process speaks"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    for name in ("eval_results.json", "test_results.json"):
        found, expected = (json.loads((folder / name).read_text()) for folder in (two, one))
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert (two / "label_noise.csv").read_text() == (one / "label_noise.csv").read_text()
    assert not list(two.glob(".*"))


def test_one_process_where_several_were_asked_for_is_refused(monkeypatch):
    """`accelerate launch --cpu --num_processes 2` sets these and starts one."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    check_launcher()
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(CommandError, match="torchrun --nproc_per_node 2"):
        check_launcher()
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launcher()
