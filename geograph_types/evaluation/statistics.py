"""Figures beyond the metric's: calibration, figures by distance, what is taken for what, and the shortcut test.

C is the number of classes, N of rows; buckets are the standard ones, 0 to 22.
"""

from collections.abc import Sequence

import numpy as np

from geograph_types.inference import probabilities_of
from geograph_types.rows.fields import Rows
from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET

CALIBRATION_BINS = 15
# How many of the known distances the shortcut test sets to zero.
CONFLATED_SHARE = 1 / 3


def f1_parts(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Hits, predictions and positives, float32 [N, 3 C]: F1 of any weighting of rows follows from their sums."""
    return np.concatenate([predicted & targets, predicted, targets], axis=1).astype(np.float32)


def f1_of(sums: np.ndarray) -> np.ndarray:
    """[..., 3 C] → per-class F1 [..., C]; a class with nothing counts 0."""
    hits, given, positives = np.split(sums, 3, axis=-1)
    return np.divide(2 * hits, given + positives, out=np.zeros_like(hits), where=given + positives > 0)


def wilson(share: float | None, n: int) -> list[float] | None:
    """95 % interval of a share of n (Wilson, 1927): right for six photos, too."""
    if share is None or not n:
        return None
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [float(max(centre - half, 0)), float(min(centre + half, 1))]


def calibration_error(
    probability: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str] = CLASSES,
    weight: np.ndarray | None = None,
) -> dict:
    """Expected calibration error per class and their mean: over 15 bins of equal width, the gap between the mean
    probability and the share of positives, weighted by the rows in the bin (Naeini, 2015), each row by `weight`."""
    per_class = {}
    for column, name in enumerate(classes):
        bins = reliability_bins(probability[:, column], targets[:, column] > 0.5, weight)
        gap = sum(bin_["weight"] * abs(bin_["predicted"] - bin_["observed"]) for bin_ in bins)
        per_class[name] = gap / max(sum(bin_["weight"] for bin_ in bins), np.finfo(float).tiny)
    return {"macro": float(np.mean(list(per_class.values()))), "per_class": per_class}


def reliability_bins(
    probability: np.ndarray, positive: np.ndarray, weight: np.ndarray | None = None, bins: int = CALIBRATION_BINS
) -> list[dict]:
    """Bins that hold rows of any weight: `predicted` mean probability, `observed` share of positives, both by
    `weight` (1 where absent), `n` rows that weigh anything, and their `weight`."""
    weight = np.ones(len(probability)) if weight is None else np.asarray(weight, dtype=np.float64)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    n = np.bincount(place[weight > 0], minlength=bins)
    total = np.bincount(place, weights=weight, minlength=bins)
    predicted = np.bincount(place, weights=weight * probability, minlength=bins)
    observed = np.bincount(place, weights=weight * positive, minlength=bins)
    return [
        {
            "predicted": float(predicted[i] / total[i]),
            "observed": float(observed[i] / total[i]),
            "n": int(n[i]),
            "weight": float(total[i]),
        }
        for i in range(bins)
        if n[i]
    ]


def answers_around(probability: np.ndarray, targets: np.ndarray, around: float = 0.8, within: float = 0.1) -> dict:
    """What becomes of answers about `around`, all classes together: `n`, their mean `predicted`, the share `observed`
    that was right, and its 95 % interval (Wilson); nulls where there is no such answer."""
    chosen = (probability >= around - within) & (probability < around + within)
    n = int(chosen.sum())
    observed = float(targets[chosen].mean()) if n else None
    predicted = float(probability[chosen].mean()) if n else None
    return {"n": n, "predicted": predicted, "observed": observed, "interval": wilson(observed, n)}


def by_bucket(predicted: np.ndarray, targets: np.ndarray, bucket: np.ndarray, least: int = 5) -> dict[str, list]:
    """Figures of the rows that have each of the 23 distances.

    Returns:
        `n` rows; `f1_macro`, the mean over the classes with at least `least` photos there (null where none has),
        `classes` how many those are. A class that a distance hardly has would make its mean a matter of luck.
    """
    result: dict[str, list] = {"n": [], "f1_macro": [], "classes": []}
    for b in range(NUM_DISTANCE_BUCKETS):
        rows = bucket == b
        enough = (targets[rows] > 0.5).sum(axis=0) >= least
        f1 = f1_of(f1_parts(predicted[rows], targets[rows] > 0.5).sum(0))[enough]
        result["n"].append(int(rows.sum()))
        result["classes"].append(int(enough.sum()))
        result["f1_macro"].append(float(f1.mean()) if enough.any() else None)
    return result


def shortcut_test(model, rows: Rows, targets: np.ndarray, thresholds: np.ndarray, seed: int = 0) -> dict:
    """What the model does when only the distance changes: every row with each of the 23 buckets in its place.

    `f1_macro_hidden`, `f1_macro_wrong`, `f1_macro_conflated`: macro F1 where every distance is Unknown, where each is
    another one, and where a third of the known ones are zero.
    `distance_reliance` is the mean, over rows and over the 22 other buckets, of how far the most moved class's
    probability moves: 0 for a model that does not look at the distance, 1 for one that looks at nothing else.
    """
    targets = targets > 0.5
    given = probabilities_of(model, rows.embedding, rows.distance)
    moved_most = np.zeros(len(rows))
    classes = model.config.classes
    moved = np.zeros(len(classes))
    mean_probability, f1, hidden, hidden_move = [], [], 0.0, None
    for bucket in range(NUM_DISTANCE_BUCKETS):
        instead = probabilities_of(model, rows.embedding, np.full(len(rows), bucket))
        move = np.abs(instead - given) * (rows.distance != bucket)[:, None]
        moved_most += move.max(axis=1)
        moved += move.mean(axis=0)
        mean_probability.append(instead.mean(axis=0).tolist())
        f1.append(float(f1_of(f1_parts(instead >= thresholds, targets).sum(0)).mean()))
        if bucket == UNKNOWN_BUCKET:
            hidden, hidden_move = f1[-1], move
    changed = {"wrong": wrong_distances(rows.distance, seed), "conflated": conflated_distances(rows.distance, seed)}
    instead = {
        name: probabilities_of(model, rows.embedding, distance) >= thresholds for name, distance in changed.items()
    }
    others = NUM_DISTANCE_BUCKETS - 1
    return {
        "distance_reliance": float(moved_most.mean() / others),
        "by_class": {name: float(moved[i] / others) for i, name in enumerate(classes)},
        "hidden_by_class": {name: float(hidden_move[:, i].mean()) for i, name in enumerate(classes)},
        "f1_macro_hidden": hidden,
        **{
            f"f1_macro_{name}": float(f1_of(f1_parts(predicted, targets).sum(0)).mean())
            for name, predicted in instead.items()
        },
        "conflated_share": CONFLATED_SHARE,
        "f1_macro_by_bucket": f1,
        "mean_probability_by_bucket": mean_probability,
    }


def wrong_distances(bucket: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another bucket for each row, any of the 22 others with the same chance."""
    generator = np.random.default_rng(seed)
    shift = generator.integers(1, NUM_DISTANCE_BUCKETS, len(bucket))
    return ((bucket.astype(int) + shift) % NUM_DISTANCE_BUCKETS).astype(np.uint8)


def conflated_distances(bucket: np.ndarray, seed: int = 0, share: float = CONFLATED_SHARE) -> np.ndarray:
    """A share of the known distances becomes 0: what the archive holds where subject and viewpoint were given the same
    reference."""
    chosen = (bucket != UNKNOWN_BUCKET) & (np.random.default_rng([seed, 1]).random(len(bucket)) < share)
    return np.where(chosen, 0, bucket).astype(np.uint8)


def confusion(predicted: np.ndarray, targets: np.ndarray) -> dict:
    """Of the rows that are class i, the share that are predicted j, and that are j, both [C][C]."""
    targets = targets > 0.5
    positives = targets.sum(axis=0)
    both = targets.T.astype(float) @ predicted.astype(float)
    shares = np.divide(both, positives[:, None], out=np.zeros_like(both), where=positives[:, None] > 0)
    truth = targets.T.astype(float) @ targets.astype(float)
    truth = np.divide(truth, positives[:, None], out=np.zeros_like(truth), where=positives[:, None] > 0)
    return {"predicted": shares.tolist(), "true": truth.tolist()}


def precision_recall(
    probability: np.ndarray, targets: np.ndarray, classes: Sequence[str] = CLASSES, points: int = 200
) -> dict[str, tuple]:
    """Class → recall and precision, thinned to some points; none for a class without positives."""
    from sklearn.metrics import precision_recall_curve

    curves = {}
    for i, name in enumerate(classes):
        positive = targets[:, i] > 0.5
        if not positive.any():
            continue
        precision, recall, _ = precision_recall_curve(positive, probability[:, i])
        # Even steps in recall: by rank, a rare class would keep a handful of points.
        asked = np.linspace(1, 0, points)
        keep = np.unique(np.searchsorted(-recall, -asked, side="right") - 1)
        curves[name] = (recall[keep], precision[keep])
    return curves
