"""How well the types of Geograph photos are told: the figures that model cards and reports show."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

CLASSES = ["Aerial", "Close Look", "Cross Far", "Extra", "Geograph", "Inside", "From Drone"]
TAGS = ["Aerial", "Close Look", "Cross Grid", "Extra", "From Above", "From Drone", "Geograph", "Inside"]
UNKNOWN_BUCKET = 22

# Bucket 7 is 64 m, bucket 8 is 128 m.
DISTANCE_GROUPS = {
    "Unknown": lambda bucket: bucket == UNKNOWN_BUCKET,
    "0 to 64 m": lambda bucket: bucket <= 7,
    "128 m and over": lambda bucket: (bucket >= 8) & (bucket < UNKNOWN_BUCKET),
}

_DESCRIPTION = """
Multi-label figures for the seven classes of the Geograph type classifier: precision, recall, F1 and average precision
per class, their means, and what is peculiar to the field: true drone photos (raw tag From Drone) and pseudo drone
photos (raw tag From Above) judged apart, and macro F1 by distance.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: probabilities, 0 to 1, [N, 7], in the order of the classes.
    references: 1 where the class applies, [N, 7].
    thresholds: 7 probabilities; a class counts from there on. 0.5 each by default.
    weight: [N], how far to trust each row's labels; only the loss carries it. 1 by default.
    tags: [N, 8], the raw tags in alphabetical order; without them the drone figures are null.
    distance: [N], bucket indices 0 to 22; without them `by_distance` is null.
    classes: names of the columns, the seven by default.
Returns:
    n, loss, f1_macro, f1_micro, average_precision_macro, per_class, true_drone_recall, true_drone_n,
    pseudo_drone_recall, pseudo_drone_n, by_distance.
Examples:
    >>> metric = evaluate.load("metrics/geograph_types")
    >>> metric.add_batch(predictions=[[0.9, 0, 0, 0, 0, 0, 0]], references=[[1, 0, 0, 0, 0, 0, 0]])
    >>> results = metric.compute()
    >>> print(results["f1_micro"], results["per_class"]["Aerial"]["support"])
    1.0 1
