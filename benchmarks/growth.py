"""Rates and memory as rows grow: prepare_dataset.py, predict.py, find_photos.py and train.py at 10⁴, 10⁵, … rows.

    .venv/bin/python -m benchmarks.growth [--rows 1000000]

Whole processes. Memory should stay where it is while rows grow tenfold, but for training, which holds its rows; rates
should rise until start-up no longer counts. 1,000,000 rows need 8 GB on the disk.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import note, run_whole
from benchmarks.prepare import prepare, write_rows
from benchmarks.startup import make_model
from geograph_types.files import ROOT

EPOCHS = 2  # of training, besides its folds and figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="the most; tenfold steps from 10,000 lead there")
    flags = parser.parse_args()
    sizes = [size for size in (10**4, 10**5, 10**6, 10**7) if size <= flags.rows]
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        model = make_model(folder)
        for size in sizes:
            source = write_rows(folder, size)
            measure("prepare", size, prepare(source, folder))
            source.unlink()
            dataset = folder / "geograph-types"
            output = folder / "answers.parquet"
            measure("predict", size, ["predict.py", "--model", model, "--input", dataset, "--output", output])
            ids = folder / "ids.txt"
            ids.write_text("".join(f"{1_000_000 + 7919 * i % 9_000_000}\n" for i in range(0, 20)))
            found = folder / "found.csv"
            measure("find", size, ["find_photos.py", "--input", dataset, "--like", ids, "--output", found])
            trained = [
                "train.py",
                "--dataset",
                dataset,
                "--dataset_config",
                "large",
                "--output_dir",
                folder / "trained",
            ]
            measure("train", size, [*trained, "--num_train_epochs", EPOCHS, "--report_to", "none"])
            shutil.rmtree(folder / "trained")


def measure(what: str, size: int, command: list) -> None:
    command = command if Path(command[0]).is_absolute() else [sys.executable, ROOT / command[0], *command[1:]]
    seconds, memory, _ = run_whole(command)
    note(f"{what}, {size:,} rows", [size / seconds], "rows/s", MiB=memory >> 20, seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
