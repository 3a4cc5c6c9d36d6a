"""Source rows parsed on all cores: blocks of lines and their embeddings lie in memory that the processes share.

So no embedding is ever sent through a pipe: a worker decodes base64 right where the writer copies the rows from.
"""

import mmap
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import most_rows, parse_block
from geograph_types.rows.sources import BLOCK_SIZE, Block
from names_geograph import EMBEDDING_DIM

INPUT_BYTES = BLOCK_SIZE + (1 << 20)  # a larger block, which only very long lines make, is parsed here
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
        free, waiting = list(range(self._slots)), deque()
        try:
            for block in blocks:
                if len(waiting) >= self._slots:
                    yield from self._finish(waiting, free)
                waiting.append(self._start(block, free))
            while waiting:
                yield from self._finish(waiting, free)
        except BrokenProcessPool:
            raise CommandError("a worker process was killed (out of memory?); nothing was written") from None

    def _start(self, block: Block, free: list[int]) -> tuple[Block, int | None, Future | None]:
        size = len(block.data)
        if size > INPUT_BYTES:
            return block, None, None
        slot = free.pop()
        start = slot * SLOT_BYTES
        self._memory[start : start + size] = block.data
        job = self._pool.submit(_parse_slot, slot, replace(block, data=b""), size, self.embedding_dim)
        return replace(block, data=b""), slot, job

    def _finish(self, waiting: deque, free: list[int]) -> Iterator[SourceRows]:
        block, slot, job = waiting.popleft()
        if slot is None:
            yield parse_block(block.data, block.first_line, block.source, embedding_dim=self.embedding_dim)
            return
        rows = job.result()
        rows.embedding = _output(self._memory, slot, self.embedding_dim)[: len(rows)]
        yield rows
        free.append(slot)


def _output(memory: mmap.mmap, slot: int, embedding_dim: int) -> np.ndarray:
    """The slot's place for embeddings, float32 [most_rows(INPUT_BYTES), dim]."""
    start = slot * SLOT_BYTES + INPUT_BYTES
    rows = most_rows(INPUT_BYTES, embedding_dim)
    return np.frombuffer(memory, dtype="<f4", count=rows * embedding_dim, offset=start).reshape(rows, embedding_dim)


def _parse_slot(slot: int, block: Block, size: int, embedding_dim: int) -> SourceRows:
    """Runs in a worker; the embeddings stay in the slot."""
    start = slot * SLOT_BYTES
    out = _output(_memory, slot, embedding_dim)
    data = _memory[start : start + size]
    rows = parse_block(data, block.first_line, block.source, out=out, embedding_dim=embedding_dim)
    if not np.may_share_memory(rows.embedding, out):  # a bad row in the middle was left out: close the gap
        out[: len(rows)] = rows.embedding
    rows.embedding = None
    return rows


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too, rather than wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
