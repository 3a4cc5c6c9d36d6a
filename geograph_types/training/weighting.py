"""Factors on the rows' weights, and distances not to rely on: every rule that the flags ask for, and their lists."""

import numpy as np

from geograph_types import cli
from geograph_types.hub.run_files import FOREGROUND_LIST, NOISE_LIST
from geograph_types.inference import sigmoid
from geograph_types.training.data import TrainingData
from geograph_types.training.distance_faults import DistanceEvidence, bearable_rates
from geograph_types.training.folds import MINIMUM_ROWS, kept_or_new
from geograph_types.training.foreground import foreground_factor, write_foreground_list
from geograph_types.training.label_noise import noise_factor, suggestions, write_suggestions
from geograph_types.training.labels import true_drone_factor
from geograph_types.training.processes import by_the_first, say
from geograph_types.training.run import Run
from names_geograph import tower_of


def apply_weighting(run: Run) -> None:
    """Sets the factors of `run.train` and `run.validation`, and the logits of rows unseen where there are folds.

    Raises:
        CommandError: `--foreground_filter` without a text tower.
    """
    arguments = run.arguments.weighting
    if arguments.true_drone_weight != 1:
        run.train.factor = run.train.factor * true_drone_factor(run.train.rows.tags, arguments.true_drone_weight)
    if arguments.foreground_filter or arguments.foreground_rules:
        _lower_foreground(run)
    if arguments.folds and len(run.train) >= MINIMUM_ROWS:  # a fold of a few rows teaches nothing
        unseen = kept_or_new(run)
        run.train.unseen_logits = unseen.train
        if arguments.clean_labels:
            _lower_doubtful(run, unseen.validation)
        if arguments.distance_faults:
            _expect_faults(run, unseen.evidence)


def _lower_foreground(run: Run) -> None:
    """From Above rows that look taken past a railing weigh less."""
    tower = tower_of(run.config, run.arguments.weighting.vision_model)
    filtered = run.arguments.weighting.foreground_filter
    with cli.naming_flag("--vision_model DIR"):
        factor, listed = by_the_first(lambda: foreground_factor(run.train.rows, filtered, *tower))
    run.train.factor, run.train.label_factor = run.train.factor * factor, run.train.label_factor * factor
    path = run.output / FOREGROUND_LIST
    by_the_first(lambda: write_foreground_list(path, listed))
    say(f"foreground: {int((factor < 1).sum()):,} of {len(listed):,} From Above rows weigh less; {path}")


def _lower_doubtful(run: Run, on_validation: np.ndarray | None) -> None:
    """Rows whose labels the folds contradict weigh less, and are listed."""
    listed = _doubt(run.train, run.train.unseen_logits)
    if run.validation is not None and on_validation is not None:
        listed += _doubt(run.validation, on_validation)
    listed.sort(key=lambda entry: (-entry["probability"], entry["gridimage_id"]))
    path = run.output / NOISE_LIST
    by_the_first(lambda: write_suggestions(path, listed))
    say(f"label noise: {len(listed):,} rows are contradicted: they weigh less, and {path} lists them")


def _expect_faults(run: Run, evidence: DistanceEvidence) -> None:
    """Training also sees distances that might be given by mistake, as many as right ones can bear."""
    train = run.train
    evidence.rates = bearable_rates(evidence, train.targets, train.rows.distance, train.trust)
    train.evidence = evidence
    say(f"distances that may be wrong: training prepares for {evidence.rates}")


def _doubt(data: TrainingData, logits: np.ndarray) -> list[dict]:
    probabilities = sigmoid(logits)
    trust = data.trust
    factor = noise_factor(probabilities, data.targets, trust)
    data.factor, data.label_factor = data.factor * factor, data.label_factor * factor
    return suggestions(data.rows, probabilities, data.targets, data.config.classes, trust)
