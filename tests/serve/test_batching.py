"""The queue: what shares a batch, what waits, and what an error, a cancellation and a stop leave."""

import threading
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future

import pytest

from vidi.serve.batching import Batcher, ClosedError

PATIENCE = 30.0  # seconds until a test gives up on a thread


class Doubling:
    """Doubles numbers, and remembers the batches; holds the first one until it is let go."""

    def __init__(self, *, held: bool = False):
        self.batches: list[list[int]] = []
        self.began, self.let_go = threading.Event(), threading.Event()
        if not held:
            self.let_go.set()

    def __call__(self, key: Hashable, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.set()
        self.let_go.wait(PATIENCE)
        if 13 in items:
            raise ValueError("received 13")
        return [2 * item for item in items]


def results(futures: Sequence["Future[int]"]) -> list[int]:
    return [future.result(PATIENCE) for future in futures]


def queued(double: Doubling, items: Sequence[tuple[Hashable, int]], most: int = 16) -> list["Future[int]"]:
    """Put items into the queue while the thread is busy with a first one, and let it go."""
    batcher: Batcher[int, int] = Batcher(double, most=most)
    batcher.submit(None, 0)
    assert double.began.wait(PATIENCE)
    futures = [batcher.submit(key, item) for key, item in items]
    double.let_go.set()
    batcher.close()
    return futures


def test_items_of_one_key_share_a_batch_and_the_oldest_leads() -> None:
    double = Doubling(held=True)
    futures = queued(double, [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)])
    assert results(futures) == [2, 4, 6, 8, 10]
    assert double.batches == [[0], [1, 3, 5], [2, 4]]


def test_a_batch_has_no_more_than_the_most() -> None:
    double = Doubling(held=True)
    assert results(queued(double, [("a", row) for row in range(1, 6)], most=2)) == [2, 4, 6, 8, 10]
    assert double.batches == [[0], [1, 2], [3, 4], [5]]


def test_items_without_a_key_run_alone() -> None:
    double = Doubling(held=True)
    assert results(queued(double, [(None, 1), (None, 2)])) == [2, 4]
    assert double.batches == [[0], [1], [2]]


def test_an_item_that_spoils_a_batch_spoils_only_itself() -> None:
    double = Doubling(held=True)
    good, bad, other = queued(double, [("a", 1), ("a", 13), ("a", 3)])
    assert results([good, other]) == [2, 6]
    with pytest.raises(ValueError, match="received 13"):
        bad.result(PATIENCE)


def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    double = Doubling(held=True)
    batcher: Batcher[int, int] = Batcher(double)
    batcher.submit(None, 0)
    assert double.began.wait(PATIENCE)
    kept, dropped = batcher.submit("a", 1), batcher.submit("a", 2)
    assert dropped.cancel()
    double.let_go.set()
    batcher.close()
    assert kept.result(PATIENCE) == 2
    assert double.batches == [[0], [1]]


def test_a_lone_item_does_not_wait() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double, wait=PATIENCE)
    assert batcher.submit("a", 1).result(PATIENCE / 2) == 2
    batcher.close()


def test_an_item_waits_for_one_that_is_coming() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double, wait=PATIENCE)
    with batcher.announced():
        first = batcher.submit("a", 1)
        time.sleep(0.05)
        second = batcher.submit("a", 2)
    assert results([first, second]) == [2, 4]
    batcher.close()
    assert double.batches == [[1, 2]]


def test_an_item_waits_no_longer_than_it_may_for_one_that_does_not_come() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double, wait=0.01)
    with batcher.announced():
        assert batcher.submit("a", 1).result(PATIENCE) == 2
    batcher.close()


def test_an_item_goes_when_what_was_coming_did_not_come() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double, wait=3 * PATIENCE)
    with batcher.announced():
        first = batcher.submit("a", 1)
        time.sleep(0.05)
    assert first.result(PATIENCE) == 2
    batcher.close()


def test_a_batch_has_sixteen_items_and_waits_four_milliseconds() -> None:
    batcher: Batcher[int, int] = Batcher(Doubling())
    assert (batcher.most, batcher.wait) == (16, 0.004)
    batcher.close()


def test_a_full_batch_does_not_wait() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double, most=2, wait=3 * PATIENCE)
    with batcher.announced():
        assert results([batcher.submit("a", 1), batcher.submit("a", 2)]) == [2, 4]
    batcher.close()


def test_a_stop_runs_what_is_queued_and_takes_nothing_more() -> None:
    double = Doubling()
    batcher: Batcher[int, int] = Batcher(double)
    assert batcher.is_running
    futures = [batcher.submit("a", row) for row in range(3)]
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 2, 4]
    assert not batcher.is_running
    with pytest.raises(ClosedError, match="about to stop"):
        batcher.submit("a", 1)
