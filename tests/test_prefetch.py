"""Items made ahead of whoever takes them."""

import threading
import time

import pytest

from geograph_types.prefetch import Background, ahead, side_by_side


def test_the_same_items_in_order():
    assert list(ahead(range(100), 3)) == list(range(100))
    assert list(ahead([])) == []


def test_no_more_than_depth_are_made_before_they_are_asked_for():
    made = []

    def items():
        for i in range(20):
            made.append(i)
            yield i

    taking = ahead(items(), 3)
    assert made == []
    assert next(taking) == 0
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert next(taking) == 1
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        raise ValueError("no more")

    taking = ahead(items(), 5)
    assert next(taking) == 1
    with pytest.raises(ValueError, match="no more"):
        next(taking)
    with pytest.raises(ValueError, match="depth"):
        ahead([], 0)


def test_who_stops_early_does_not_wait_and_what_was_open_is_closed():
    let, closed = threading.Event(), threading.Event()

    def items():
        try:
            yield 1
            let.wait(10)  # as a pipe that nobody writes to
            yield 2
            yield 3
        finally:
            closed.set()

    taking = ahead(items(), 2)
    assert next(taking) == 1
    start = time.monotonic()
    taking.close()
    assert time.monotonic() - start < 1 and not closed.is_set()
    let.set()
    assert closed.wait(5)


def test_work_behind_is_done_in_order_and_its_error_is_raised():
    done = []
    with Background(2) as background:
        for i in range(50):
            background.run(done.append, i)
    assert done == list(range(50))
    with pytest.raises(ZeroDivisionError), Background() as background:
        background.run(lambda: 1 / 0)


def test_side_by_side_keeps_the_order_and_takes_one_item_more_than_there_are_threads():
    taken, begun, both = [], [], threading.Barrier(2)

    def items():
        for i in range(10):
            taken.append(i)
            yield i

    def late_ones_first(i: int) -> int:
        both.wait(10)  # two are underway at a time
        time.sleep(0.01 * (i % 2 == 0))
        return -i

    results = side_by_side(late_ones_first, items(), 2, lambda: begun.append(threading.get_ident()))
    assert next(results) == 0 and taken == [0, 1, 2]
    assert list(results) == [-i for i in range(1, 10)]
    assert len(set(begun)) == 2 and threading.get_ident() not in begun


def test_side_by_side_raises_where_the_result_would_be_and_begins_nothing_more():
    done = []

    def some(i: int) -> int:
        done.append(i)
        if i == 1:
            raise ValueError("no more")
        return i

    results = side_by_side(some, range(10), 1)
    assert next(results) == 0
    with pytest.raises(ValueError, match="no more"):
        next(results)
    assert done in ([0, 1], [0, 1, 2])
