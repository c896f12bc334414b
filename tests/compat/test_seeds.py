"""The examples that persist-queue's users know from its documentation, run as they stand.

Missing paths and names are filled in; nothing else is changed.
"""

from __future__ import annotations

import asyncio
import doctest
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples name relative paths."""
    monkeypatch.chdir(tmp_path)


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Quick start, basic file queue."""
    from persistqueue import Queue

    # Create a queue
    q = Queue[str]("my_queue_path")

    # Add items
    q.put("item1")
    q.put("item2")

    # Get items
    item = q.get()
    print(item)  # "item1"

    # Mark as done
    q.task_done()

    q.close()
    assert "item1\n" == capsys.readouterr().out
    with Queue[str]("my_queue_path") as q:
        assert ["item2"] == q.get_many(5)


FILE_QUEUE = """
>>> from persistqueue import Queue
>>> q = Queue("mypath")
>>> q.put('a')
>>> q.put('b')
>>> q.put('c')
>>> q.get()
'a'
>>> q.task_done()
"""


def test_file_based_queue() -> None:
    """Examples, file-based queue: what is printed is what the documentation prints."""
    names: dict[str, Any] = {}
    example = doctest.DocTestParser().get_doctest(FILE_QUEUE, names, "file queue", None, None)
    runner = doctest.DocTestRunner()
    assert 0 == runner.run(example, clear_globs=False).failed
    names = example.globs
    names["q"].close()
    with names["Queue"]("mypath") as queue:
        assert ["b", "c"] == queue.get_many(5)


def test_multi_threading() -> None:
    """Multi-threading usage, file-based queue: ``join`` returns when all work is done."""
    from persistqueue import Queue, QueueClosed

    num_worker_threads, done = 4, list[int]()

    def do_work(item: int) -> None:
        done.append(item)

    def source() -> Iterator[int]:
        yield from range(200)

    q = Queue[int]("mypath")

    def worker() -> None:
        while True:
            item = q.get()
            do_work(item)
            q.task_done()

    def until_closed() -> None:
        with suppress(QueueClosed):
            worker()

    threads = []
    for _ in range(num_worker_threads):
        t = Thread(target=until_closed)
        t.daemon = True
        t.start()
        threads.append(t)

    for item in source():
        q.put(item)

    q.join()  # Block until all tasks are done

    assert list(range(200)) == sorted(done)
    q.close()
    for t in threads:
        t.join()
    with Queue[int]("mypath") as q:
        assert q.empty()


def test_serialization_options() -> None:
    """Serialization options: each may open a path at which nothing was put yet."""
    from persistqueue import Queue, serializers

    # Pickle (default)  # noqa: ERA001
    q = Queue[Any]("mypath", serializer=serializers.pickle)

    # MessagePack
    q = Queue("mypath", serializer=serializers.msgpack)

    # CBOR
    q = Queue("mypath", serializer=serializers.cbor2)

    # JSON
    q = Queue("mypath", serializer=serializers.json)

    q.put({"the last": "one wins"})
    assert {"the last": "one wins"} == q.get()
    q.close()


def test_migration_guide_sync_version() -> None:
    """Migration guide: the half that the asynchronous one is compared with."""
    # Sync version
    from persistqueue import Queue

    queue = Queue[str]("path/to/queue")
    queue.put("data")
    item = queue.get()
    queue.task_done()

    assert ("data", 0, 0) == (item, queue.qsize(), queue.unfinished_tasks)
    queue.close()


# -- SQLite -------------------------------------------------------------------------


def test_quick_start_sqlite(capsys: pytest.CaptureFixture[str]) -> None:
    """Quick start, SQLite queue."""
    import persistqueue

    # Create SQLite queue
    q = persistqueue.SQLiteQueue[str]("my_queue.db", auto_commit=True)

    # Add items
    q.put("data1")
    q.put("data2")

    # Get items
    item = q.get()
    print(item)  # "data1"

    q.close()
    assert "data1\n" == capsys.readouterr().out


