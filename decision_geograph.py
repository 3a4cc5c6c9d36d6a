"""Probabilities and coordinates → the types to submit. NumPy only.

Every way to an answer (pipeline, files, Space) decides here.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

try:
    from .grid_geograph import GridPoint, is_cross_grid, square_of
    from .names_geograph import tag_of
    from .places_geograph import as_point
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import GridPoint, is_cross_grid, square_of
    from names_geograph import tag_of
    from places_geograph import as_point

# What the coordinates say, one int8 a row: see `verdict_of`.
NOT_SAID, SAME_SQUARE, OTHER_SQUARE = -1, 0, 1


def choose(
    probabilities: np.ndarray, thresholds: list[float], classes: list[str], verdict: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rule behind `decide`, for many rows at once.

    Args:
        probabilities: float [N, 7]. verdict: int8 [N], `NOT_SAID`, `SAME_SQUARE` or `OTHER_SQUARE`; all not said if
            absent.

    Returns:
        scores: float [N, 7], the probabilities, but 1 for Cross Far where coordinates show Cross Grid.
        chosen: bool [N, 7], the classes to give. doubted: bool [N], where Cross Far would have been given, if
            coordinates did not put both points in one square.
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    scores, doubted, reached = probabilities, np.zeros(len(probabilities), dtype=bool), None
    if verdict is None or "Cross Far" not in classes or (verdict == NOT_SAID).all():
        reached = scores >= thresholds
        best = scores
    else:
        far = classes.index("Cross Far")
        scores = probabilities.copy()
        scores[verdict == OTHER_SQUARE, far] = 1
        best = scores.copy()
        best[verdict == SAME_SQUARE, far] = -1
        reached = best >= thresholds
        far_best_of_none = ~(scores >= thresholds).any(axis=1) & (scores.argmax(axis=1) == far)
        doubted = (verdict == SAME_SQUARE) & ((scores[:, far] >= thresholds[far]) | far_best_of_none)
    none = ~reached.any(axis=1)
    if none.any():
        reached[none, best[none].argmax(axis=1)] = True
    return scores, reached, doubted


def decide(
    probabilities: Iterable[float],
    thresholds: list[float],
    classes: list[str],
    subject: GridPoint | str | None = None,
    viewpoint: GridPoint | str | None = None,
) -> dict[str, Any]:
    """Seven probabilities, and what coordinates say → one prediction.

    A class is given where its probability reaches its threshold; where none does, the best one is. Cross Far is given
    as Cross Grid. `types` and `scores` are in descending order of score.

    | subject and viewpoint stand | Cross Far | types | cross_grid | note |
    | --- | --- | --- | --- | --- |
    | in different squares | any | Cross Grid, score 1, and what else reached its threshold | "geometry" | – |
    | in one square | reached its threshold | what else reached it, else the next best; never Cross Grid | – | doubt |
    | in one square | best where none reached it | the next best | – | doubt |
    | in one square | neither | as without coordinates | – | – |
    | not known | reached its threshold | Cross Grid, and what else reached it | "model" | – |
    | not known | best where none reached it | Cross Grid alone | "model" | – |
    | not known | neither | what reached its threshold, else the best | – | – |

    So that `scores` has one shape everywhere, the score 1 of a Cross Grid by geometry stands under Cross Far, the
    class that Cross Grid is the name of; in one square Cross Far keeps the model's probability. A doubt is given as a
    note, since a coordinate may be wrong: "looks like a long view, but both points are in TQ3080".

    Args:
        probabilities: [7], in the order of `classes`. subject, viewpoint: grid references or points, None: not known.

    Returns:
        `types`, `scores` (class → probability), `cross_grid`, `note`, `error` (None), as the prediction's fields.

    Raises:
        ValueError: a grid reference that is none.
    """
    subject, viewpoint = as_point(subject), as_point(viewpoint)
    verdict = np.array([verdict_of(subject, viewpoint)], dtype=np.int8)
    row = np.asarray(list(probabilities), dtype=np.float64)[None]
    scores, chosen, doubted = choose(row, thresholds, classes, verdict)
    order = np.argsort(-scores[0], kind="stable")
    given = [classes[i] for i in order if chosen[0, i]]
    source = ("geometry" if verdict[0] == OTHER_SQUARE else "model") if "Cross Far" in given else None
    return {
        "types": [tag_of(name) for name in given],
        "scores": {classes[i]: float(scores[0, i]) for i in order},
        "cross_grid": source,
        "note": doubt(viewpoint) if doubted[0] else None,
        "error": None,
    }


def failed(error: object) -> dict[str, Any]:
    """The prediction for what could not be done, and why."""
    return {"types": [], "scores": None, "cross_grid": None, "note": None, "error": " ".join(str(error).split())}


def verdict_of(subject: GridPoint | None, viewpoint: GridPoint | None) -> int:
    """What two points say about Cross Grid: `OTHER_SQUARE`, `SAME_SQUARE` or `NOT_SAID`."""
    said = is_cross_grid(subject, viewpoint)
    return NOT_SAID if said is None else OTHER_SQUARE if said else SAME_SQUARE


def doubt(point: GridPoint) -> str:
    """The note where the picture says Cross Far, and both points stand in the square of `point`."""
    return f"looks like a long view, but both points are in {square_of(point)}"
