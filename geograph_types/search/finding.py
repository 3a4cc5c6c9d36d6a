"""The best N of any number of rows, in constant memory."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geograph_types.cli import CommandError, progress
from geograph_types.inference import all_but_one_core
from geograph_types.prefetch import ahead
from geograph_types.search.rows import Block, blocks, files_of, ids_of
from geograph_types.search.scoring import Scorer
from names_geograph import PHOTO_PAGE


@dataclass(frozen=True)
class Found:
    """One photo to look at."""

    gridimage_id: int
    score: float
    types: tuple[str, ...]  # what people wrote
    tag: str | None  # what is in question
    title: str | None

    @property
    def page(self) -> str:
        return PHOTO_PAGE.format(self.gridimage_id)


class Best:
    """Keeps the N rows of the highest scores; of equal ones the first, of a photo that comes twice its better."""

    def __init__(self, size: int):
        self.size, self._found, self._least = size, {}, -np.inf

    def add(self, block: Block, score: np.ndarray, column: np.ndarray, questions: list[str | None]) -> None:
        """Scores and questions as of `Scorer`."""
        places = np.flatnonzero(score > self._least)
        if len(places) > self.size:
            places = np.sort(places[np.argsort(-score[places], kind="stable")[: self.size]])
        for place, types in zip(places.tolist(), block.tags_of(places) if len(places) else (), strict=True):
            image_id, value = int(block.gridimage_id[place]), float(score[place])
            if image_id in self._found and self._found[image_id].score >= value:
                continue
            tag = questions[column[place]]
            self._found[image_id] = Found(image_id, value, types, tag, block.title_of(place))
        if len(self._found) >= 2 * self.size:
            self._cut()

    def _cut(self) -> None:
        self._found = {found.gridimage_id: found for found in self.all()}
        if len(self._found) == self.size:
            self._least = min(found.score for found in self._found.values())

    def all(self) -> list[Found]:
        """The best, in falling order."""
        return sorted(self._found.values(), key=lambda found: -found.score)[: self.size]


@dataclass
class Counts:
    """What was looked through."""

    rows: int = 0
    bad: int = 0
    excluded: int = 0


def find(
    sources: Iterable[str], scorer: Scorer, dim: int, top: int, known: np.ndarray | None = None
) -> tuple[list[Found], Counts]:
    """Looks through all sources.

    Args:
        dim: the width of vectors. top: how many to give. known: sorted ids that are not wanted.
    """
    # Rows of a Parquet file are scored where Arrow put them, and nothing here writes there.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    best, counts = Best(top), Counts()
    with progress(unit="row") as bar, all_but_one_core():
        for block in ahead(_all(sources, dim)):  # the next is read while one is scored
            counts.rows += len(block)
            counts.bad += block.bad
            bar.update(len(block))
            if not len(block):
                continue
            score, column = scorer(block)
            if known is not None:
                old = is_in(block.gridimage_id, known)
                counts.excluded += int(old.sum())
                score = np.where(old, -np.inf, score)
            best.add(block, score, column, scorer.questions)
    return best.all(), counts


def _all(sources: Iterable[str], dim: int) -> Iterator[Block]:
    for source in sources:
        for file in files_of(source):
            yield from blocks(file, dim)


def is_in(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [n]. `known`: sorted."""
    if not len(known):
        return np.zeros(len(ids), bool)
    return known[np.minimum(np.searchsorted(known, ids), len(known) - 1)] == ids


def all_ids(sources: Iterable[str]) -> np.ndarray:
    """The numbers of all photos of some sources, sorted: 8 bytes a photo."""
    parts = [ids for source in sources for ids in ids_of(source)]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def vectors_of(ids: np.ndarray, sources: Iterable[str], dim: int) -> np.ndarray:
    """The vectors of some photos, float32 [K, D], sorted by id; reads no further than the last of them.

    Raises:
        CommandError: a photo that is in none of the sources.
    """
    found: dict[int, np.ndarray] = {}
    for block in _all(sources, dim):
        for place in np.flatnonzero(is_in(block.gridimage_id, ids)).tolist():
            found.setdefault(int(block.gridimage_id[place]), block.embedding[place].copy())
        if len(found) == len(ids):
            break
    if missing := [int(image_id) for image_id in ids if int(image_id) not in found]:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CommandError(f"--like: photo {missing[0]}{more}: no row of it; --like_dataset names where they are")
    return np.stack([found[int(image_id)] for image_id in ids])
