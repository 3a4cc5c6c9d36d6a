"""Which rows are published, and where: each id once, its split, and the configs that hold it."""

import numpy as np

from geograph_types.rows.fields import Rejected, SourceRows, keep
from geograph_types.rows.splits import SPLITS, splitmix64
from names_geograph import TAGS

RARE_MINIMUM = 32  # rows of each tag that every split of `small` keeps, or all it has
A_PIECE = 65536  # ids hashed at once: what stands between takes memory
COMMON_IDS = 2**27  # photos have numbers up to some 8 million; bits for so many take at most 16 MB


def pack_tags(tags: np.ndarray) -> np.ndarray:
    """bool [N, 8] → uint8 [N]: the eight tags of a row as bits, the first highest."""
    return np.packbits(tags, axis=1)[:, 0]


def has_tag(tags: np.ndarray, index: int) -> np.ndarray:
    """bool [N]: the rows with one tag; `tags` as `pack_tags` gives them."""
    return (tags & np.uint8(0x80 >> index)).astype(bool)


def select(ids: np.ndarray, tags: np.ndarray, split: np.ndarray, small: int, medium: int) -> dict[str, np.ndarray]:
    """Which rows each config holds, as bool [N]; the same rows whatever their order.

    The N rows with the smallest `splitmix64(splitmix64(id))`; and of each tag, in each split, the
    `RARE_MINIMUM` smallest: in `small`, and so in `medium` too.

    Args:
        ids: int64 [N], all different; they are overwritten, since there may be millions.
        tags: uint8 [N], as `pack_tags` gives them. split: int8 [N].
    """
    key = ids.view(np.uint64)
    for start in range(0, len(key), A_PIECE):
        key[start : start + A_PIECE] = splitmix64(splitmix64(key[start : start + A_PIECE]))
    chosen_small = _smallest(key, small)
    for tag in range(len(TAGS)):
        for index in range(len(SPLITS)):
            rows = np.flatnonzero(has_tag(tags, tag) & (split == index)).astype(np.uint32)
            chosen_small[rows[_smallest(key[rows], RARE_MINIMUM)]] = True
    chosen_medium = chosen_small | _smallest(key, medium)
    return {"small": chosen_small, "medium": chosen_medium, "large": np.ones(len(ids), dtype=bool)}


def _smallest(key: np.ndarray, count: int) -> np.ndarray:
    """bool [N]: the `count` smallest of different numbers, uint64; found by their first 16 bits, without a copy."""
    if count >= len(key):
        return np.ones(len(key), dtype=bool)
    pieces = [key[start : start + A_PIECE] for start in range(0, len(key), A_PIECE)]
    counts = (np.bincount((piece >> np.uint64(48)).astype(np.int64), minlength=1 << 16) for piece in pieces)
    below = np.cumsum(sum(counts))
    first_bits = int(np.searchsorted(below, count, side="right"))
    close = np.concatenate([piece[piece >> np.uint64(48) == first_bits] for piece in pieces])
    return key < np.sort(close)[count - (below[first_bits] - len(close))]


class SeenIds:
    """The ids met so far: a bit each for ids as photos have them, 8 bytes each for larger ones."""

    def __init__(self):
        self._bits = np.zeros(0, dtype=np.uint8)
        self._runs: list[np.ndarray] = []  # sorted arrays of doubling sizes

    def first_time(self, ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether each id > 0 is met for the first time; the ids are remembered."""
        new = np.zeros(len(ids), dtype=bool)
        new[np.unique(ids, return_index=True)[1]] = True
        common = ids < COMMON_IDS
        new[common] &= self._first_bits(ids[common])
        new[~common] &= self._first_in_runs(ids[~common])
        return new

    def _first_bits(self, ids: np.ndarray) -> np.ndarray:
        place, bit = ids >> 3, (1 << (ids & 7)).astype(np.uint8)
        if len(ids) and place.max() >= len(self._bits):
            self._bits = np.pad(self._bits, (0, int(place.max()) * 5 // 4 + 1 - len(self._bits)))
        new = self._bits[place] & bit == 0
        np.bitwise_or.at(self._bits, place, bit)
        return new

    def _first_in_runs(self, ids: np.ndarray) -> np.ndarray:
        new = np.ones(len(ids), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, ids)
            new &= run[np.minimum(place, len(run) - 1)] != ids
        if new.any():
            self._runs.append(np.unique(ids[new]))
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
