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
