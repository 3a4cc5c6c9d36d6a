"""What training trusts: factors on the rows' weights, and what models that have not seen the rows say of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geograph_types import cli
from geograph_types.files import whole_file
from geograph_types.rows.fields import Rows
from geograph_types.training.foreground import foreground_factor, write_foreground_list
from geograph_types.training.label_noise import noise_factor, suggestions, write_suggestions
from geograph_types.training.labels import training_targets, true_drone_factor
from names_geograph import tower_of

# Beside the model, to be looked at by a person.
NOISE_LIST = "label_noise.csv"
FOREGROUND_LIST = "foreground.csv"
# Kept while a run lasts, so that going on with it does not judge the rows again.
KEPT = "out_of_fold.npz"


@dataclass
class WeightingArguments:
    """Which rows weigh more and which less."""

    true_drone_weight: float = field(
        default=1.0, metadata={"help": "what a row tagged From Drone weighs, against From Above's 1"}
    )
    foreground_filter: bool = field(
        default=False,
        metadata={"help": "lower the weight of From Above rows that look taken past a railing, by CLIP's text tower"},
    )
    foreground_rules: bool = field(
        default=False, metadata={"help": "the same by rules alone, without a tower: Inside too, or 0 to 2 m away"}
    )
    folds: int = field(
        default=0, metadata={"help": "models trained on parts of the rows to judge the others; 0: none"}
    )
    clean_labels: bool = field(
        default=False,
        metadata={"help": f"lower the weight of rows that the folds contradict; lists them in {NOISE_LIST}"},
    )
    vision_model: str | None = field(
        default=None, metadata={"help": "Hub id or folder of the CLIP model with its text tower (the config's)"}
    )

    def __post_init__(self):
        if not 0 <= self.true_drone_weight < float("inf"):
            raise ValueError(f"--true_drone_weight is a factor of 0 or more, got {self.true_drone_weight}")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"--folds is 0 (none) or at least 2, got {self.folds}")
        if self.clean_labels and not self.folds:
            raise ValueError("--clean_labels needs --folds 2 or more (or say --clean_labels False)")


@dataclass
class Trust:
    """Factors on the weights, float32 [N] each, and out-of-fold logits [N, 7] of the training rows where there are."""

    train: np.ndarray
    validation: np.ndarray | None = None
    unseen_logits: np.ndarray | None = None
    # True where a factor says something about the labels; what a true drone weighs says nothing about thresholds.
    train_noise: np.ndarray | None = None


def weigh(
    train: Rows,
    validation: Rows | None,
    make_model: Callable[[int], object],
    arguments: WeightingArguments,
    labels,
    args,
    patience: int,
    output: Path,
    config,
) -> Trust:
    """Every rule that the flags ask for, and the lists that they leave in `output`.

    Raises:
        CommandError: `--foreground_filter` without a text tower.
    """
    from geograph_types.training.folds import MINIMUM_ROWS

    trust = Trust(
        np.ones(len(train), np.float32), None if validation is None else np.ones(len(validation), np.float32)
    )
    if arguments.true_drone_weight != 1:
        trust.train *= true_drone_factor(train.tags, arguments.true_drone_weight)
    if arguments.foreground_filter or arguments.foreground_rules:
        tower = tower_of(config, arguments.vision_model)
        with cli.naming_flag("--vision_model DIR"):
            factor, listed = foreground_factor(train, arguments.foreground_filter, *tower)
        trust.train *= factor
        write_foreground_list(output / FOREGROUND_LIST, listed)
        lowered = int((factor < 1).sum())
        cli.say(f"foreground: {lowered:,} of {len(listed):,} From Above rows weigh less; {output / FOREGROUND_LIST}")
    # Several processes would each train their own folds and disagree; a fold of a few rows teaches nothing.
    if arguments.folds and args.world_size == 1 and len(train) >= MINIMUM_ROWS:
        trust.unseen_logits, on_validation = _unseen(
            train, validation, make_model, arguments, labels, args, patience, output, trust.train
        )
        if arguments.clean_labels:
            _doubt(trust, train, validation, on_validation, labels, output)
    return trust


def _unseen(train, validation, make_model, arguments, labels, args, patience, output, factor):
    """Out-of-fold logits of the training rows, and the fold models' mean logits of the validation rows."""
    from geograph_types.training.folds import out_of_fold_logits

    path = output / KEPT
    if path.is_file():
        with np.load(path) as kept:
            if len(kept["train"]) == len(train):
                return kept["train"], kept["validation"] if validation is not None else None
    found = out_of_fold_logits(train, validation, make_model, labels, args, patience, arguments.folds, factor)
    with whole_file(path, "wb") as file:
        np.savez(file, train=found[0], validation=np.zeros(0) if found[1] is None else found[1])
    return found


def _doubt(trust: Trust, train: Rows, validation: Rows | None, on_validation, labels, output: Path) -> None:
    """Lowers what the folds contradict, and lists it."""
    listed = []
    for rows, logits in ((train, trust.unseen_logits), (validation, on_validation)):
        if rows is None or logits is None:
            continue
        probabilities = 1 / (1 + np.exp(-logits))
        targets = training_targets(rows.tags, rows.distance, labels.cross_far_min_distance)
        factor = noise_factor(probabilities, targets)
        if rows is train:
            trust.train, trust.train_noise = trust.train * factor, factor
        else:
            trust.validation = factor
        listed += suggestions(rows, probabilities, targets)
    listed.sort(key=lambda entry: (-entry["probability"], entry["gridimage_id"]))
    write_suggestions(output / NOISE_LIST, listed)
    cli.say(
        f"label noise: {len(listed):,} rows are contradicted: they weigh less, and {output / NOISE_LIST} lists them"
    )
