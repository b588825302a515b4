"""Items made by one thread at a time and taken by any."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from pipeline.ahead import MadeAhead


def _take_all(items: MadeAhead[int]) -> list[int]:
    taken = []
    while (item := items.take()) is not None:
        taken.append(item)
    return taken


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3])
def test_every_item_is_taken_once(threads: int, ahead: int) -> None:
    making = threading.Lock()

    def make() -> Iterator[int]:
        for number in range(500):
            assert making.acquire(blocking=False), "one thread at a time makes items"
            time.sleep(0)
            making.release()
            yield number

    items = MadeAhead(make(), ahead)
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(_take_all, items) for _ in range(threads)]
        taken = [task.result(20) for task in tasks]
    assert sorted(chain(*taken)) == list(range(500))
    assert all(one == sorted(one) for one in taken), "in order"


def test_no_more_are_made_than_may_be_ready() -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = MadeAhead(make(), ahead=3)
    assert items.take() == 0
    assert made == [0, 1, 2]
    assert items.take() == 1
    assert made == [0, 1, 2, 3]


def test_who_comes_while_one_is_made_takes_what_is_ready() -> None:
    go_on = threading.Event()

    def make() -> Iterator[int]:
        yield 0
        yield 1
        go_on.wait(20)
        yield 2

    items = MadeAhead(make(), ahead=2)
    assert items.take() == 0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(items.take)  # makes a second one beside the 1, and waits in that
        time.sleep(0.2)
        assert items.take() == 1
        go_on.set()
        assert slow.result(20) == 2


def test_an_error_reaches_one_thread_and_ends_the_others() -> None:
    def make() -> Iterator[int]:
        yield 0
        time.sleep(0.2)
        raise OSError("the disk is gone")

    items = MadeAhead(make(), ahead=1)
    assert items.take() == 0
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(items.take) for _ in range(3)]
        errors = [task.exception(20) for task in tasks]
    assert sorted(map(str, errors)) == ["None", "None", "the disk is gone"]


def test_closed_it_gives_nothing_more() -> None:
    items = MadeAhead(iter(range(9)), ahead=4)
    assert items.take() == 0
    items.close()
    assert items.take() is None
