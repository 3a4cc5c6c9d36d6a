"""Figures that a sceptic would trust: intervals, paired differences, calibration, and what the distance does.

Intervals are 95 % percentile bootstraps over rows; all resamples are one matrix of counts [R, N], so that two models
compared on the same rows share them.
"""

from collections.abc import Iterator

import numpy as np

from geograph_types.inference import probabilities_of
from geograph_types.rows.fields import Rows
from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET

CALIBRATION_BINS = 15
# Resamples at a time: bounds the memory whatever the rows.
CHUNK_VALUES = 20_000_000


def resamples(n: int, times: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Bootstrap counts, float32 [r, N] a chunk; the same for the same arguments."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_VALUES // n)
    for start in range(0, times, step):
        count = min(step, times - start)
        drawn = generator.integers(0, n, (count, n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float32)


def f1_parts(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Hits, predictions and positives, float32 [N, 21]: F1 of any weighting of rows follows from their sums."""
    return np.concatenate([predicted & targets, predicted, targets], axis=1).astype(np.float32)


def f1_of(sums: np.ndarray) -> np.ndarray:
    """[..., 21] → per-class F1 [..., 7]; a class with nothing counts 0."""
    hits, given, positives = np.split(sums, 3, axis=-1)
    return np.divide(2 * hits, given + positives, out=np.zeros_like(hits), where=given + positives > 0)


def bootstrap(
    probability: np.ndarray,
    targets: np.ndarray,
    thresholds: np.ndarray,
    weight: np.ndarray,
    times: int = 1000,
    groups: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Figures of every resample: name → [R] or [R, 7].

    Args:
        groups: name → bool [N]; macro F1 of each, as `group:NAME`.
    """
    targets = targets > 0.5
    predicted = probability >= thresholds
    parts = f1_parts(predicted, targets)
    likely = np.where(targets, probability, 1 - probability)
    loss = (-np.log(np.maximum(likely, np.finfo(np.float32).tiny)).mean(axis=1) * weight).astype(np.float32)
    order = np.argsort(-probability, axis=0, kind="stable")
    found: dict[str, list[np.ndarray]] = {}

    def note(name: str, value: np.ndarray) -> None:
        found.setdefault(name, []).append(value)

    for counts in resamples(len(targets), times):
        sums = counts @ parts
        hits, given, positives = np.split(sums, 3, axis=-1)
        f1 = f1_of(sums)
        note("f1", f1)
        note("precision", np.divide(hits, given, out=np.zeros_like(hits), where=given > 0))
        note("recall", np.divide(hits, positives, out=np.zeros_like(hits), where=positives > 0))
        note("f1_macro", f1.mean(axis=1))
        note("f1_micro", 2 * hits.sum(1) / np.maximum(given.sum(1) + positives.sum(1), 1))
        note("loss", counts @ loss / len(loss))
        average = np.stack([_average_precision(counts, order[:, c], targets[:, c]) for c in range(len(CLASSES))], 1)
        note("average_precision", average)
        note("average_precision_macro", average.mean(axis=1))
        for name, rows in (groups or {}).items():
            if rows.any():
                note(f"group:{name}", f1_of(counts[:, rows] @ parts[rows]).mean(axis=1))
    return {name: np.concatenate(values) for name, values in found.items()}


def _average_precision(counts: np.ndarray, order: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Average precision of each resample, [R]; rows sorted once."""
    counts = counts[:, order]
    hits = counts * positive[order]
    precision = np.cumsum(hits, axis=1, dtype=np.float64) / np.maximum(np.cumsum(counts, axis=1, dtype=np.float64), 1)
    total = hits.sum(axis=1)
    return np.divide((hits * precision).sum(axis=1), total, out=np.zeros(len(counts)), where=total > 0)


def interval(values: np.ndarray) -> list:
    """2.5 % and 97.5 % percentiles over the first axis."""
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return (
        [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
        if values.ndim > 1
        else [float(low), float(high)]
    )


def wilson(share: float | None, n: int) -> list[float] | None:
    """95 % interval of a share of n (Wilson, 1927): right for six photos, too."""
    if share is None or not n:
        return None
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [float(max(centre - half, 0)), float(min(centre + half, 1))]


def intervals(samples: dict[str, np.ndarray], figures: dict) -> dict:
    """The contract's figures → their 95 % intervals, under the same names.

    Bootstrap percentiles; Wilson's where few photos are the rule (drones) and where a precision or recall is 0 or 1.
    """
    keys = ("precision", "recall", "f1", "average_precision")
    per_class = {name: {key: interval(samples[key][:, i]) for key in keys} for i, name in enumerate(CLASSES)}
    for name, found in figures["per_class"].items():
        hits = found["recall"] * found["support"]
        given = round(hits / found["precision"]) if found["precision"] else 0
        for key, n in (("precision", given), ("recall", found["support"])):
            # All resamples of 24 out of 24 are 24 out of 24: no reason to be that sure.
            if n and found[key] in (0.0, 1.0):
                per_class[name][key] = wilson(found[key], n)
    groups = figures["by_distance"] or {}
    return {
        **{key: interval(samples[key]) for key in ("loss", "f1_macro", "f1_micro", "average_precision_macro")},
        "per_class": per_class,
        **{
            f"{kind}_drone_recall": wilson(figures[f"{kind}_drone_recall"], figures[f"{kind}_drone_n"])
            for kind in ("true", "pseudo")
        },
        "by_distance": {
            name: interval(samples[f"group:{name}"]) if f"group:{name}" in samples else None for name in groups
        },
    }


def paired_difference(ours: dict, other: dict) -> dict:
    """Ours minus the other's: the figures' difference, and its 95 % interval from the same resamples of both.

    Args:
        ours, other: `figures` of all rows and bootstrap `samples` of each. "sure": the interval excludes 0.
    """

    def compare(value: float, samples: np.ndarray) -> dict:
        low, high = interval(samples)
        return {"difference": float(value), "interval": [low, high], "sure": not low <= 0 <= high}

    result = {
        key: compare(ours["figures"][key] - other["figures"][key], ours["samples"][key] - other["samples"][key])
        for key in ("f1_macro", "f1_micro", "average_precision_macro", "loss")
    }
    f1 = ours["samples"]["f1"] - other["samples"]["f1"]
    result["per_class_f1"] = {
        name: compare(ours["figures"]["per_class"][name]["f1"] - other["figures"]["per_class"][name]["f1"], f1[:, i])
        for i, name in enumerate(CLASSES)
    }
    return result


def calibration_error(probability: np.ndarray, targets: np.ndarray) -> dict:
    """Expected calibration error per class and their mean: over 15 bins of equal width, the gap between the mean
    probability and the share of positives, weighted by the rows in the bin (Naeini, 2015)."""
    per_class = {}
    for column, name in enumerate(CLASSES):
        gap = 0.0
        for bin_ in reliability_bins(probability[:, column], targets[:, column] > 0.5):
            gap += bin_["n"] * abs(bin_["predicted"] - bin_["observed"])
        per_class[name] = gap / len(probability)
    return {"macro": float(np.mean(list(per_class.values()))), "per_class": per_class}


def reliability_bins(probability: np.ndarray, positive: np.ndarray, bins: int = CALIBRATION_BINS) -> list[dict]:
    """Bins that hold rows: `predicted` mean probability, `observed` share of positives, `n` rows."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    n = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, weights=probability, minlength=bins)
    observed = np.bincount(place, weights=positive, minlength=bins)
    return [
        {"predicted": float(predicted[i] / n[i]), "observed": float(observed[i] / n[i]), "n": int(n[i])}
        for i in range(bins)
        if n[i]
    ]


def trust_around(probability: np.ndarray, targets: np.ndarray, around: float = 0.8, within: float = 0.1) -> dict:
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

    `distance_reliance` is the mean, over rows and over the 22 other buckets, of how far the most moved class's
    probability moves: 0 for a model that does not look at the distance, 1 for one that looks at nothing else.
    """
    targets = targets > 0.5
    given = probabilities_of(model, rows.embedding, rows.distance)
    moved_most = np.zeros(len(rows))
    moved = np.zeros(len(CLASSES))
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
    wrong = wrong_distances(rows.distance, seed)
    instead = probabilities_of(model, rows.embedding, wrong)
    others = NUM_DISTANCE_BUCKETS - 1
    return {
        "distance_reliance": float(moved_most.mean() / others),
        "by_class": {name: float(moved[i] / others) for i, name in enumerate(CLASSES)},
        "hidden_by_class": {name: float(hidden_move[:, i].mean()) for i, name in enumerate(CLASSES)},
        "f1_macro_hidden": hidden,
        "f1_macro_wrong": float(f1_of(f1_parts(instead >= thresholds, targets).sum(0)).mean()),
        "f1_macro_by_bucket": f1,
        "mean_probability_by_bucket": mean_probability,
    }


def wrong_distances(bucket: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another bucket for each row, any of the 22 others with the same chance."""
    generator = np.random.default_rng(seed)
    shift = generator.integers(1, NUM_DISTANCE_BUCKETS, len(bucket))
    return ((bucket.astype(int) + shift) % NUM_DISTANCE_BUCKETS).astype(np.uint8)


def confusion(predicted: np.ndarray, targets: np.ndarray) -> dict:
    """Of the rows that are class i, the share that are predicted j, and that are j, both [7][7]."""
    targets = targets > 0.5
    positives = targets.sum(axis=0)
    both = targets.T.astype(float) @ predicted.astype(float)
    shares = np.divide(both, positives[:, None], out=np.zeros_like(both), where=positives[:, None] > 0)
    truth = targets.T.astype(float) @ targets.astype(float)
    truth = np.divide(truth, positives[:, None], out=np.zeros_like(truth), where=positives[:, None] > 0)
    return {"predicted": shares.tolist(), "true": truth.tolist()}


def precision_recall(probability: np.ndarray, targets: np.ndarray, points: int = 200) -> dict[str, tuple]:
    """Class → recall and precision, thinned to some points; none for a class without positives."""
    from sklearn.metrics import precision_recall_curve

    curves = {}
    for i, name in enumerate(CLASSES):
        positive = targets[:, i] > 0.5
        if not positive.any():
            continue
        precision, recall, _ = precision_recall_curve(positive, probability[:, i])
        # Even steps in recall: by rank, a rare class would keep a handful of points.
        asked = np.linspace(1, 0, points)
        keep = np.unique(np.searchsorted(-recall, -asked, side="right") - 1)
        curves[name] = (recall[keep], precision[keep])
    return curves
