"""Probabilities and coordinates → the types to submit. NumPy only.

Every way to an answer (pipeline, files, Space) decides here.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

try:
    from .grid_geograph import GridPoint, bucket_of, distance_between, is_cross_grid, square_of
    from .names_geograph import tag_of
    from .places_geograph import as_point
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import GridPoint, bucket_of, distance_between, is_cross_grid, square_of
    from names_geograph import tag_of
    from places_geograph import as_point

# What the coordinates say, one int8 a row: see `verdict_of`.
NOT_SAID, SAME_SQUARE, OTHER_SQUARE = -1, 0, 1

# The note at a vector whose length CLIP's own never have: most libraries store them normalised.
NORMALISED = "its embedding looks normalised"


def choose(
    probabilities: np.ndarray, thresholds: list[float], classes: list[str], verdict: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The rule behind `decide`, for many rows at once.

    Args:
        probabilities: float [N, C], left as they are: coordinates change what is given, never a score.
        verdict: int8 [N], `NOT_SAID`, `SAME_SQUARE` or `OTHER_SQUARE`; all not said if absent.

    Returns:
        chosen: bool [N, C], the classes to give. doubted: bool [N], where Cross Far would have been given, if
            coordinates did not put both points in one square.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    chosen, doubted = probabilities >= limits, np.zeros(len(probabilities), dtype=bool)
    rank = probabilities  # by which the best of none is found
    if verdict is not None and "Cross Far" in classes and not (verdict == NOT_SAID).all():
        far = classes.index("Cross Far")
        same = verdict == SAME_SQUARE
        best_of_none = ~chosen.any(axis=1) & (probabilities.argmax(axis=1) == far)
        doubted = same & (chosen[:, far] | best_of_none)
        chosen[verdict == OTHER_SQUARE, far] = True
        chosen[same, far] = False
        rank = probabilities.copy()
        rank[same, far] = -1
    none = ~chosen.any(axis=1)
    if none.any():
        chosen[none, rank[none].argmax(axis=1)] = True
    return chosen, doubted


def decide(
    probabilities: Iterable[float],
    thresholds: list[float],
    classes: list[str],
    subject: GridPoint | str | None = None,
    viewpoint: GridPoint | str | None = None,
) -> dict[str, Any]:
    """Probabilities, and what coordinates say → one prediction.

    A class is given where its probability reaches its threshold; where none does, the best one is. Cross Far is given
    as Cross Grid. `types` and `scores` are in descending order of probability, but that a Cross Grid which coordinates
    show comes first.

    | subject and viewpoint stand | Cross Far | types | cross_grid | note |
    | --- | --- | --- | --- | --- |
    | in different squares | any | Cross Grid, and what else reached its threshold | "geometry" | – |
    | in one square | reached its threshold | what else reached it, else the next best; never Cross Grid | – | doubt |
    | in one square | best where none reached it | the next best | – | doubt |
    | in one square | neither | as without coordinates | – | – |
    | not known | reached its threshold | Cross Grid, and what else reached it | "model" | – |
    | not known | best where none reached it | Cross Grid alone | "model" | – |
    | not known | neither | what reached its threshold, else the best | – | – |

    `scores` are always the model's own probabilities: where coordinates decide, that of Cross Far may be low, and
    `cross_grid` says "geometry". A doubt is given as a note, since a coordinate may be wrong: "looks like a long view,
    but both points are in TQ3080".

    Args:
        probabilities: [C], in the order of `classes`. subject, viewpoint: grid references or points, None: not known.

    Returns:
        `types`, `scores` (class → probability), `cross_grid`, `note`, `error` (None), as the prediction's fields.

    Raises:
        ValueError: a grid reference that is none.
    """
    subject, viewpoint = as_point(subject), as_point(viewpoint)
    verdict = verdict_of(subject, viewpoint)
    row = np.asarray(list(probabilities), dtype=np.float64)
    chosen, doubted = choose(row[None], thresholds, classes, np.array([verdict], dtype=np.int8))
    order = np.argsort(-row, kind="stable")
    given = [classes[i] for i in order if chosen[0, i]]
    source = None
    if "Cross Far" in given:
        source = "geometry" if verdict == OTHER_SQUARE else "model"
    if source == "geometry":
        given.sort(key=lambda name: name != "Cross Far")
    return {
        "types": [tag_of(name) for name in given],
        "scores": {classes[i]: float(row[i]) for i in order},
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


def contradiction(distance: float | None, subject: GridPoint | None, viewpoint: GridPoint | None) -> str | None:
    """The note where a distance and two points cannot both be right; None where they can, or nothing is known.

    They must be more than neighbouring buckets apart, and further than what the points' own precision may hide.

    Args:
        distance: metres as given; None: not known.
    """
    apart = distance_between(subject, viewpoint)
    if distance is None or apart is None or abs(bucket_of(distance) - bucket_of(apart)) <= 1:
        return None
    if abs(distance - apart) <= 2 * (subject.precision + viewpoint.precision):
        return None
    return (
        f"the distance says {metres_said(distance)}, but the two points are {metres_said(apart)} apart: one of them "
        "is wrong"
    )


def metres_said(metres: float) -> str:
    return f"{metres:,.0f} m" if metres < 10_000 else f"{metres / 1000:,.0f} km"


def doubt(point: GridPoint) -> str:
    """The note where the picture says Cross Far, and both points stand in the square of `point`."""
    return f"looks like a long view, but both points are in {square_of(point)}"
