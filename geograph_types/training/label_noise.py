"""Labels that the model confidently contradicts: less weight in training, and a list for a moderator.

A row is doubtful where a model that has not seen it finds none of its classes likely and is sure of another one: as
sure as it is on average of that class's own rows (confident learning, Northcutt et al. 2021). An unlikely class alone
is not enough: a rare type, such as From Drone, is unlikely to the model even where it is right.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geograph_types.files import whole_file
from geograph_types.rows.fields import Rows
from names_geograph import CLASSES, PHOTO_PAGE, TAGS, tag_of

# Every class that the row has is less likely than this …
UNLIKELY = 0.1
# … and one that it has not is as likely as in that class's own rows, and at least this likely.
SURE = 0.5
# What a doubtful row's weight is multiplied by: not 0, since the model may be wrong.
LOWERED = 0.1
# Rows of a class with less than this share of all keep their weight, though they are listed: there are too few to
# lose, and the model, which saw as few, is no judge of them.
RARE = 0.02


def doubtful(probabilities: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """bool [N]: the labels are confidently contradicted. Never a row of weight 0, which nobody asks about.

    Args:
        probabilities: [N, C], out of fold: of a model that has not seen the row. targets: [N, C].
        weight: [N], how far each row's labels are trusted when the mean of its class is taken; 1 where absent.
    """
    weight = np.ones(len(targets)) if weight is None else np.asarray(weight, dtype=np.float64)
    given = targets > 0.5
    supported = np.where(given, probabilities, 0.0).max(axis=1)
    trusted = weight @ given
    own_mean = weight @ np.where(given, probabilities, 0.0) / np.where(trusted > 0, trusted, 1.0)
    missing = ~given & (probabilities >= np.maximum(own_mean, SURE))
    return (supported < UNLIKELY) & missing.any(axis=1) & (weight > 0)


def noise_factor(probabilities: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """What to multiply the rows' weights by, float32 [N]; arguments as of `doubtful`."""
    weight = np.ones(len(targets)) if weight is None else np.asarray(weight, dtype=np.float64)
    given = targets > 0.5
    share = weight @ given / max(weight.sum(), np.finfo(float).tiny)
    rare = given[:, share < RARE].any(axis=1)
    return np.where(doubtful(probabilities, targets, weight) & ~rare, LOWERED, 1.0).astype(np.float32)


def suggestions(
    rows: Rows,
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str] = CLASSES,
    weight: np.ndarray | None = None,
) -> list[dict]:
    """The doubtful rows, the surest first: id, raw tags, the class that the model sees, its probability, the page.

    A suggested Cross Far is given as Cross Grid, as everywhere that people read it.
    """
    chosen = np.flatnonzero(doubtful(probabilities, targets, weight))
    missing = np.where(targets > 0.5, 0.0, probabilities)
    order = chosen[np.lexsort((rows.gridimage_id[chosen], -missing[chosen].max(axis=1)))]
    found = []
    for row in order:
        name = classes[int(missing[row].argmax())]
        found.append(
            {
                "gridimage_id": int(rows.gridimage_id[row]),
                "types": ",".join(tag for tag, on in zip(TAGS, rows.tags[row], strict=True) if on),
                "suggestion": tag_of(name),
                "probability": round(float(missing[row].max()), 4),
                "page": PHOTO_PAGE.format(int(rows.gridimage_id[row])),
            }
        )
    return found


def write_suggestions(path: Path, found: list[dict]) -> None:
    """A CSV for a moderator; whole or not at all."""
    import csv

    with whole_file(path) as file:
        writer = csv.DictWriter(
            file, ["gridimage_id", "types", "suggestion", "probability", "page"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(found)
