"""95 % intervals: percentile bootstraps over rows, and Wilson's where photos are few.

Two models compared on the same rows share their resamples, so that the interval of their difference is paired.
"""

from collections.abc import Iterator

import numpy as np

from geograph_types.evaluation.statistics import f1_of, f1_parts, wilson

# Counts at a time: they and what comes of them fit a processor's cache, which is what the time depends on.
CHUNK_VALUES = 1_000_000
# Fewer resamples say little about the 2.5 % at each end.
FEWEST = 100


def resamples(n: int, times: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each row is drawn, int32 [r, N] a chunk; the same for the same arguments."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_VALUES // n)
    for start in range(0, times, step):
        drawn = generator.integers(0, n, (min(step, times - start), n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.int32)


def bootstrap(
    answers, weight: np.ndarray, times: int = 1000, groups: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Figures of every resample: name → [R] or [R, C]; nothing where `times` is 0.

    Args:
        answers: `Answers`, whose probability is float32 [N, C]. weight: [N].
        groups: name → bool [N]; macro F1 of each, as `group:NAME`.
    """
    if not times:
        return {}
    probability, targets = answers.probability, answers.targets > 0.5
    groups = {name: rows for name, rows in (groups or {}).items() if rows.any()}
    parts = f1_parts(probability >= answers.thresholds, targets)
    likely = np.where(targets, probability, 1 - probability)
    loss = (-np.log(np.maximum(likely, np.finfo(np.float32).tiny)).mean(axis=1) * weight).astype(np.float32)
    # One product gives all sums: of all rows, of each group's rows, and of the loss.
    columns = np.concatenate([parts, *(parts * rows[:, None] for rows in groups.values()), loss[:, None]], axis=1)
    ranked = [RankedClass(probability[:, c], targets[:, c]) for c in range(targets.shape[1])]
    found: list[dict[str, np.ndarray]] = []
    for counts in resamples(len(targets), times):
        sums = counts.astype(np.float32) @ columns
        figures = _of_sums(sums[:, : parts.shape[1]]) | {"loss": sums[:, -1] / len(loss)}
        for i, name in enumerate(groups, start=1):
            own = sums[:, i * parts.shape[1] : (i + 1) * parts.shape[1]]
            figures[f"group:{name}"] = f1_of(own).mean(axis=1)
        average = np.array([[one.average_precision(row) for one in ranked] for row in counts])
        figures |= {"average_precision": average, "average_precision_macro": average.mean(axis=1)}
        found.append(figures)
    return {name: np.concatenate([figures[name] for figures in found]) for name in found[0]}


def _of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """[R, 3 C] → precision, recall and F1 by class, and their means."""
    hits, given, positives = np.split(sums, 3, axis=-1)
    f1 = f1_of(sums)
    return {
        "f1": f1,
        "precision": np.divide(hits, given, out=np.zeros_like(hits), where=given > 0),
        "recall": np.divide(hits, positives, out=np.zeros_like(hits), where=positives > 0),
        "f1_macro": f1.mean(axis=1),
        "f1_micro": 2 * hits.sum(1) / np.maximum(given.sum(1) + positives.sum(1), 1),
    }


class RankedClass:
    """One class's rows sorted by probability once, for the average precision of many resamples.

    Rows of the same probability are one step, as in scikit-learn: which of them comes first is chance.
    """

    def __init__(self, probability: np.ndarray, positive: np.ndarray):
        self.order = np.argsort(-probability, kind="stable")
        ranked = probability[self.order]
        at = np.flatnonzero(positive[self.order])
        # For each positive row: the last row of its step, among all rows and among the positive ones.
        last = np.searchsorted(-ranked, -ranked[at], side="right") - 1
        self.positive, self.last = self.order[at], last
        self.last_positive = np.searchsorted(at, last, side="right") - 1

    def average_precision(self, counts: np.ndarray) -> float:
        """Of one resample, counts [N]; 0 where it holds no positive row."""
        own = counts[self.positive]
        total = own.sum()
        if not total:
            return 0.0
        rows = np.cumsum(counts[self.order], dtype=np.int64)[self.last]
        hits = np.cumsum(own, dtype=np.int64)[self.last_positive]
        return float((own * (hits / np.maximum(rows, 1))).sum() / total)


def interval(values: np.ndarray | None) -> list | None:
    """2.5 % and 97.5 % percentiles over the first axis; None of nothing."""
    if values is None:
        return None
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    if values.ndim == 1:
        return [float(low), float(high)]
    return [[float(a), float(b)] for a, b in zip(low, high, strict=True)]


def intervals(samples: dict[str, np.ndarray], figures: dict) -> dict:
    """The contract's figures → their 95 % intervals, under the same names; None where there are no resamples.

    Bootstrap percentiles; Wilson's where few photos are the rule (drones) and where a precision or recall is 0 or 1.
    """
    keys = ("precision", "recall", "f1", "average_precision")
    per_class = {
        name: {key: interval(samples[key][:, i]) if samples else None for key in keys}
        for i, name in enumerate(figures["per_class"])
    }
    for name, found in figures["per_class"].items():
        hits = found["recall"] * found["support"]
        given = round(hits / found["precision"]) if found["precision"] else 0
        for key, n in (("precision", given), ("recall", found["support"])):
            # All resamples of 24 out of 24 are 24 out of 24: no reason to be that sure.
            if n and found[key] in (0.0, 1.0):
                per_class[name][key] = wilson(found[key], n)
    groups = figures["by_distance"] or {}
    return {
        **{key: interval(samples.get(key)) for key in ("loss", "f1_macro", "f1_micro", "average_precision_macro")},
        "per_class": per_class,
        **{
            f"{kind}_drone_recall": wilson(figures[f"{kind}_drone_recall"], figures[f"{kind}_drone_n"])
            for kind in ("true", "pseudo")
        },
        "by_distance": {name: interval(samples.get(f"group:{name}")) for name in groups},
    }


def paired_difference(ours: dict, other: dict) -> dict:
    """Ours minus the other's: the figures' difference, and its 95 % interval from the same resamples of both.

    Args:
        ours, other: `figures` of all rows and bootstrap `samples` of each. "sure": the interval excludes 0; None
            where there are no resamples.
    """
    mine, others = ours["samples"], other["samples"]

    def compare(value: float, samples: np.ndarray | None) -> dict:
        found = interval(samples)
        sure = None if found is None else not found[0] <= 0 <= found[1]
        return {"difference": float(value), "interval": found, "sure": sure}

    result = {
        key: compare(ours["figures"][key] - other["figures"][key], mine[key] - others[key] if mine else None)
        for key in ("f1_macro", "f1_micro", "average_precision_macro", "loss")
    }
    f1 = mine["f1"] - others["f1"] if mine else None
    classes = ours["figures"]["per_class"]
    result["per_class_f1"] = {
        name: compare(
            classes[name]["f1"] - other["figures"]["per_class"][name]["f1"], None if f1 is None else f1[:, i]
        )
        for i, name in enumerate(classes)
    }
    return result
