"""Pseudo-drone photos with something in front of the lens: a railing, a window frame, a sill.

From Above photos train From Drone (they look like it), but one with a railing in front teaches the wrong thing: no
drone carries a railing. Two ways to find them, neither of which needs the photo:

- rules: the photo is also tagged Inside, or its subject is 0 to 2 m away;
- text: CLIP's text tower says how much more the embedding looks like "a railing in front" than like a free view.
"""

from pathlib import Path

import numpy as np

from geograph_types.files import whole_file
from geograph_types.rows.fields import Rows
from geograph_types.training.labels import BUCKET_METRES
from names_geograph import PHOTO_PAGE, TAGS, VISION_MODEL, VISION_MODEL_REVISION

# What stands in front, and what a free view looks like; a score is the mean of the ones less that of the others.
FOREGROUND_PROMPTS = (
    "a photo of a view from above with a railing in the foreground",
    "a photo of a view from a bridge, taken over its parapet",
    "a photo of a view taken through a window, with the window frame visible",
    "a photo looking down from a window, with the window sill in the foreground",
    "a photo of a view from a tower, with a wall in the foreground",
)
FREE_VIEW_PROMPTS = (
    "a drone photo, looking down from high in the air",
    "an aerial photo of a landscape",
    "a bird's eye view with nothing in the foreground",
)
# Rows that come out above this quantile of the From Above rows' scores lose weight; so do those that a rule finds.
QUANTILE = 0.8
LOWERED = 0.25
# How far the subject may be for the rule "it is within arm's reach": official bins 0, 1 and 2 m.
NEAR_METRES = 2
# Rows shown at each end of the list.
SHOWN = 20


def pseudo_drone(tags: np.ndarray) -> np.ndarray:
    """bool [N]: From Above and not From Drone; no rule here touches a true drone."""
    return tags[:, TAGS.index("From Above")] & ~tags[:, TAGS.index("From Drone")]


def by_rules(tags: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """bool [N]: pseudo-drone rows that are Inside too, or whose subject is known to be 0 to 2 m away."""
    metres = BUCKET_METRES[bucket]
    near = (metres >= 0) & (metres <= NEAR_METRES)
    return pseudo_drone(tags) & (tags[:, TAGS.index("Inside")] | near)


def foreground_scores(
    embedding: np.ndarray, model: str = VISION_MODEL, revision: str | None = VISION_MODEL_REVISION
) -> np.ndarray:
    """float32 [N]: how much more each photo resembles the foreground prompts than the free views (cosines).

    Raises:
        CommandError: the text tower cannot be had.
    """
    from geograph_types.text_tower import prompt_vectors, similarities

    found = similarities(embedding, prompt_vectors(FOREGROUND_PROMPTS + FREE_VIEW_PROMPTS, model, revision))
    split = len(FOREGROUND_PROMPTS)
    return found[:, :split].mean(axis=1) - found[:, split:].mean(axis=1)


def by_text(scores: np.ndarray, quantile: float = QUANTILE) -> np.ndarray:
    """bool, like `scores` of the pseudo-drone rows: those above their own quantile."""
    return scores > np.quantile(scores, quantile) if len(scores) else np.zeros(0, dtype=bool)


def foreground_factor(
    rows: Rows, use_text: bool, model: str = VISION_MODEL, revision: str | None = VISION_MODEL_REVISION
) -> tuple[np.ndarray, list[dict]]:
    """What to multiply the rows' weights by, float32 [N], and the pseudo-drone rows with reasons, highest score first.

    Args:
        use_text: score by CLIP's text tower besides the rules; without it no tower is needed.
    """
    candidates = np.flatnonzero(pseudo_drone(rows.tags))
    ruled = by_rules(rows.tags[candidates], rows.distance[candidates])
    scores = foreground_scores(rows.embedding[candidates], model, revision) if use_text and len(candidates) else None
    said = np.zeros(len(candidates), dtype=bool) if scores is None else by_text(scores)
    factor = np.ones(len(rows), dtype=np.float32)
    factor[candidates[ruled | said]] = LOWERED
    order = np.lexsort((candidates, -(ruled.astype(float) if scores is None else scores)))
    listed = [
        {
            "gridimage_id": int(rows.gridimage_id[candidates[i]]),
            "score": None if scores is None else round(float(scores[i]), 4),
            "rule": bool(ruled[i]),
            "weight_factor": float(factor[candidates[i]]),
            "page": PHOTO_PAGE.format(int(rows.gridimage_id[candidates[i]])),
        }
        for i in order
    ]
    return factor, listed


def write_foreground_list(path: Path, listed: list[dict]) -> None:
    """A CSV of the rows at both ends, to be looked at by a person."""
    import csv

    ends = listed if len(listed) <= 2 * SHOWN else listed[:SHOWN] + listed[-SHOWN:]
    with whole_file(path) as file:
        writer = csv.DictWriter(file, ["gridimage_id", "score", "rule", "weight_factor", "page"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(ends)
