"""File descriptors, threads and files stay as few as they were."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import ON_DISK, UnsyncedDisk, descriptors, drain, watchdog

from persistqueue import FormatError, Queue, QueueCorrupt, serializers
from persistqueue._core.disk import File

pytestmark = pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs /dev/fd")


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(120):
        yield


def test_flat_over_many_puts(path: Path) -> None:
    """The puts and gets of a hundred chunks need no more descriptors than the first."""
    with Queue[int](path, chunksize=200, durability="process", autosave=True) as queue:
        queue.put(-1)
        assert -1 == queue.get()
        before, threads = descriptors(), threading.active_count()
        for hundred in range(0, 20_000, 100):
            for number in range(hundred, hundred + 99):
                queue.put(number)
            queue.put_many([hundred + 99])
            assert descriptors() <= before + 1
        assert len(os.listdir(path)) < 110
        for number in range(0, 20_000, 200):
            assert list(range(number, number + 200)) == queue.get_many(200)
            assert descriptors() <= before + 1
        assert descriptors() == before
        assert threading.active_count() <= threads  # one of another test's may have ended
        assert len(os.listdir(path)) < 10


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("family", ON_DISK)
def test_flat_over_the_chunks_of_a_put_many(path: Path, family: str, durability: str) -> None:
    """A put_many may be longer than there are descriptors: it needs two, done or undone."""

    class Counting(UnsyncedDisk):
        most, left = 0, 100

        def write(self, file: File, data: bytes, offset: int) -> None:
            self.most = max(self.most, descriptors())
            self.left -= 1
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.path)
            super().write(file, data, offset)

    disk = Counting()
    queue = ON_DISK[family](disk)(path, chunksize=3, durability=durability)
    queue.put("item")
    before = descriptors()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        queue.put_many(range(600))
    assert ["q00000", "info"] == sorted(set(os.listdir(path)) - {".lock"}, reverse=True)
    queue.put_many(range(600))
    assert disk.most <= before + 2
    assert descriptors() <= before + 1
    assert ["item", *range(600)] == queue.get_many(1000)
    queue.close()


@pytest.mark.parametrize("durability", ["power", "process"])
def test_flat_over_opening_and_closing(path: Path, durability: str) -> None:
    """Two hundred times open, use and close leave nothing open."""
    before, threads = descriptors(), threading.active_count()
    for number in range(200):
        with Queue[int](path, chunksize=3, durability=durability) as queue:
            queue.put(number)
            assert queue.get() == number
            queue.task_done()
        assert before == descriptors()
    assert threading.active_count() <= threads + 1  # one looks after all waiting gets


def test_dropped_without_close(tmp_path: Path) -> None:
    """A queue that is dropped without a close leaves nothing open."""
    before = descriptors()
    for number in range(50):
        queue = Queue[int](tmp_path / str(number % 3), durability="process")
        queue.put(number)
        del queue
    gc.collect()
    assert before == descriptors()


def test_waiting_needs_one_thread(tmp_path: Path) -> None:
    """However many queues are waited on, one thread looks after them."""
    others = set(threading.enumerate())
    queues = [Queue[int](tmp_path / str(number), durability="process") for number in range(20)]
    for queue in queues:
        with pytest.raises(queue_empty()):
            queue.get(timeout=0.001)
    ours = [one for one in threading.enumerate() if one.name.startswith("persistqueue")]
    assert len(set(ours) - others) <= 1
    for queue in queues:
        queue.close()


def queue_empty() -> type[Exception]:
    """Return the standard library's error, which ours is a kind of."""
    import queue

    return queue.Empty


def no_directory(path: Path) -> None:
    """Put a file in the directory's place."""
    path.write_bytes(b"")


def other_serializer(path: Path) -> None:
    """Write the directory with another serializer."""
    with Queue[int](path, serializer=serializers.json) as queue:
        queue.put(1)


def garbage(path: Path) -> None:
    """Write a directory that cannot be rebuilt."""
    path.mkdir()
    (path / "q00000").write_bytes(b"garbage" * 10)
    (path / "info").write_bytes(b"garbage")


def no_chunk(path: Path) -> None:
    """Write a directory with another directory in a chunk's place."""
    path.mkdir()
    (path / "q00000").mkdir()


@pytest.mark.parametrize("spoil", [no_directory, other_serializer, garbage, no_chunk])
def test_failed_opening(path: Path, spoil: Callable[[Path], None]) -> None:
    """A queue that cannot be opened leaves nothing open."""
    spoil(path)
    gc.collect()  # of earlier tests
    before = descriptors()
    for _ in range(5):
        with pytest.raises((OSError, FormatError, QueueCorrupt)):
            Queue[Any](path)
        gc.collect()
        assert before == descriptors()


def test_damage_is_skipped_and_closed(path: Path) -> None:
    """Setting damage aside leaves no descriptor open."""
    with Queue[str](path, chunksize=4, durability="process") as queue:
        queue.put_many(["item"] * 40)
    for number in range(0, 10, 2):
        place = path / f"q{number:05d}"
        data = bytearray(place.read_bytes())
        data[30] ^= 1
        place.write_bytes(data)
    before = descriptors()
    with Queue[str](path, on_corrupt="skip") as queue:
        assert 35 == len(drain(queue))
        assert 5 == queue.skipped
    assert before == descriptors()
