"""Work that goes on beside the work: items made ahead of whoever takes them, several at a time, results put away
behind."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, at most `depth` of them made, by a thread, before they are asked for.

    What making an item raises is raised where it would be taken. Whoever stops early does not wait for an item that
    is being made, as one read from a pipe may never come: its thread then closes `items` (where it is a generator)
    once it can.

    Raises:
        ValueError: a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _ahead(iter(items), depth)


def _ahead(source: Iterator[Item], depth: int) -> Iterator[Item]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="geograph-ahead")
    waiting: deque[Future] = deque()
    ended = False
    try:
        while True:
            while len(waiting) < depth:
                waiting.append(pool.submit(next, source, _END))
            try:
                item = waiting.popleft().result()
            except Exception:
                ended = True
                raise
            if item is _END:
                ended = True
                return
            yield item
    finally:
        for job in waiting:
            job.cancel()
        with contextlib.suppress(RuntimeError):  # no new work while Python itself ends
            pool.submit(_close, source)
        pool.shutdown(wait=ended)


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, begin: Callable[[], Any] | None = None
) -> Iterator[Result]:
    """`function` of each item, in the order of the items, by so many threads.

    One item more than there are threads is taken before a result is asked for, so that none of them waits; `items`
    itself runs in the thread of whoever takes the results. What an item raises is raised where its result would be
    taken; what was not begun by then never is. `begin` is called once in each thread.
    """
    with ThreadPoolExecutor(threads, "geograph-side-by-side", begin) as pool:
        waiting: deque[Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()


def _close(source: Iterator[Any]) -> None:
    if hasattr(source, "close"):
        source.close()


class Background:
    """A thread that does one thing after another, with no more than `waiting` of them waiting; use as a context."""

    def __init__(self, waiting: int = 1):
        self._most = waiting
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="geograph-background")
        self._waiting: deque[Future] = deque()

    def run(self, function: Callable[..., Any], *args: Any) -> None:
        """Raises what an earlier one raised."""
        while len(self._waiting) > self._most:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *args))

    def wait(self) -> None:
        """Until all is done. Raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self.wait()