def test_sqlite3_based_queue() -> None:
    """Examples, SQLite3-based, priority and unique queue."""
    import persistqueue

    q = persistqueue.SQLiteQueue[str]("mypath", auto_commit=True)
    q.put("str1")
    q.put("str2")
    q.put("str3")
    assert "str1" == q.get()
    del q

    p = persistqueue.PriorityQueue[str]("mypath")
    p.put("low", priority=10)
    p.put("high", priority=1)
    p.put("mid", priority=5)
    assert ["high", "mid", "low"] == [p.get(), p.get(), p.get()]

    u = persistqueue.UniqueQ[str]("mypath")
    u.put("str1")
    u.put("str1")  # Duplicate ignored
    assert 1 == u.size
    u.put("str2")
    assert 2 == u.size


def test_acknowledgment_queue() -> None:
    """Examples, acknowledgment queue."""
    import persistqueue

    ackq = persistqueue.SQLiteAckQueue[str]("path")
    ackq.put("str1")
    item = ackq.get()
    # Process the item
    ackq.ack(item)  # Mark as completed
    # Or if processing failed:
    ackq.nack(item)  # Mark for retry
    ackq.ack_failed(item)  # Mark as failed
    assert (1, 0, 0) == (ackq.acked_count(), ackq.ready_count(), ackq.ack_failed_count())


PERSISTENT_DICTIONARY = """
>>> from persistqueue import PDict
>>> q = PDict("testpath", "testname")
>>> q['key1'] = 123
>>> q['key2'] = 321
>>> q['key1']
123
>>> len(q)
2
>>> del q['key1']
>>> q['key1']
Traceback (most recent call last):
KeyError: 'Key: key1 not exists.'
"""


def test_persistent_dictionary() -> None:
    """Examples, persistent dictionary: what is printed is what the documentation prints."""
    example = doctest.DocTestParser().get_doctest(PERSISTENT_DICTIONARY, {}, "dict", None, None)
    assert 0 == doctest.DocTestRunner().run(example).failed


def test_multi_threading_sqlite() -> None:
    """Multi-threading usage, SQLite3-based queue."""
    from persistqueue import FIFOSQLiteQueue, QueueClosed

    num_worker_threads, done = 4, list[int]()

    q = FIFOSQLiteQueue[int](path="./test", multithreading=True)

    def worker() -> None:
        with suppress(QueueClosed):
            while True:
                item = q.get()
                done.append(item)

    threads = []
    for _ in range(num_worker_threads):
        t = Thread(target=worker)
        t.daemon = True
        t.start()
        threads.append(t)

    for item in range(200):
        q.put(item)

    q.join()  # Block until all tasks are done

    q.close()
    for t in threads:
        t.join()
    assert list(range(200)) == sorted(done)


# -- asyncio ------------------------------------------------------------------------


def stored(path: str) -> list[Any]:
    """Return what is in a file queue."""
    from persistqueue import Queue

    with Queue[Any](path) as queue:
        return queue.get_many(99) if queue.qsize() else []


def test_async_quick_start() -> None:
    """Quick start, async queue."""
    from persistqueue import AsyncQueue

    async def main() -> None:
        async with AsyncQueue[str]("path/to/queue") as queue:
            await queue.put("async item")
            item = await queue.get()
            await queue.task_done()

        assert "async item" == item

    asyncio.run(main())
    assert [] == stored("path/to/queue")


def test_async_examples_file_based_queue() -> None:
    """Examples, async queue, the half with files."""
    from persistqueue import AsyncQueue

    async def example() -> None:
        # File-based async queue
        async with AsyncQueue[str]("path/to/queue") as queue:
            await queue.put("data item")
            item = await queue.get()
            await queue.task_done()

        assert "data item" == item

    asyncio.run(example())
    assert [] == stored("path/to/queue")


def test_async_queue_types() -> None:
    """Available async queue types, AsyncQueue: ``join`` returns when all tasks are completed."""
    from persistqueue import AsyncQueue

    async def example() -> None:
        async with AsyncQueue[str]("path/to/queue") as queue:
            # Put data
            await queue.put("data item")

            # Get data
            item = await queue.get()

            # Mark task as done
            await queue.task_done()

            # Wait for all tasks to complete
            await queue.join()

        assert "data item" == item

    asyncio.run(example())


