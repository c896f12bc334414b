"""What persist-queue 1.1.0 promised of its file queue, in the order of its own tests.

One difference is wanted: a bare ``task_done`` finishes one item, not all that was got.
"""

from __future__ import annotations

import gc
import pickle
import random
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from persistqueue import Empty, Full, Queue, serializers

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, dict[str, Any]] = {"default": {}} | {
    name: {"serializer": getattr(serializers, name)}
    for name in ("pickle", "msgpack", "cbor2", "json")
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The serializer argument, or none."""
    return OPTIONS[request.param]


def test_one_item_outlives_its_object(path: Path, options: dict[str, Any]) -> None:
    """An item that was put is there when the queue is opened again, and gone once it is done."""
    queue = Queue[str](path, **options)
    queue.put("only")
    del queue
    queue = Queue(path, **options)
    assert (1, "only") == (queue.qsize(), queue.get())
    queue.task_done()
    del queue
    with Queue[str](path, **options) as queue:
        assert queue.empty()


def test_a_thousand_items_outlive_their_object(path: Path, options: dict[str, Any]) -> None:
    """Items over many chunks come out in order, in two sittings."""
    with Queue[int](path, durability="process", **options) as queue:
        for number in range(1000):
            queue.put(number)
        assert 1000 == queue.qsize()
    with Queue[int](path, durability="process", **options) as queue:
        assert 1000 == queue.qsize()
        for number in range(500):
            assert number == queue.get()
            queue.task_done()
    with Queue[int](path, durability="process", **options) as queue:
        assert list(range(500, 1000)) == [queue.get() for _ in range(500)]
        queue.task_done(500)
        with pytest.raises(Empty):
            queue.get_nowait()
    with Queue[int](path, **options) as queue:
        assert queue.empty()


def test_empty_tells_whether_anything_can_be_got(path: Path) -> None:
    """``empty`` follows puts and gets, whether or not the items are done."""
    with Queue[str](path) as queue:
        assert queue.empty() is True
        queue.put("item")
        assert queue.empty() is False
        queue.get()
        assert queue.empty() is True


def test_full_tells_whether_the_bound_is_reached(path: Path) -> None:
    """``full`` is true with ``maxsize`` items, and not with one fewer."""
    with Queue[int](path, maxsize=3) as queue:
        seen = []
        for number in range(3):
            seen.append(queue.full())
            queue.put(number)
        assert [False, False, False] == seen
        assert queue.full() is True
        queue.get()
        assert queue.full() is False


def test_without_a_bound_a_queue_is_never_full(path: Path) -> None:
    """``full`` of an unbounded queue is false, empty or not."""
    with Queue[int](path) as queue:
        assert queue.full() is False
        queue.put(1)
        assert queue.full() is False


@pytest.mark.parametrize("junk", [b"\0", b"garbage", b"\x80\x04", b"\n" * 9, b"\xff" * 5000])
def test_half_a_put_on_the_head_is_forgotten(
    path: Path, options: dict[str, Any], junk: bytes
) -> None:
    """Bytes that a killed put left behind the head are no item, and new ones follow the old."""
    with Queue[str](path, **options) as queue:
        for letter in "abc":
            queue.put(letter)
    with open(path / "q00000", "ab") as chunk:
        chunk.write(junk)
    with Queue[str](path, **options) as queue:
        assert 3 == queue.qsize()
        queue.put("d")
        assert list("abcd") == [queue.get() for _ in range(4)]


def test_garbage_before_the_first_put_is_forgotten(path: Path, options: dict[str, Any]) -> None:
    """A chunk that holds junk only, with no ``info`` beside it, is an empty queue."""
    path.mkdir()
    (path / "q00000").write_bytes(b"garbage")
    with Queue[str](path, **options) as queue:
        queue.put("item")
        assert (1, "item") == (queue.qsize(), queue.get())


def test_random_puts_and_gets_keep_the_order(path: Path, options: dict[str, Any]) -> None:
    """Whatever the mixture, items come out in the order in which they were put."""
    chance, put, got = random.Random(7), 0, 0
    with Queue[int](path, chunksize=10, durability="process", **options) as queue:
        for _ in range(1000):
            if put > got and chance.random() < 0.5:
                assert got == queue.get()
                queue.task_done()
                got += 1
            else:
                queue.put(put)
                put += 1
            assert put - got == queue.qsize()
        assert list(range(got, put)) == [queue.get() for _ in range(put - got)]


def test_a_producer_and_a_consumer_in_threads(path: Path, options: dict[str, Any]) -> None:
    """What one thread puts the other gets, in order, and ``join`` sees the end of it."""
    with Queue[int](path, durability="process", **options) as queue:
        got = list[int]()

        def consume() -> None:
            for _ in range(300):
                got.append(queue.get())
                queue.task_done()

        def produce() -> None:
            for number in range(300):
                queue.put(number)

        threads = [Thread(target=consume), Thread(target=produce)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        queue.join()
        assert list(range(300)) == got
        with pytest.raises(Empty):
            queue.get_nowait()


def test_task_done_without_a_task_is_a_value_error(path: Path, options: dict[str, Any]) -> None:
    """One ``task_done`` more than there were gets raises, and spoils nothing."""
    with Queue[str](path, **options) as queue:
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()
        queue.put("item")
        queue.get()
        queue.task_done()
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()
        queue.put("next")
        assert "next" == queue.get()


def test_a_negative_timeout_of_get_is_a_value_error(path: Path, options: dict[str, Any]) -> None:
    """``get(timeout=-1)`` raises though an item is there, and leaves it."""
    with Queue[str](path, **options) as queue:
        queue.put("item")
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            queue.get(timeout=-1)
        assert "item" == queue.get()


def test_get_waits_as_long_as_it_was_told(path: Path, options: dict[str, Any]) -> None:
    """``get(timeout=…)`` of an empty queue raises Empty, and not before its time."""
    with Queue[str](path, **options) as queue:
        queue.put("item")
        assert "item" == queue.get(timeout=0)
        before = time.monotonic()
        with pytest.raises(Empty):
            queue.get(timeout=0.03)
        assert 0.03 <= time.monotonic() - before < 5


def test_put_nowait_puts(path: Path, options: dict[str, Any]) -> None:
    """``put_nowait`` stores like ``put``."""
    with Queue[str](path, **options) as queue:
        queue.put_nowait("item")
    with Queue[str](path, **options) as queue:
        assert "item" == queue.get(block=False)


def test_put_nowait_into_a_full_queue_raises(path: Path, options: dict[str, Any]) -> None:
    """At ``maxsize`` a put that may not wait raises Full and stores nothing."""
    with Queue[int](path, maxsize=10, **options) as queue:
        for number in range(10):
            queue.put(number)
        with pytest.raises(Full):
            queue.put(10, block=False)
        with pytest.raises(Full):
            queue.put_nowait(10)
        assert list(range(10)) == queue.get_many(20)


def test_put_waits_as_long_as_it_was_told(path: Path, options: dict[str, Any]) -> None:
    """``put(timeout=…)`` into a full queue raises Full, and not before its time."""
    with Queue[int](path, maxsize=2, **options) as queue:
        queue.put_many([0, 1])
        before = time.monotonic()
        with pytest.raises(Full):
            queue.put(2, timeout=0.03)
        assert 0.03 <= time.monotonic() - before < 5
        assert 2 == queue.qsize()


def test_a_negative_timeout_of_put_is_a_value_error(path: Path, options: dict[str, Any]) -> None:
    """``put(timeout=-1)`` raises though there is room, and stores nothing."""
    with Queue[int](path, maxsize=10, **options) as queue:
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            queue.put(1, timeout=-1)
        assert queue.empty()


def test_a_put_waits_for_room(path: Path, options: dict[str, Any]) -> None:
    """Puts into a full queue go on, in their order, as gets make room."""
    with Queue[int](path, maxsize=4, **options) as queue:
        queue.put_many(range(4))
        beginning, put = Event(), list[int]()

        def produce() -> None:
            beginning.set()
            for number in range(4, 12):
                queue.put(number)
                put.append(number)

        producer = Thread(target=produce)
        producer.start()
        beginning.wait()
        producer.join(0.02)
        assert (True, []) == (producer.is_alive(), put)
        assert list(range(12)) == [queue.get(timeout=10) for _ in range(12)]
        producer.join()
        assert list(range(4, 12)) == put


def test_consumed_chunks_are_cleared_away(path: Path, options: dict[str, Any]) -> None:
    """Each ``task_done`` finishes one item; chunks go when all of their items are done."""
    first = Queue[int](path, chunksize=10, **options)
    first.put_many(range(35))
    assert list(range(15)) == first.get_many(15)
    queue = Queue[int](path, chunksize=10, **options)  # while the first is alive
    assert 35 == queue.qsize()
    assert list(range(15)) == queue.get_many(15)
    queue.task_done()
    assert list(range(15, 31)) == queue.get_many(16)
    queue.task_done()
    assert 4 == queue.qsize()
    assert (path / "q00000").exists()
    queue.task_done(29)
    assert ["q00003"] == sorted(file.name for file in path.glob("q*"))
    first.close()
    queue.close()
    with Queue[int](path, **options) as queue:
        assert [31, 32, 33, 34] == queue.get_many(9)


class Raw(NamedTuple):
    """A serializer that is no module."""

    dump: Any
    load: Any


def test_load_may_return_bytes_as_they_are(path: Path) -> None:
    """A serializer that reads with ``fp.read()`` gets one pickle of protocol 4, bare."""
    assert 4 == serializers.pickle.protocol
    with Queue[bytes](path, serializer=Raw(serializers.pickle.dump, lambda fp: fp.read())) as queue:
        for item in (b"a", b"b"):
            queue.put(item)
            assert pickle.dumps(item, protocol=4) == queue.get()
            queue.task_done()


def test_the_end_of_an_object_closes_its_files(path: Path, options: dict[str, Any]) -> None:
    """``__del__``, called or come by itself, closes ``headf`` and ``tailf``."""
    queue = Queue[int](path, **options)
    queue.__del__()
    assert queue.headf is not None
    assert queue.tailf is not None
    assert (True, True) == (queue.headf.closed, queue.tailf.closed)
    queue = Queue[int](path, **options)
    queue.put(1)
    queue.get()
    files = queue.headf, queue.tailf
    assert [False, False] == [file.closed for file in files if file]
    del queue
    gc.collect()
    assert [True, True] == [file.closed for file in files if file]


def test_autosaved_gets_need_no_task_done(path: Path, options: dict[str, Any]) -> None:
    """With ``autosave`` what was got is gone when the queue is opened again."""
    queue = Queue[str](path, autosave=True, **options)
    queue.put("first")
    queue.put("second")
    assert "first" == queue.get()
    del queue
    with Queue[str](path, autosave=True, **options) as queue:
        assert (1, "second") == (queue.qsize(), queue.get())


def test_join_works_with_autosave(path: Path, options: dict[str, Any]) -> None:
    """With ``autosave`` ``join`` still waits for a ``task_done`` for each get."""
    with Queue[int](path, autosave=True, **options) as queue:
        queue.put_many(range(10))
        done = list[int]()

        def consume() -> None:
            for _ in range(10):
                queue.get()
                done.append(len(done))
                queue.task_done()

        consumer = Thread(target=consume)
        consumer.start()
        queue.join()
        assert list(range(10)) == done
        consumer.join()
        with pytest.raises(Empty):
            queue.get_nowait()
