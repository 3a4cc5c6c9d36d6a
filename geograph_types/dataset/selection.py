"""Which rows are published, and where: each id once, its split, and the configs that hold it."""

import numpy as np

from geograph_types.rows.fields import Rejected, SourceRows, keep
from geograph_types.rows.splits import SPLITS, splitmix64

RARE_MINIMUM = 32  # rows of each tag that every split of `small` keeps, or all it has


def select(ids: np.ndarray, tags: np.ndarray, split: np.ndarray, small: int, medium: int) -> dict[str, np.ndarray]:
    """Which rows each config holds, as bool [N]; the same rows whatever their order.

    The N rows with the smallest `splitmix64(splitmix64(id))`; and of each tag, in each split, the
    `RARE_MINIMUM` smallest: in `small`, and so in `medium` too.
    """
    order = np.argsort(splitmix64(splitmix64(ids)), kind="stable")
    chosen_small = np.zeros(len(ids), dtype=bool)
    chosen_small[order[:small]] = True
    for tag in range(tags.shape[1]):
        for index in range(len(SPLITS)):
            has = tags[order, tag] & (split[order] == index)
            chosen_small[order[np.flatnonzero(has)[:RARE_MINIMUM]]] = True
    chosen_medium = chosen_small.copy()
    chosen_medium[order[:medium]] = True
    return {"small": chosen_small, "medium": chosen_medium, "large": np.ones(len(ids), dtype=bool)}


class SeenIds:
    """The ids met so far: sorted arrays of doubling sizes, 8 bytes an id."""

    def __init__(self):
        self._runs: list[np.ndarray] = []

    def first_time(self, ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether each id is met for the first time; the ids are remembered."""
        new = np.zeros(len(ids), dtype=bool)
        new[np.unique(ids, return_index=True)[1]] = True
        for run in self._runs:
            place = np.searchsorted(run, ids)
            new &= run[np.minimum(place, len(run) - 1)] != ids
        if new.any():
            self._runs.append(np.sort(ids[new]))
        while len(self._runs) > 1 and len(self._runs[-1]) * 2 > len(self._runs[-2]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return new


def keep_new(block: SourceRows, seen: SeenIds, source: str) -> SourceRows:
    """The block without rows whose id was met before; those join its rejected ones."""
    new = seen.first_time(block.gridimage_id)
    if new.all():
        return block
    for i in np.flatnonzero(~new):
        identity = int(block.gridimage_id[i])
        block.rejected.append(
            Rejected(source, int(block.line[i]), "duplicate gridimage_id; the first row counts", identity)
        )
    block.rejected.sort(key=lambda bad: bad.line)
    return keep(block, new)