def test_async_constructor() -> None:
    """API reference: the constructor takes these arguments by these names, with these defaults."""
    import inspect

    from persistqueue import AsyncQueue
    from persistqueue.serializers import pickle

    parameters = inspect.signature(AsyncQueue).parameters.values()
    known = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert known == [
        ("path", inspect.Parameter.empty), ("maxsize", 0), ("chunksize", 100), ("tempdir", None),
        ("serializer", pickle), ("autosave", False),
    ]  # fmt: skip


def test_async_main_methods() -> None:
    """API reference: each of the main methods is a coroutine and takes what it is said to."""
    from persistqueue import AsyncQueue

    async def main() -> list[Any]:
        queue = AsyncQueue[str]("queue", maxsize=2)
        returned = [
            await queue.put("a", block=True, timeout=None),
            await queue.put_nowait("b"),
            await queue.full(),
            await queue.get(block=True, timeout=None),
            await queue.get_nowait(),
            await queue.task_done(),
            await queue.task_done(),
            await queue.join(),
            await queue.qsize(),
            await queue.empty(),
            await queue.close(),
        ]
        assert all(
            asyncio.iscoroutinefunction(getattr(queue, name))
            for name in (
                "put", "put_nowait", "get", "get_nowait", "task_done", "join", "qsize", "empty",
                "full", "close",
            )
        )  # fmt: skip
        return returned

    assert [None, None, True, "a", "b", None, None, None, 0, True, None] == asyncio.run(main())


def test_async_basic_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage examples, basic usage: one producer and one consumer."""
    import os
    import tempfile

    from persistqueue import AsyncQueue

    async def basic_example() -> None:
        # Create temporary directory
        with tempfile.TemporaryDirectory() as temp_dir:
            queue_path = os.path.join(temp_dir, "async_queue")

            async with AsyncQueue[str](queue_path) as queue:
                # Producer
                async def producer() -> None:
                    for i in range(5):
                        await queue.put(f"Task {i}")
                        await asyncio.sleep(0.1)

                # Consumer
                async def consumer() -> None:
                    for i in range(5):  # noqa: B007
                        item = await queue.get()
                        print(f"Process: {item}")
                        await queue.task_done()
                        await asyncio.sleep(0.2)

                # Run concurrently
                await asyncio.gather(producer(), consumer())
                await queue.join()

    # Run example
    asyncio.run(basic_example())
    assert [f"Process: Task {i}" for i in range(5)] == capsys.readouterr().out.splitlines()


def test_async_multiple_producers_and_consumers(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage examples, multiple producers and consumers: each item is processed once."""
    import os
    import tempfile

    from persistqueue import AsyncQueue

    async def multi_producer_consumer() -> None:
        with tempfile.TemporaryDirectory() as temp_dir:
            queue_path = os.path.join(temp_dir, "multi_queue")

            async with AsyncQueue[str](queue_path) as queue:
                # Multiple producers
                async def producer(producer_id: int) -> None:
                    for i in range(3):
                        await queue.put(f"Producer{producer_id}-Task{i}")
                        await asyncio.sleep(0.1)

                # Multiple consumers
                async def consumer(consumer_id: int) -> None:
                    for i in range(3):  # noqa: B007
                        item = await queue.get()
                        print(f"Consumer{consumer_id}: {item}")
                        await queue.task_done()
                        await asyncio.sleep(0.2)

                # Create multiple producers and consumers
                producers = [producer(i) for i in range(2)]
                consumers = [consumer(i) for i in range(2)]

                await asyncio.gather(*producers, *consumers)
                await queue.join()

    asyncio.run(multi_producer_consumer())
    printed = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    assert ["Consumer0"] * 3 + ["Consumer1"] * 3 == sorted(who for who, _ in printed)
    assert [f"Producer{p}-Task{i}" for p in range(2) for i in range(3)] == sorted(
        item for _, item in printed
    )


