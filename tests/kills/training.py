"""train.py: checkpoints are whole under their names; the same command ends with the same weights and figures."""

import contextlib
from pathlib import Path

from tests.kills.frame import Scenario, script

RESULTS = ("model.safetensors", "config.json", "eval_results.json", "test_results.json", "label_noise.csv")


def lay_out(work: Path, _) -> None:
    from tests.support.commands import made_dataset

    with contextlib.chdir(work):
        made_dataset(Path("rows"), "synthetic:600:3")


def run(work: Path, _) -> None:
    script(
        "train.py", "--dataset", "rows", "--output_dir", "model", "--num_train_epochs", "4", "--folds", "2",
        "--per_device_train_batch_size", "128", "--disable_tqdm", "True",
    )  # fmt: skip


def whole_checkpoints(work: Path, _) -> None:
    from geograph_types.training import checkpoints

    for path in checkpoints.all_checkpoints(work / "model"):
        assert (fault := checkpoints.what_is_broken(path)) is None, f"{path.name}: {fault}"


def result(work: Path, _) -> bytes:
    return b"".join((work / "model" / name).read_bytes() for name in RESULTS)


SCENARIOS = [
    Scenario(
        "train",
        run,
        result,
        prepare=lay_out,
        whole=whole_checkpoints,
        leftovers=("model/.*", "model/out_of_fold.npz"),
        environment=lambda _: {"CUDA_VISIBLE_DEVICES": ""},
        preload=(
            "torch", "transformers", "accelerate", "evaluate", "sklearn.metrics", "geograph_types.training.weighting",
            "geograph_types.training.results", "matplotlib.backends.backend_agg", "matplotlib.figure",
        ),
    )
]  # fmt: skip
