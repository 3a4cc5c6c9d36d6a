"""The published folder as a whole: which rows go into which split and config, and its moving into place at the end."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import Rejected, SourceRows, keep
from geograph_types.rows.splits import SPLITS, split_of_ids, splitmix64

CONFIGS = ("small", "medium", "large")

RARE_MINIMUM = 32  # rows of each tag that every split of `small` keeps, or all it has


def splits_of(block: SourceRows) -> np.ndarray:
    """The split of each row, int8 [n]: the official one, or by `splitmix64(id) % 10` (0 to 7 train, 8, 9)."""
    return split_of_ids(block.gridimage_id, block.split)


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


@contextmanager
def folder_in_place(final: Path) -> Iterator[Path]:
    """A folder to build in, beside the final one, which it replaces only when the block ends without an error.

    Raises:
        CommandError: something else than a dataset of ours stands there already.
    """
    if final.exists() and not is_dataset_folder(final) and (not final.is_dir() or any(final.iterdir())):
        raise CommandError(f"{final}: exists and is no dataset folder; name another --output_dir or remove it")
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(final)
    building = final.with_name(f".{final.name}.building-{os.getpid()}")
    building.mkdir()
    try:
        yield building
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(old)
        building.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_dataset_folder(path: Path) -> bool:
    """Whether `prepare_dataset.py` made it: a card, and configs of Parquet."""
    return (path / "README.md").is_file() and any(any((path / c).glob("*.parquet")) for c in CONFIGS)


def _remove_abandoned(final: Path) -> None:
    """What a killed run left: its process is gone, so nobody will finish it."""
    for path in final.parent.glob(f".{final.name}.*-*"):
        kind, _, pid = path.name.removeprefix(f".{final.name}.").partition("-")
        if kind not in ("building", "old") or not pid.isdigit() or _alive(int(pid)):
            continue
        if kind == "old" and not final.exists():  # killed between the two renames: what stood there stands there again
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
