"""The best N of any number of rows, in constant memory."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from geograph_types.cli import CommandError, progress
from geograph_types.inference import torch_threads
from geograph_types.prefetch import Result, side_by_side
from geograph_types.search.rows import Block, Piece, files_of, ids_of, pieces
from geograph_types.search.scoring import Scorer
from names_geograph import PHOTO_PAGE

# Threads that read and score: each has a block of rows in hand, which is 8 MB and what Arrow needs to read it.
MOST_THREADS = 8


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

    def scored(block: Block) -> tuple[Block, np.ndarray, np.ndarray]:
        return (block, *scorer(block)) if len(block) else (block, np.zeros(0), np.zeros(0, int))

    with progress(unit="row") as bar:
        for block, score, column in _of_blocks(sources, dim, scored):
            counts.rows += len(block)
            counts.bad += block.bad
            bar.update(len(block))
            if known is not None:
                old = is_in(block.gridimage_id, known)
                counts.excluded += int(old.sum())
                score = np.where(old, -np.inf, score)
            best.add(block, score, column, scorer.questions)
    return best.all(), counts


def _of_blocks(sources: Iterable[str], dim: int, function: Callable[[Block], Result]) -> Iterator[Result]:
    """`function` of each block, in order; each core reads blocks of its own and works on them."""
    import torch

    def work(piece: Piece) -> list[Result]:
        return [function(block) for block in piece()]

    found = (piece for source in sources for file in files_of(source) for piece in pieces(file, dim))
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    with torch_threads(1):
        for results in side_by_side(work, found, threads, partial(torch.set_num_threads, 1)):
            yield from results


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
    """The vectors of some photos, float32 [K, D], sorted by id; reads little further than the last of them.

    Raises:
        CommandError: a photo that is in none of the sources.
    """
    found: dict[int, np.ndarray] = {}

    def wanted(block: Block) -> tuple[list[int], np.ndarray]:
        places = np.flatnonzero(is_in(block.gridimage_id, ids))
        return block.gridimage_id[places].tolist(), block.embedding[places]

    for image_ids, vectors in _of_blocks(sources, dim, wanted):
        for image_id, vector in zip(image_ids, vectors, strict=True):
            found.setdefault(image_id, vector)
        if len(found) == len(ids):
            break
    if missing := [int(image_id) for image_id in ids if int(image_id) not in found]:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CommandError(f"--like: photo {missing[0]}{more}: no row of it; --like_dataset names where they are")
    return np.stack([found[int(image_id)] for image_id in ids])
