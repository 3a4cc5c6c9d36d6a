"""Which split a row belongs to: the official one, the one its file is named for, or by a hash of its id.

The hash is splitmix64 as published by Sebastiano Vigna; it puts a photo in the same split on every machine.
"""

from functools import lru_cache

import numpy as np

from row_geograph import is_blank, plain, shown

# As published, in this order: a row's split is an index into it.
SPLITS = ("train", "validation", "test")
NO_SPLIT = -1

# As sources name them; the published names count, too.
SPLIT_NAMES = {"tra": 0, "val": 1, "tes": 2} | {name: index for index, name in enumerate(SPLITS)}

# splitmix64(id) % 10: 0 to 7 train, 8 validation, 9 test.
TENTHS, FIRST_HELD_OUT = 10, 8


def splitmix64(x: np.ndarray) -> np.ndarray:
    """Vigna's splitmix64, vectorised: uint64 [N] → uint64 [N] (1 → 10451216379200822465)."""
    z = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)  # in place from here on: millions of ids pass through
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    return z


def split_of_ids(gridimage_id: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """The split of each row, int8 [n]: the given one (int8 [n], NO_SPLIT where there is none), else by its id."""
    tenth = (splitmix64(gridimage_id) % np.uint64(TENTHS)).astype(np.int8)
    by_id = np.clip(tenth - (FIRST_HELD_OUT - 1), 0, len(SPLITS) - 1)
    return (by_id if given is None else np.where(given == NO_SPLIT, by_id, given)).astype(np.int8)


def split_named(source: str) -> int:
    """The split that a file's or an address's name says (`train-…`, `validation.parquet`), or NO_SPLIT."""
    name = source.split("?")[0].replace("\\", "/").rsplit("/", 1)[-1]
    name = name.partition("-")[0].partition(".")[0]
    return SPLITS.index(name) if name in SPLITS else NO_SPLIT


def parse_split(value: object, numbered: bool = False) -> int:
    """ "tra", "val", "tes" or a published name → 0 to 2; nothing → NO_SPLIT.

    Args:
        numbered: whether numbers are indices into `SPLITS`, as in the dataset's own rows.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, str):
        return _named(value)
    if is_blank(value):
        return NO_SPLIT
    value = plain(value)
    if numbered and type(value) is int and 0 <= value < len(SPLITS):
        return value
    raise ValueError(f"unknown split {shown(value)}; expected {', '.join(SPLIT_NAMES)}")


@lru_cache(maxsize=256)
def _named(text: str) -> int:
    name = text.strip().lower()
    if not name:
        return NO_SPLIT
    if name not in SPLIT_NAMES:
        raise ValueError(f"unknown split {shown(text)}; expected {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[name]
