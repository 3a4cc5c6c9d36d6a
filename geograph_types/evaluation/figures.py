"""Models and baselines on the same rows: everything that a report shows about each."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geograph_types import cli
from geograph_types.evaluation import baselines, statistics
from geograph_types.evaluation.intervals import bootstrap, intervals
from geograph_types.files import resource
from geograph_types.hub.models import load_head
from geograph_types.inference import probabilities_of
from geograph_types.rows.fields import Rows
from geograph_types.training.labels import training_targets
from names_geograph import tower_of


@dataclass(frozen=True)
class Answers:
    """Probabilities [N, C], what is true [N, C], and from which probability on each class counts [C]."""

    probability: np.ndarray
    targets: np.ndarray
    thresholds: np.ndarray
    classes: list[str]


def of_models(names: list[str], rows: Rows, times: int, revision: str | None = None) -> dict[str, dict]:
    """Name → everything found out about that model; the model itself first, then those to compare with.

    Raises:
        CommandError: a model that is not there, or predicts other classes or takes other vectors than the rows have.
    """
    found: dict[str, dict] = {}
    rule, classes = None, None
    with cli.progress(names, unit="model") as bar:
        for path in bar:
            name = Path(path).name or path
            while name in found:
                name += "'"
            model = load_head(path, revision=None if found else revision, device="cpu")
            config = model.config
            # One truth for all: a difference between models measured by different rules would not be theirs.
            rule = config.cross_far_min_distance if rule is None else rule
            classes = config.classes if classes is None else classes
            if config.classes != classes:
                raise cli.CommandError(f"{path}: it predicts {', '.join(config.classes)}; {names[0]} other classes")
            if config.embedding_dim != rows.embedding.shape[1]:
                raise cli.CommandError(
                    f"{path}: it takes vectors of {config.embedding_dim} numbers; the rows have "
                    f"{rows.embedding.shape[1]}"
                )
            found[name] = of_model(model, rows, rule, times)
    return found


def of_model(model, rows: Rows, cross_far_min_distance: float, times: int) -> dict:
    """One model with its own thresholds: figures, intervals, calibration, the shortcut test."""
    config = model.config
    targets = training_targets(rows.tags, rows.distance, cross_far_min_distance, config.classes)
    own = training_targets(rows.tags, rows.distance, config.cross_far_min_distance, config.classes)
    thresholds = np.array(config.thresholds)
    probability = probabilities_of(model, rows.embedding, rows.distance)
    predicted = probability >= thresholds
    return of_answers(Answers(probability, targets, thresholds, config.classes), rows, times) | {
        "config": config,
        "f1_macro_at_half": macro_f1(probability >= 0.5, targets),
        "f1_macro_by_own_rule": macro_f1(predicted, own),
        "answers_around": statistics.answers_around(probability[rows.weight > 0], targets[rows.weight > 0]),
        "shortcut": statistics.shortcut_test(model, rows, targets, thresholds),
        "confusion": statistics.confusion(predicted, targets),
        "curves": statistics.precision_recall(probability, targets, config.classes),
        "bins": {
            name: statistics.reliability_bins(probability[:, i], targets[:, i] > 0.5, rows.weight)
            for i, name in enumerate(config.classes)
        },
        "by_bucket": statistics.by_bucket(predicted, targets, rows.distance),
    }


def of_answers(answers: Answers, rows: Rows, times: int) -> dict:
    """The contract's figures of any probabilities, their intervals and calibration error."""
    module = metric_module()
    figures = module.figures(
        answers.probability,
        answers.targets,
        weight=rows.weight,
        distance=rows.distance,
        tags=rows.tags,
        thresholds=answers.thresholds,
        classes=answers.classes,
    )
    groups = {name: belongs(rows.distance) for name, belongs in module.DISTANCE_GROUPS.items()}
    samples = bootstrap(answers, rows.weight, times, groups)
    return {
        "figures": figures,
        "samples": samples,
        "intervals": intervals(samples, figures),
        "calibration_error": statistics.calibration_error(
            answers.probability, answers.targets, answers.classes, rows.weight
        ),
    }


def of_baselines(rows: Rows, train: Rows | None, config, times: int, text_model: str | None) -> dict[str, dict]:
    """What needs no training, on the same rows; the most frequent type and the distance need the training split."""
    rule, classes = config.cross_far_min_distance, config.classes
    targets = training_targets(rows.tags, rows.distance, rule, classes)
    answers = {}
    if train is not None:
        learnt = training_targets(train.tags, train.distance, rule, classes)
        answers["most frequent type"] = baselines.most_frequent(learnt, len(rows))
        answers["distance alone"] = baselines.distance_alone(learnt, train.distance, rows.distance)
    if text_model:
        with cli.naming_flag("--text_model DIR"):
            answers["zero-shot CLIP"] = baselines.zero_shot(rows, *tower_of(config, text_model), classes)
    half = np.full(len(classes), 0.5)
    return {
        name: of_answers(Answers(probability, targets, half, classes), rows, times)
        for name, probability in answers.items()
    }


def macro_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Mean F1 over the classes; both [N, C]."""
    return float(statistics.f1_of(statistics.f1_parts(predicted, targets > 0.5).sum(0)).mean())


def metric_module():
    """The module behind `evaluate.load`, so that no row passes through Arrow; the figures are the same."""
    import evaluate

    metric = evaluate.load(str(resource("metrics/geograph_types")), keep_in_memory=True)
    return sys.modules[type(metric).__module__]
