"""The most that any recipe can reach where a third of the known distances are zero by mistake.

    python -m benchmarks.limit [--seeds 3]

Two networks, one that believes the distance and one that never sees it, and somebody who tells which distances are
wrong: the first answers the others, the second these. No recipe is told, so none does better but by luck with
thresholds; therefore also the cuts that are best on the test rows themselves, which nobody can know.
"""

import argparse

import numpy as np
import torch

from benchmarks.experiments import Setting, best_cuts, fit, load, logits_of, macro_f1, show, sigmoid, targets_of
from benchmarks.quality import DRAWS, KINDS
from geograph_types import cli
from geograph_types.evaluation.statistics import conflated_distances
from geograph_types.rows.fields import Rows
from geograph_types.training.calibration import tune_thresholds
from names_geograph import UNKNOWN_BUCKET

SHAPES = {
    "official shape": {},
    "four times as wide, half of it dropped": {"hidden_dim": 1024, "dropout": 0.5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if not KINDS["honest distance"].is_file():
        raise cli.CommandError(f"no rows with honest distances: {KINDS['honest distance']} is not there")
    rows = load(KINDS["honest distance"])
    show("limit", [limit(*rows, seed) for seed in cli.progress(range(flags.seeds), unit="seed")])


def limit(train: Rows, validation: Rows, test: Rows, seed: int) -> dict[str, dict]:
    found = {}
    for shape, changes in SHAPES.items():
        believes = fit(train, validation, seed, Setting(**changes))
        sees = fit(train, validation, seed, Setting(hide=1.0, **changes))
        draws = [told(believes, sees, test, seed) for seed in range(DRAWS)]
        held = [told(believes, sees, validation, seed) for seed in range(DRAWS)]
        plateau = tune_thresholds(sigmoid(logits_of(believes, validation)), targets_of(validation))
        of_told = tune_thresholds(
            sigmoid(np.concatenate([one for _, one in held])), np.tile(targets_of(validation), (DRAWS, 1))
        )
        targets, given = targets_of(test), logits_of(believes, test)
        rows = {
            "believes, at 0.5": ([0.5] * 7, 0),
            "believes, plateau on validation": (plateau, 0),
            "told, at 0.5": ([0.5] * 7, 1),
            "told, plateau on validation": (of_told, 1),
            "told, the best cuts on the test rows": (None, 1),
        }
        for name, (cuts, which) in rows.items():
            changed = [
                macro_f1(pair[which], targets, best_cuts(pair[which], targets) if cuts is None else cuts)[0]
                for pair in draws
            ]
            found[f"{shape}: {name}"] = {
                "as given": macro_f1(given, targets, best_cuts(given, targets) if cuts is None else cuts)[0],
                "a third set to zero": float(np.mean(changed)),
            }
    return found


def told(believes, sees, rows: Rows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of whoever believes conflated distances, and of whoever is told which they are."""
    stated = conflated_distances(rows.distance, seed=seed)
    believed = logits_of(believes, rows, stated)
    seen = logits_of(sees, rows, np.full_like(stated, UNKNOWN_BUCKET))
    return believed, np.where((stated != rows.distance)[:, None], seen, believed)


if __name__ == "__main__":
    cli.run(main)
