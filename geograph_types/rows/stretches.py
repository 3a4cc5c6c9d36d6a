"""A plain file of lines in stretches, so that whoever parses a stretch reads it, too: no byte of it passes through
another process."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.rows.readers import BLOCK_SIZE, LONGEST_LINE

# Bytes read at first to find the end of a stretch's last line, whose length is some 3,000.
TAIL, LARGEST_TAIL = 1 << 13, 1 << 20


@dataclass(frozen=True)
class Stretch:
    """The lines of a file that begin at the bytes from `start` to `stop`."""

    source: str  # what messages call the file
    path: Path
    start: int
    stop: int


class TooLongLine(Exception):
    """A line that has no end for longer than any row."""


def stretches_of(source: str, path: Path, size: int = BLOCK_SIZE) -> Iterator[Stretch]:
    """The whole file as it is now."""
    end = path.stat().st_size
    for start in range(0, end, size):
        yield Stretch(source, path, start, min(start + size, end))


def read_lines(stretch: Stretch, memory: Any, at: int, room: int) -> tuple[Any, int, int]:
    """Reads a stretch's whole lines.

    Args:
        memory: where they go, from `at` on, if they fit into `room`: a bytearray or an mmap.

    Returns:
        What they are in (memory of their own where they do not fit), and where they begin and end there.

    Raises:
        CommandError: the file cannot be read. TooLongLine: see there.
    """
    first = max(stretch.start - 1, 0)  # a line begins after an end of line
    wanted = stretch.stop - first
    try:
        with stretch.path.open("rb", buffering=0) as file, memoryview(memory) as view:
            file.seek(first)
            filled = _fill(file, view[at : at + wanted])
            ended = memory.find(b"\n", at, at + filled) if stretch.start else at - 1
            begin = ended + 1
            if (stretch.start and ended < 0) or begin >= at + filled:  # no line begins here
                return memory, at, at
            if filled < wanted or memory[at + filled - 1] == ord("\n"):
                return memory, begin, at + filled
            rest = _rest_of_line(file)
            if filled + len(rest) > room:
                own = bytes(view[begin : at + filled]) + rest
                return own, 0, len(own)
            view[at + filled : at + filled + len(rest)] = rest
            return memory, begin, at + filled + len(rest)
    except OSError as error:
        raise CommandError(f"{stretch.source}: cannot be read: {error.strerror or error}") from None


def _fill(file: Any, view: memoryview) -> int:
    """Reads until `view` is full or the file ends; returns how much that was."""
    filled = 0
    while filled < len(view) and (count := file.readinto(view[filled:])):
        filled += count
    if hasattr(os, "posix_fadvise"):  # others read in between, so that the system does not guess what comes next
        os.posix_fadvise(file.fileno(), file.tell(), 4 * len(view), os.POSIX_FADV_WILLNEED)
    return filled


def _rest_of_line(file: Any) -> bytes:
    pieces, size = [], 0
    while piece := file.read(min(max(TAIL, size), LARGEST_TAIL)):
        end = piece.find(b"\n") + 1
        pieces.append(piece[:end] if end else piece)
        size += len(pieces[-1])
        if end:
            break
        if size > LONGEST_LINE:
            raise TooLongLine
    return b"".join(pieces)