"""

_CITATION = """
@misc{geograph_types,
  title = {Geograph type classifier},
  note = {Figures as in scikit-learn: a class with no positives and no predictions counts 0},
}
"""


def figures(predictions, references, weight=None, distance=None, tags=None, thresholds=None, classes=None) -> dict:
    """All figures at once; see the description of the inputs above. A class with nothing to find counts 0."""
    classes = list(CLASSES if classes is None else classes)
    probabilities = np.asarray(predictions, dtype=np.float64)
    check_answers(probabilities, np.asarray(references, dtype=np.float64), len(classes))
    targets = np.asarray(references) > 0.5
    check_columns(len(targets), len(classes), weight, distance, tags, thresholds)
    thresholds = np.full(len(classes), 0.5) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    predicted = probabilities >= thresholds
    precision, recall, f1, support = precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    average_precision = [
        float(average_precision_score(targets[:, i], probabilities[:, i])) if targets[:, i].any() else 0.0
        for i in range(len(classes))
    ]
    per_class = {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "average_precision": average_precision[i],
            "support": int(support[i]),
            "threshold": float(thresholds[i]),
        }
        for i, name in enumerate(classes)
    }
    micro = precision_recall_fscore_support(targets, predicted, average="micro", zero_division=0)[2]
    return {
        "n": len(targets),
        "loss": weighted_loss(probabilities, targets, weight),
        "f1_macro": float(f1.mean()),
        "f1_micro": float(micro),
        "average_precision_macro": float(np.mean(average_precision)),
        "per_class": per_class,
        **drone_recall(predicted, tags, classes),
        "by_distance": None if distance is None else by_distance(predicted, targets, np.asarray(distance)),
    }


def check_answers(probabilities: np.ndarray, references: np.ndarray, classes: int) -> None:
    """Raises ValueError for what are no probabilities (logits, percentages, NaN) or no 0 and 1."""
    if probabilities.ndim != 2 or probabilities.shape != references.shape or probabilities.shape[1] != classes:
        raise ValueError(
            f"predictions and references must both be [N, {classes}], "
            f"got {list(probabilities.shape)} and {list(references.shape)}"
        )
    if not len(probabilities):
        raise ValueError("no rows to evaluate")
    low, high = probabilities.min(), probabilities.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        guess = "logits? take their sigmoid" if low < 0 else "percentages? divide by 100" if high > 1 else "NaN"
        raise ValueError(f"predictions must be probabilities, 0 to 1, got {low:g} to {high:g} ({guess})")
    if not np.isin(references, (0, 1)).all():
        raise ValueError("references must be 0 or 1, one a class")


def check_columns(rows: int, classes: int, weight, distance, tags, thresholds) -> None:
    """Raises ValueError for columns of another length, negative weights, metres in the place of buckets."""
    for name, value, shape in (
        ("weight", weight, (rows,)),
        ("distance", distance, (rows,)),
        ("tags", tags, (rows, len(TAGS))),
        ("thresholds", thresholds, (classes,)),
    ):
        if value is not None and np.shape(value) != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(np.shape(value))}")
    if weight is not None and not (np.isfinite(np.asarray(weight, float)) & (np.asarray(weight, float) >= 0)).all():
        raise ValueError("weight must be finite and at least 0 in every row")
    if thresholds is not None and not ((np.asarray(thresholds) >= 0) & (np.asarray(thresholds) <= 1)).all():
        raise ValueError(f"thresholds must be probabilities, 0 to 1, got {list(thresholds)}")
    if distance is not None:
        bucket = np.asarray(distance)
        if not np.issubdtype(bucket.dtype, np.integer) or bucket.min() < 0 or bucket.max() > UNKNOWN_BUCKET:
            raise ValueError(
                f"distance must hold bucket indices, whole numbers 0 to {UNKNOWN_BUCKET} (metres? 2^i is bucket i + 1)"
            )


def weighted_loss(probabilities: np.ndarray, targets: np.ndarray, weight=None) -> float:
    """Mean over rows of weight × mean over classes of binary cross-entropy, as in training."""
    tiny = np.finfo(np.float32).tiny
    likely = np.where(targets, probabilities, 1 - probabilities)
    per_row = -np.log(np.maximum(likely, tiny)).mean(axis=1)
    return float((per_row if weight is None else per_row * np.asarray(weight)).mean())


def drone_recall(predicted: np.ndarray, tags, classes=CLASSES) -> dict:
    """How often From Drone is predicted on rows tagged From Drone (true) and From Above (pseudo); null without any."""
    if "From Drone" not in classes:
        tags, drone = None, predicted[:, 0]
    else:
        drone = predicted[:, classes.index("From Drone")]
    result = {}
    for name, tag in (("true_drone", "From Drone"), ("pseudo_drone", "From Above")):
        has = np.zeros(len(drone), bool) if tags is None else np.asarray(tags)[:, TAGS.index(tag)].astype(bool)
        result[f"{name}_recall"] = float(drone[has].mean()) if has.any() else None
        result[f"{name}_n"] = int(has.sum())
    return result


def by_distance(predicted: np.ndarray, targets: np.ndarray, bucket: np.ndarray) -> dict:
    """Macro F1 where the distance is not known, near and far; null for a group without rows."""
    result = {}
    for name, belongs in DISTANCE_GROUPS.items():
        rows = belongs(bucket)
        f1 = None
        if rows.any():
            f1 = precision_recall_fscore_support(targets[rows], predicted[rows], average=None, zero_division=0)[2]
            f1 = float(f1.mean())
        result[name] = {"n": int(rows.sum()), "f1_macro": f1}
    return result


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class GeographTypes(evaluate.Metric):
    """The metric as `evaluate.load` gives it."""

    def _info(self):
        row = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions, references, weight=None, distance=None, tags=None, thresholds=None, classes=None):
        return figures(predictions, references, weight, distance, tags, thresholds, classes)
