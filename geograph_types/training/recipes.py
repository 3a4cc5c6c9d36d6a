"""Recipes: named settings of `train.py`. A flag on the command line overrides its recipe.

|                        | official-v1 | official-v2.3 | default |
| ---------------------- | ----------- | ------------- | ------- |
| cross_far_min_distance | 256 m       | 256 m         | 0       |
| distance_dropout       | 0           | 0.3           | 0       |
| cross_far_scramble     | 0           | 1.0           | 0       |
| distance_shuffle       | 0           | 0             | 0       |
| folds, clean_labels    | no          | no            | 2, yes  |
| distance_faults        | no          | no            | yes     |
| calibrate              | no          | no            | yes     |
| tune_thresholds        | no (0.5)    | no (0.5)      | yes     |

All weigh rows by the `weight` column: in the official notebook the rule by distance (`--weights official`) is
commented out.

`benchmarks/quality.py` compares them; `docs/experiments.md` says why each setting of ours is what it is.
"""

from names_geograph import OFFICIAL_FAR

# Adam, batch 1024, up to 50 epochs, patience 7 on the validation loss: the official training, and ours.
COMMON = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 1024,
    "num_train_epochs": 50,
    "patience": 7,
}

OFFICIAL = COMMON | {
    "cross_far_min_distance": OFFICIAL_FAR,
    "calibrate": False,
    "tune_thresholds": False,
}

RECIPES: dict[str, dict[str, bool | int | float | str]] = {
    # What the first official model was trained with.
    "official-v1": OFFICIAL,
    # The best official one: distances hidden at times, so that Cross Far is learnt from the picture.
    "official-v2.3": OFFICIAL | {"distance_dropout": 0.3, "cross_far_scramble": 1.0},
    "default": COMMON
    | {
        "folds": 2,
        "clean_labels": True,
        "distance_faults": True,
        "calibrate": True,
        "tune_thresholds": True,
    },
}


def as_flags(recipe: str) -> list[str]:
    """A recipe as the flags that it stands for, to be put before the user's own.

    Raises:
        ValueError: no recipe of that name.
    """
    if recipe not in RECIPES:
        raise ValueError(f"--recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")
    return [part for name, value in RECIPES[recipe].items() for part in (f"--{name}", str(value))]