def test_async_timeout_handling(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage examples, timeout handling: the exception of a timeout can be printed."""
    import os
    import tempfile

    from persistqueue import AsyncQueue

    async def timeout_example() -> None:
        with tempfile.TemporaryDirectory() as temp_dir:
            queue_path = os.path.join(temp_dir, "timeout_queue")

            async with AsyncQueue[str](queue_path) as queue:
                # Try to get from empty queue with timeout
                try:
                    item = await queue.get(timeout=1.0)
                    print(f"Got: {item}")
                except Exception as e:  # noqa: BLE001
                    print(f"Timeout: {e}")

                # Put data and try again
                await queue.put("Test data")
                item = await queue.get(timeout=1.0)
                print(f"Successfully got: {item}")
                await queue.task_done()

    asyncio.run(timeout_example())
    assert "Timeout: the queue is empty\nSuccessfully got: Test data\n" == capsys.readouterr().out


def test_migration_guide_async_version() -> None:
    """Migration guide: the asynchronous half does what the other does."""
    from persistqueue import AsyncQueue

    # Async version
    async def version() -> None:
        async with AsyncQueue[str]("path/to/queue") as queue:
            await queue.put("data")
            item = await queue.get()
            await queue.task_done()

            assert ("data", 0, 0) == (item, await queue.qsize(), queue.unfinished_tasks)

    asyncio.run(version())


def test_migration_in_the_middle() -> None:
    """Notes, compatibility: an AsyncQueue goes on where a Queue stopped, and the other way round."""
    from persistqueue import AsyncQueue, Queue

    # Sync version
    queue = Queue[str]("path/to/queue", chunksize=2)
    for item in ("a", "b", "c", "d"):
        queue.put(item)
    assert "a" == queue.get()
    queue.task_done()
    del queue

    # Async version
    async def version() -> None:
        async with AsyncQueue[str]("path/to/queue") as queue:
            assert (3, 2) == (await queue.qsize(), queue.info["chunksize"])
            assert "b" == await queue.get()
            await queue.task_done()
            await queue.put("e")

    asyncio.run(version())
    assert ["c", "d", "e"] == stored("path/to/queue")


def test_async_sqlite_queue() -> None:
    """Available async queue types, AsyncSQLiteQueue: put, get, update, task_done."""
    from persistqueue import AsyncSQLiteQueue

    async def example() -> None:
        async with AsyncSQLiteQueue[Any]("queue.db") as queue:
            # Put data, returns record ID
            item_id = await queue.put({"key": "value"})

            # Get data
            item = await queue.get()

            # Update data
            await queue.update({"key": "new_value"}, item_id)

            # Mark task as done
            await queue.task_done()

        assert ({"key": "value"}, 1) == (item, item_id)

    asyncio.run(example())


def test_async_sqlite_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage examples, SQLite queue example: on an empty file that exists."""
    import os
    import tempfile

    from persistqueue import AsyncSQLiteQueue

    async def sqlite_example() -> None:
        with tempfile.NamedTemporaryFile(suffix=".db", delete=False) as tmp_file:
            db_path = tmp_file.name

        try:
            async with AsyncSQLiteQueue[Any](db_path) as queue:
                # Put data
                item_id = await queue.put({"name": "John", "age": 30})
                print(f"Inserted record ID: {item_id}")

                # Get data
                item = await queue.get()
                print(f"Got: {item}")

                # Update data
                await queue.update({"name": "Jane", "age": 31}, item_id)

                await queue.task_done()
        finally:
            os.unlink(db_path)

    asyncio.run(sqlite_example())
    printed = "Inserted record ID: 1\nGot: {'name': 'John', 'age': 30}\n"
    assert printed == capsys.readouterr().out


def test_async_sqlite_constructor() -> None:
    """API reference: the constructor takes these arguments by these names, with these defaults."""
    import inspect

    from persistqueue import AsyncSQLiteQueue
    from persistqueue.serializers import pickle

    parameters = inspect.signature(AsyncSQLiteQueue).parameters.values()
    known = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert known == [
        ("path", inspect.Parameter.empty), ("name", "default"), ("serializer", pickle),
        ("auto_commit", True),
    ]  # fmt: skip
