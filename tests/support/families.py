"""The queue classes under contract, each behind the same blocking methods.

A contract test is written once, in blocking calls.  The sync family is used as it is; a
call of the async family runs on an event loop in a thread of its own, and the caller
blocks until it is done.  All calls of one thread run in one task, as one consumer's do.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from typing import Any

import pytest
from mysql_server import shared_server
from redis_server import shared

import persistqueue
from persistqueue import (
    AsyncQueue,
    AsyncRedisQueue,
    AsyncRedisUniqueQueue,
    Queue,
    RedisQueue,
    RedisUniqueQueue,
    engines,
    serializers,
)


class Errands:
    """What a thread hands to its task, which ends when the thread has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.line = asyncio.Queue[Any]()

    def __del__(self) -> None:
        self._loop.call_soon_threadsafe(self.line.put_nowait, None)


class LoopThread:
    """An event loop that runs until the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._mine = threading.local()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        atexit.register(self._end)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` in the task of the calling thread, and return its result."""
        if not hasattr(self._mine, "errands"):
            self._mine.errands = Errands(self.loop)
            asyncio.run_coroutine_threadsafe(self._serve(self._mine.errands.line), self.loop)
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.loop.call_soon_threadsafe(self._mine.errands.line.put_nowait, (coroutine, outcome))
        return outcome.result()

    def _end(self) -> None:
        """Let every thread's task end, which would be pending else when Python is at its end."""

        async def cancel() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(1)

    async def _serve(self, line: asyncio.Queue[Any]) -> None:
        while (errand := await line.get()) is not None:
            coroutine, outcome = errand
            try:
                outcome.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                outcome.set_exception(error)
            del coroutine, outcome, errand


_thread: LoopThread | None = None


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run ``coroutine`` on the tests' event loop, and return its result."""
    global _thread  # noqa: PLW0603 - started when it is needed, once
    if _thread is None:
        _thread = LoopThread()
    return _thread.run(coroutine)


class BlockingAsyncQueue:
    """An async queue whose coroutine methods block until they are done."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._queue, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: run(value(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        loop = aiter(self._queue)
        try:
            while True:
                try:
                    item = run(anext(loop))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            run(loop.aclose())

    @contextmanager
    def process(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        block = self._queue.process(*args, **kwargs)
        item = run(block.__aenter__())
        try:
            yield item
        except BaseException as error:
            if not run(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            run(block.__aexit__(None, None, None))

    def __enter__(self) -> Any:
        run(self._queue.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_async(path: Any, **arguments: Any) -> BlockingAsyncQueue:
    """Open an ``AsyncQueue`` for blocking calls."""
    return BlockingAsyncQueue(run(AsyncQueue.create(path, **arguments)))


#: name -> opens a queue: ``open(path, **arguments)``.
FILE_FAMILIES: dict[str, Callable[..., Any]] = {"AsyncQueue": open_async, "Queue": Queue}


#: Both families on each of the engines that keep one file.
ENGINE_FAMILIES: dict[str, Callable[..., Any]] = {
    f"{name}[{engine}]": partial(family, engine=getattr(engines, engine))
    for name, family in FILE_FAMILIES.items()
    for engine in ("DbmEngine", "PickledListEngine", "SQLiteEngine")
}

#: The sync classes of all kinds; the async class of a kind has "Async" in front.
SQL_KINDS = (
    "FILOSQLiteAckQueue", "FILOSQLiteQueue", "PriorityQueue", "SQLiteAckQueue", "SQLiteQueue",
    "UniqueAckQ", "UniqueQ",
)  # fmt: skip
JOB_KIND = "JobQueue"


def open_sql(kind: str, path: Any, **arguments: Any) -> Any:
    """Open a queue of the class with this name, for blocking calls."""
    queue_class = getattr(persistqueue, kind)
    if not kind.startswith("Async"):
        return queue_class(path, **arguments)
    return BlockingAsyncQueue(run(queue_class.create(path, **arguments)))


def _sql(kind: str) -> Callable[..., Any]:
    """Return what opens an SQLite queue with the arguments of a file queue."""

    def open_queue(path: Any, *, autosave: bool = False, chunksize: int = 0, **rest: Any) -> Any:
        path.mkdir(exist_ok=True)
        if "Ack" not in kind and JOB_KIND not in kind:
            rest["auto_commit"] = autosave
        elif autosave:
            pytest.skip("an ack queue has nothing like autosave")
        if JOB_KIND in kind:
            rest["retry"] = persistqueue.Retry(max_attempts=None, first=0)
        return open_sql(kind, path, durability="process", **rest)

    return open_queue


SQL_FAMILIES: dict[str, Callable[..., Any]] = {
    kind: _sql(kind) for sync in (*SQL_KINDS, JOB_KIND) for kind in (sync, f"Async{sync}")
}


#: The same on a server.
MYSQL_KINDS = ("MySQLAckQueue", "MySQLQueue")


@cache
def _mysql_database() -> dict[str, Any]:
    """Return where the MySQL queues are, each in a table of its own."""
    return shared_server().database()


def _mysql(kind: str) -> Callable[..., Any]:
    """Return what opens a MySQL queue with a file queue's arguments; a path names a table."""

    def open_queue(path: Any, *, autosave: bool = False, chunksize: int = 0, **rest: Any) -> Any:
        if "Ack" not in kind:
            rest["auto_commit"] = autosave
        elif autosave:
            pytest.skip("an ack queue has nothing like autosave")
        where = {**_mysql_database(), "name": sha256(str(path).encode()).hexdigest()[:20]}
        return open_mysql(kind, **where, **rest)

    return open_queue


