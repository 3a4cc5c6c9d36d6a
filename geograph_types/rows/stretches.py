"""A plain file of lines in stretches, so that whoever parses a stretch reads it, too: no byte of it passes through
another process, and none is copied."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.rows.readers import BLOCK_SIZE, LONGEST_LINE

STRETCH = 2 * BLOCK_SIZE  # bytes: some 1,500 rows
# Bytes mapped behind a stretch at first to find the end of its last line, whose length is some 3,000.
TAIL = 1 << 14
# Linux's madvise that reads now: what the disk cannot give is an error then, and ends no process later.
MADV_POPULATE_READ = 22


@dataclass(frozen=True)
class Stretch:
    """The lines of a file that begin at the bytes from `start` to `stop`."""

    source: str  # what messages call the file
    path: Path
    start: int
    stop: int


class TooLongLine(Exception):
    """A line that has no end for longer than any row."""


def stretches_of(source: str, path: Path, size: int = STRETCH) -> Iterator[Stretch]:
    """The whole file as it is now."""
    end = path.stat().st_size
    for start in range(0, end, size):
        yield Stretch(source, path, start, min(start + size, end))


def can_be_mapped(path: Path) -> bool:
    """Whether the file system lets a file's bytes be seen as memory."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def lines_of(stretch: Stretch) -> Iterator[tuple[mmap.mmap, int, int]]:
    """A stretch's whole lines: memory that shows the file, and where in it they begin and end; valid in the block.

    Raises:
        CommandError: the file cannot be read. TooLongLine: see there.
    """
    first = max(stretch.start - 1, 0)  # a line begins after an end of line
    offset = first - first % mmap.ALLOCATIONGRANULARITY
    tail = TAIL
    while True:
        memory, whole = _mapped(stretch, offset, stretch.stop + tail)
        with memory:
            ended = memory.find(b"\n", first - offset, stretch.stop - offset) if stretch.start else -1
            begin, end = ended + 1, memory.find(b"\n", stretch.stop - 1 - offset) + 1
            if stretch.start and (ended < 0 or begin >= stretch.stop - offset):  # no line begins here
                yield memory, 0, 0
                return
            if end or whole:
                yield memory, begin, end or len(memory)
                return
        tail *= 8
        if tail > LONGEST_LINE:
            raise TooLongLine


def _mapped(stretch: Stretch, offset: int, end: int) -> tuple[mmap.mmap, bool]:
    """The file's bytes from `offset` to `end`, or to its own end, and whether that is so."""
    try:
        with stretch.path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            memory = mmap.mmap(file.fileno(), min(end, size) - offset, access=mmap.ACCESS_READ, offset=offset)
            if hasattr(os, "posix_fadvise"):  # others read in between, so that the system does not guess what is next
                os.posix_fadvise(file.fileno(), end, 2 * STRETCH, os.POSIX_FADV_WILLNEED)
            _read_now(memory)
            return memory, end >= size
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "it was cut off meanwhile"
        raise CommandError(f"{stretch.source}: cannot be read: {told}") from None


def _read_now(memory: mmap.mmap) -> None:
    if hasattr(memory, "madvise"):
        try:
            memory.madvise(MADV_POPULATE_READ)
        except OSError as error:
            if error.errno != EINVAL:  # that is a system that does not know it
                with suppress(BufferError):
                    memory.close()
                raise
