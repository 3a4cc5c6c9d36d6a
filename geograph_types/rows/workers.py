"""Source rows parsed on all cores: blocks of lines and their embeddings lie in memory that the processes share.

So no embedding is ever sent through a pipe: a worker decodes base64 right where the writer copies the rows from. Of a
plain file the workers read each its own stretch.
"""

import gc
import mmap
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import Columns, add_lines, most_rows, parse_block
from geograph_types.rows.readers import MOST_BLANK, Block, blank, too_long
from geograph_types.rows.stretches import STRETCH, Stretch, TooLongLine, lines_of, stretches_of
from names_geograph import EMBEDDING_DIM

INPUT_BYTES = STRETCH + (1 << 20)  # a larger block, which only very long lines make, is parsed here
# The vectors of one block, in the shortest form that rows have: memory that nobody writes costs nothing.
OUTPUT_BYTES = 4 * (INPUT_BYTES // 2 + (1 << 16))
SLOT_BYTES = INPUT_BYTES + OUTPUT_BYTES

# The slots, made before the workers start so that they inherit them.
_memory: mmap.mmap | None = None

# Seconds after which worker processes that have not begun never will.
START_SECONDS = 30


class ParserPool:
    """Workers that parse blocks, in order; use as a context, or `close` it.

    On Linux they are processes; elsewhere, where forking is not safe, threads: slower, and the same rows.
    """

    def __init__(self, workers: int | None = None, embedding_dim: int = EMBEDDING_DIM):
        global _memory
        self.embedding_dim = embedding_dim
        workers = workers or os.cpu_count() or 1
        self._slots = 2 * workers + 1
        self._memory = _memory = mmap.mmap(-1, self._slots * SLOT_BYTES)  # no name: nothing is left after a kill
        if sys.platform == "linux":
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
            try:
                self._pool.submit(os.getpid).result(START_SECONDS)  # starts all now, before a library starts threads
            except TimeoutError:  # without memory the thread that feeds them dies, and nobody is told
                for process in multiprocessing.active_children():
                    process.kill()
                raise CommandError(f"no worker process began in {START_SECONDS} seconds (out of memory?)") from None
        else:
            self._pool = ThreadPoolExecutor(workers)

    def __enter__(self) -> "ParserPool":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, and gives their memory back: what was yielded does not count any longer."""
        self._pool.shutdown(cancel_futures=True)
        if hasattr(mmap, "MADV_REMOVE"):
            self._memory.madvise(mmap.MADV_REMOVE)

    def parse(self, blocks: Iterable[Block]) -> Iterator[SourceRows]:
        """Checked rows, block by block, in order. A block's embeddings are valid until the next one is asked for."""
        for rows, _ in self._in_order(self._start, blocks):
            yield rows

    def parse_file(self, source: str, path: Path) -> Iterator[SourceRows]:
        """The same of a plain file of lines, which the workers read themselves.

        Raises:
            CommandError: no row in it, a line without end, or what the disk says.
        """
        line, passed, empty = 1, 0, True
        try:
            for rows, lines in self._in_order(self._start_stretch, stretches_of(source, path)):
                empty = empty and not len(rows) and not rows.rejected
                passed += STRETCH
                if empty and passed > MOST_BLANK:
                    raise CommandError(blank(source))
                rows.line += line - 1
                rows.rejected = [replace(bad, line=bad.line + line - 1) for bad in rows.rejected]
                line += lines
                yield rows
        except TooLongLine:
            raise CommandError(too_long(source, line)) from None
        if empty:
            raise CommandError(f"{source}: empty; expected rows")

    def _in_order(self, start: Callable[[Any, int], Future], items: Iterable[Any]) -> Iterator[tuple[SourceRows, int]]:
        """Rows and lines of each item, a slot of memory each; a row's vectors lie there unless they have their own."""
        free, waiting = list(range(self._slots)), deque()

        def finish() -> Iterator[tuple[SourceRows, int]]:
            slot, job = waiting.popleft()
            rows, lines = job.result()
            if rows.embedding is None:
                rows.embedding = _output(self._memory, slot, self.embedding_dim)[: len(rows)]
            yield rows, lines
            free.append(slot)

        try:
            for item in items:
                if not free:
                    yield from finish()
                slot = free.pop()
                waiting.append((slot, start(item, slot)))
            while waiting:
                yield from finish()
        except BrokenProcessPool:
            killed = "a worker process was killed (out of memory, or a source cut off?); nothing was written"
            raise CommandError(killed) from None

    def _start(self, block: Block, slot: int) -> Future:
        size, start = len(block.data), slot * SLOT_BYTES
        if size > INPUT_BYTES:
            job = Future()
            job.set_result(
                (parse_block(block.data, block.first_line, block.source, embedding_dim=self.embedding_dim), 0)
            )
            return job
        self._memory[start : start + size] = block.data
        return self._pool.submit(_parse_slot, slot, size, block.first_line, block.source, self.embedding_dim)

    def _start_stretch(self, stretch: Stretch, slot: int) -> Future:
        return self._pool.submit(_parse_stretch, slot, stretch, self.embedding_dim)


def _output(memory: mmap.mmap, slot: int, embedding_dim: int) -> np.ndarray:
    """The slot's place for embeddings, float32 [most_rows(INPUT_BYTES), dim]."""
    start = slot * SLOT_BYTES + INPUT_BYTES
    rows = most_rows(INPUT_BYTES, embedding_dim)
    return np.frombuffer(memory, dtype="<f4", count=rows * embedding_dim, offset=start).reshape(rows, embedding_dim)


def _parse_slot(slot: int, size: int, first_line: int, source: str, embedding_dim: int) -> tuple[SourceRows, int]:
    """Runs in a worker; the embeddings stay in the slot."""
    start = slot * SLOT_BYTES
    return _parsed(slot, (_memory, start, start + size), first_line, source, embedding_dim)


def _parse_stretch(slot: int, stretch: Stretch, embedding_dim: int) -> tuple[SourceRows, int]:
    """Runs in a worker, and reads the file itself."""
    with lines_of(stretch) as text:
        return _parsed(slot, text, 1, stretch.source, embedding_dim)


def _parsed(
    slot: int, text: tuple[Any, int, int], first_line: int, source: str, embedding_dim: int
) -> tuple[SourceRows, int]:
    """Rows and lines of a text, which is what it is in, its beginning and its end there."""
    data, start, end = text
    out = _output(_memory, slot, embedding_dim)
    fits = end - start <= INPUT_BYTES
    block = Columns(
        source, True, out if fits else np.empty((most_rows(end - start, embedding_dim), embedding_dim), "<f4")
    )
    lines = add_lines(block, data, start, end, first_line)
    rows = block.rows()
    if fits:
        if not np.may_share_memory(rows.embedding, out):  # a bad row in the middle was left out: close the gap
            out[: len(rows)] = rows.embedding
        rows.embedding = None
    return rows, lines


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too, rather than wait for work for ever."""
    gc.set_threshold(100_000)  # rows are no garbage
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