def open_mysql(kind: str, **arguments: Any) -> Any:
    """Open a queue of the class with this name, for blocking calls."""
    queue_class = getattr(persistqueue, kind)
    if not kind.startswith("Async"):
        return queue_class(**arguments)
    return BlockingAsyncQueue(run(queue_class.create(**arguments)))


MYSQL_FAMILIES: dict[str, Callable[..., Any]] = {
    kind: _mysql(kind) for sync in MYSQL_KINDS for kind in (sync, f"Async{sync}")
}


def _redis(queue_class: Callable[..., Any]) -> Callable[..., Any]:
    """Return what opens a queue on the tests' server: its name is the path."""

    def open_redis(path: Any, *, autosave: bool = False, chunksize: int = 0, **rest: Any) -> Any:
        if autosave:
            pytest.skip("a Redis queue has nothing like autosave")
        arguments = {"serializer": serializers.pickle, **rest}
        if hasattr(queue_class, "create"):
            made = queue_class.create(str(path), shared().url, **arguments)
            return BlockingAsyncQueue(run(made))
        return queue_class(str(path), shared().url, **arguments)

    return open_redis


REDIS_FAMILIES: dict[str, Callable[..., Any]] = {
    "AsyncRedisQueue": _redis(AsyncRedisQueue),
    "AsyncRedisUniqueQueue": _redis(AsyncRedisUniqueQueue),
    "RedisQueue": _redis(RedisQueue),
    "RedisUniqueQueue": _redis(RedisUniqueQueue),
}


def _except(reason: str, *kinds: str) -> dict[str, str]:
    """Say why both families of these kinds (of all SQL queues, if none is named) differ."""
    kinds = kinds or (*SQL_KINDS, JOB_KIND, *MYSQL_KINDS)
    return {prefix + kind: reason for kind in kinds for prefix in ("", "Async")}


_ACK = ("FILOSQLiteAckQueue", JOB_KIND, "MySQLAckQueue", "SQLiteAckQueue", "UniqueAckQ")
_REDIS = ("RedisQueue", "RedisUniqueQueue")
_ALL = "a bare task_done finishes all that the caller took"
_EACH = "each row is finished by itself, in any order"
_NO_COUNT = "what is taken with auto_commit=True is finished: nothing is counted"
_ACKS = _except("a bare task_done does nothing where items are acked", *_ACK)
_NEWEST = _except("the newest comes first", "FILOSQLiteAckQueue", "FILOSQLiteQueue")

_RETRIES = _except("a job that failed is tried again when its queue's Retry says so", JOB_KIND)

_ONE = dict.fromkeys(ENGINE_FAMILIES, "one object at a time")

#: Tests of the contract that are not a family's: test -> family -> why.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "test_unfinished_items_come_again": _except(_EACH, *SQL_KINDS, JOB_KIND, *MYSQL_KINDS, *_REDIS),
    "test_task_done_of_none": _except(_EACH, *SQL_KINDS, JOB_KIND, *MYSQL_KINDS, *_REDIS),
    "test_an_item_given_back_under_autosave_is_not_lost": _except("it goes back to its place"),
    "test_join_waits_for_the_last_task_done": _except(_ALL),
    "test_task_done_too_often_is_an_error": _except(_ALL),
    "test_task_done_counts_oldest_first": _except(_ALL),
    "test_join_with_autosave_waits_for_task_done": _except(_NO_COUNT),
    "test_task_done_of_an_item_goes_by_identity": {
        **_except("an equal item is not put twice", "UniqueQ", "RedisUniqueQueue"),
        **_except("an item is found by equality", *_ACK),
    },
    "test_task_done_of_several": _ACKS | _NEWEST,
    "test_task_done_of_less_than_one_is_an_error": _ACKS,
    "test_task_done_inside_a_loop_or_a_block_counts_once": _ACKS | _NEWEST,
    "test_shutdown_refuses_puts_and_lets_gets_finish": _ACKS,
    "test_info_is_the_stored_mapping": _except(
        "there is no such file", *SQL_KINDS, JOB_KIND, *MYSQL_KINDS, *_REDIS
    )
    | dict.fromkeys(ENGINE_FAMILIES, "there is no such file"),
    "test_settled_elsewhere_is_not_handed_out_again": _ACKS | _NEWEST | _ONE,
    "test_process_gives_back_on_an_error": _NEWEST | _RETRIES,
    **dict.fromkeys(
        [
            "test_a_waiting_get_notices_another_objects_put",
            "test_a_waiting_put_notices_room_made_by_another_object",
            "test_join_notices_what_another_object_finishes",
            "test_shutdown_leaves_what_another_object_put_to_a_waiting_get",
        ],
        _ONE,
    ),
    **dict.fromkeys(
        [
            "test_items_come_out_as_they_went_in",
            "test_reopening_finds_what_was_put",
            "test_put_does_not_finish_what_was_taken",
            "test_autosave_finishes_at_get",
            "test_get_many_takes_what_is_there",
            "test_put_many_waits_for_room_for_all",
            "test_getters_are_served_in_the_order_of_their_arrival",
            "test_process_finishes_at_the_end_of_the_block",
            "test_leaving_a_loop_gives_the_last_item_back",
            "test_peek_takes_nothing",
        ],
        _NEWEST,
    ),
    "test_a_second_object_sees_what_is_committed": _NEWEST | _ONE,
    "test_what_one_object_holds_back_another_takes": _ONE | _RETRIES,
    **dict.fromkeys(
        [
            "test_what_a_block_failed_on_is_held_back_and_others_are_served",
            "test_what_is_held_back_is_for_those_who_wait",
            "test_closing_wakes_who_waits_for_what_is_held_back",
            "test_a_shutdown_leaves_what_is_held_back_to_those_who_get",
        ],
        _RETRIES,
    ),
}
