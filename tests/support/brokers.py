"""Both brokers behind the same blocking methods: a contract test is written once.

``BROKER_FAMILIES`` are single queues of theirs, for the contract of all queue classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from families import BlockingAsyncQueue, run

from persistqueue import AsyncBroker, Broker


class BlockingAsyncBroker(BlockingAsyncQueue):
    """An async broker whose coroutine methods block until they are done."""

    def queue(self, name: str) -> Any:
        return _BlockingHandle(self._queue.queue(name))


class _BlockingHandle(BlockingAsyncQueue):
    @contextmanager
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Iterator[Any]]:
        stream = self._queue.stream(*args, **kwargs)
        try:
            yield _steps(stream)
        finally:
            run(stream.aclose())


def _steps(stream: Any) -> Iterator[Any]:
    while True:
        try:
            item = run(anext(stream))
        except StopAsyncIteration:
            return
        yield item


def _open_async(path: Any, **arguments: Any) -> BlockingAsyncBroker:
    arguments.setdefault("durability", "process")
    return BlockingAsyncBroker(run(AsyncBroker.create(path, **arguments)))


def _open(path: Any, **arguments: Any) -> Broker:
    arguments.setdefault("durability", "process")
    return Broker(path, **arguments)


#: name -> opens a broker: ``open(path, **arguments)``.
BROKERS: dict[str, Callable[..., Any]] = {"AsyncBroker": _open_async, "Broker": _open}


class _OneQueue:
    """A queue of a broker that is opened and closed with it."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._queue = broker.queue("jobs")
        self.close = broker.close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    @property
    def skipped(self) -> int:
        skipped: int = self._broker.skipped
        return skipped

    def __iter__(self) -> Iterator[Any]:
        return iter(self._queue)

    def __enter__(self) -> Any:
        self._broker.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _one_queue(family: str) -> Callable[..., Any]:
    """Return what opens a queue with a file queue's arguments, of which it knows but one."""

    def open_queue(path: Any, *, serializer: Any, on_corrupt: str = "raise", **_: Any) -> _OneQueue:
        return _OneQueue(BROKERS[family](path, serializer=serializer, on_corrupt=on_corrupt))

    return open_queue


BROKER_FAMILIES: dict[str, Callable[..., Any]] = {
    f"{family}Queue": _one_queue(family) for family in BROKERS
}

_BOUND = "no queue of a broker has a bound"
_COUNTS = "what is taken is finished: there is no task_done, and no join"
_STOPS = "the broker is closed, not one of its queues"
_EXCEPTIONS = {
    _BOUND: (
        "test_put_many_longer_than_maxsize_is_an_error",
        "test_put_many_waits_for_room_for_all",
        "test_putters_are_served_in_the_order_of_their_arrival",
        "test_timeouts_end_in_empty_and_full",
        "test_a_timeout_without_an_end_waits_like_none",
        "test_put_waits_for_room",
        "test_a_waiting_put_notices_room_made_by_another_object",
    ),
    _COUNTS: (
        "test_unfinished_items_come_again",
        "test_put_does_not_finish_what_was_taken",
        "test_unfinished_tasks_count_what_a_block_has",
        "test_opening_an_open_queue_does_nothing_to_its_counts",
        "test_join_waits_for_the_last_task_done",
        "test_join_of_an_empty_queue_returns",
        "test_join_of_a_closed_queue_is_an_error",
        "test_join_with_autosave_waits_for_task_done",
        "test_task_done_too_often_is_an_error",
        "test_task_done_counts_oldest_first",
        "test_task_done_of_several",
        "test_task_done_of_an_item_goes_by_identity",
        "test_task_done_of_none",
        "test_task_done_of_less_than_one_is_an_error",
        "test_task_done_inside_a_loop_or_a_block_counts_once",
        "test_join_notices_what_another_object_finishes",
        "test_settled_elsewhere_is_not_handed_out_again",
        "test_join_waits_for_what_is_held_back",
    ),
    _STOPS: (
        "test_shutdown_refuses_puts_and_lets_gets_finish",
        "test_shutdown_wakes_waiting_calls",
        "test_shutdown_leaves_what_another_object_put_to_a_waiting_get",
        "test_immediate_shutdown_keeps_what_is_stored",
        "test_a_shutdown_leaves_what_is_held_back_to_those_who_get",
    ),
    "a loop takes at most once: stream(commit_interval=) gives back": (
        "test_leaving_a_loop_gives_the_last_item_back",
        "test_a_loop_that_is_left_at_an_item_again_and_again",
    ),
    "an item goes back to its place": ("test_an_item_given_back_under_autosave_is_not_lost",),
    "there is no such file": ("test_info_is_the_stored_mapping",),
}
#: Tests of the contract that are not the broker's: test -> why.
BROKER_EXCEPTIONS = {test: why for why, tests in _EXCEPTIONS.items() for test in tests}
