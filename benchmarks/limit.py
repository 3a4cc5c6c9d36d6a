"""What a recipe can reach where a third of the known distances are zero by mistake, and what the default reaches.

    python -m benchmarks.limit [--seeds 3] [--rows 20000]

"Told" is an upper limit: of two networks, one that believes the distance and one that never sees it, somebody who
knows which distances are wrong takes the second for these and the first for the others. No recipe is told. Rows: the
shared ones with honest distances, where they are, and two other teachers, who listen to the distance less and more.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.experiments import Setting, best_cuts, fit, logits_of, macro_f1, show, sigmoid, targets_of
from benchmarks.quality import DRAWS, KINDS, command, trained
from benchmarks.teachers import write_rows
from geograph_types import cli
from geograph_types.evaluation.statistics import conflated_distances
from geograph_types.rows.fields import Rows
from geograph_types.rows.parquet import read_parquet
from geograph_types.rows.sources import dataset_files
from geograph_types.training.calibration import tune_thresholds
from names_geograph import UNKNOWN_BUCKET

LOUDNESS = {"another teacher, who listens less": 0.35, "another teacher, who listens more": 0.6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of each other teacher")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="geograph-limit-") as scratch:
        folder = Path(scratch)
        sources = {"shared rows with honest distances": KINDS["honest distance"]}
        for number, (name, loudness) in enumerate(LOUDNESS.items()):
            sources[name] = write_rows(folder / f"{number}.jsonl", flags.rows, number, loudness)
        for name, source in sources.items():
            if not source.is_file():
                cli.say(f"{name}: left out, no {source}")
                continue
            dataset = folder / source.name.partition(".")[0]
            command("prepare_dataset.py", "--source", source, "--output_dir", dataset)
            show(name, [compared(dataset, seed) for seed in cli.progress(range(flags.seeds), unit="seed")])


def compared(dataset: Path, seed: int) -> dict[str, dict]:
    """What each way reaches with distances as given, and with a third of them set to zero."""
    train, validation, test = (
        read_parquet(dataset_files(str(dataset), "large", split)) for split in ("train", "validation", "test")
    )
    believes = fit(train, validation, seed, Setting())
    sees = fit(train, validation, seed, Setting(hide=1.0))
    draws = [told(believes, sees, test, draw) for draw in range(DRAWS)]
    held = sigmoid(np.concatenate([told(believes, sees, validation, draw)[1] for draw in range(DRAWS)]))
    plateau = tune_thresholds(sigmoid(logits_of(believes, validation)), targets_of(validation))
    of_told = tune_thresholds(held, np.tile(targets_of(validation), (DRAWS, 1)))
    targets, given = targets_of(test), logits_of(believes, test)
    ways = {
        "plain loop, at 0.5": ([0.5] * 7, 0),
        "plain loop, plateau on validation": (plateau, 0),
        "told, at 0.5": ([0.5] * 7, 1),
        "told, plateau on validation": (of_told, 1),
        "told, the cuts that are best on the test rows": (None, 1),
    }
    found = {}
    for name, (cuts, which) in ways.items():

        def f1(logits: np.ndarray, cuts=cuts) -> float:
            return macro_f1(logits, targets, best_cuts(logits, targets) if cuts is None else cuts)[0]

        changed = float(np.mean([f1(pair[which]) for pair in draws]))
        found[name] = {"as given": f1(given), "a third set to zero": changed}
    default = trained(dataset, "default", seed, test)
    return found | {"**default recipe**": {"as given": default["f1"], "a third set to zero": default["f1_conflated"]}}


def told(believes, sees, rows: Rows, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of whoever believes conflated distances, and of whoever is told which they are."""
    stated = conflated_distances(rows.distance, seed=draw)
    believed = logits_of(believes, rows, stated)
    seen = logits_of(sees, rows, np.full_like(stated, UNKNOWN_BUCKET))
    return believed, np.where((stated != rows.distance)[:, None], seen, believed)


if __name__ == "__main__":
    cli.run(main)
