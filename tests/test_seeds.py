"""The examples that persist-queue's users know from its documentation, run as they stand.

Missing paths and names are filled in; nothing else is changed.
"""

from __future__ import annotations

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
