"""A disk that is full: nothing that was there is lost, and there is a way out of it."""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import contents, drain, in_child, watchdog
from failures import stuff
from sqlite_objects import each_way, open_any

from persistqueue import Queue, serializers

resource = pytest.importorskip("resource", reason="needs setrlimit")

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def limit(size: int) -> None:
    """Let no file of this process grow beyond ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fill(queue: Queue[Any], item: Callable[[int], Any]) -> int:
    """Put until the disk is full; return how many items were taken in."""
    for number in range(10_000):
        try:
            queue.put(item(number))
        except OSError as error:
            assert error.errno in (errno.EFBIG, errno.ENOSPC)
            return number
    raise AssertionError("the disk is never full")


def text(number: int) -> str:
    """Return an item of about a hundred bytes."""
    return f"{number} " + "x" * 100


def check_in_child(work: Callable[[], None]) -> None:
    """Run a check in a process whose limits are its own."""
    status, _ = in_child(lambda acknowledge: work())
    assert 0 == status, "see the traceback above"


# -- a limit on the size of files ---------------------------------------------------


@pytest.mark.parametrize("durability", ["power", "process"])
def test_put_fails_and_works_again(tmp_path: Path, durability: str) -> None:
    """A put that finds no room raises OSError, stores nothing, and works when there is room."""

    def work() -> None:
        limit(5000)
        with Queue[str](tmp_path, durability=durability) as queue:
            count = fill(queue, text)
            assert count > 20
            with pytest.raises(OSError):
                queue.put(text(-1))
            assert count == queue.qsize()
            limit((tmp_path / "q00000").stat().st_size + 60)
            queue.put("short")  # there is room for less
            assert [queue.get() for _ in range(count)] == [text(number) for number in range(count)]
            queue.task_done(count)
            limit(1_000_000)
            queue.put_many([text(number) for number in range(50)])
            assert ["short"] + [text(number) for number in range(50)] == drain(queue)

    check_in_child(work)


@pytest.mark.parametrize("name", ["pickle", "msgpack", "cbor2", "json"])
def test_put_many_leaves_nothing(tmp_path: Path, name: str) -> None:
    """A put_many that finds no room half-way, some chunks later, leaves no item and no chunk."""
    if name in ("msgpack", "cbor2"):
        pytest.importorskip(name)
    serializer = getattr(serializers, name)

    def work() -> None:
        with Queue[str](tmp_path, chunksize=10, serializer=serializer) as queue:
            queue.put_many([text(number) for number in range(15)])
            names = sorted(os.listdir(tmp_path))
            limit(2000)
            with pytest.raises(OSError):
                queue.put_many([*map(text, range(30)), "y" * 3000])
            assert names == sorted(os.listdir(tmp_path))
            queue.put("more")
            expected = [*map(text, range(15)), "more"]
            assert expected == contents(tmp_path, serializer=serializer)
            assert expected == drain(queue)

    check_in_child(work)


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("size", [0, 100, 511])
def test_no_room_for_info(tmp_path: Path, size: int, durability: str) -> None:
    """A new queue that finds no room for its info raises OSError, and opens when there is room."""

    def work() -> None:
        limit(size)
        with pytest.raises(OSError) as caught:
            with Queue[str](tmp_path / "queue", durability=durability) as queue:
                queue.put("x" * 600)
        assert errno.EFBIG == caught.value.errno
        limit(1_000_000)
        with Queue[str](tmp_path / "queue", durability=durability) as queue:
            queue.put("item")
        assert ["item"] == contents(tmp_path / "queue")

    check_in_child(work)


def test_opens_and_empties_without_room(tmp_path: Path) -> None:
    """Nothing but a put needs room: a queue opens, hands out and finishes without any."""

    def work() -> None:
        with Queue[str](tmp_path, chunksize=5) as queue:
            queue.put_many(map(text, range(23)))
        limit(512)
        with Queue[str](tmp_path) as queue:
            for number in range(23):
                assert queue.get() == text(number)
                queue.task_done()
            assert queue.empty()
        limit(1_000_000)
        assert [] == contents(tmp_path)

    check_in_child(work)


# -- a small file system ------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@each_way
def test_a_read_only_file_system(kind: str, small: Path) -> None:
    """An SQLite class says so, when it is opened or at the put; mounted for writing, all is well."""
    q = open_any(kind, small)
    q.put(1)
    q.close()
    remount(small, "ro")
    with pytest.raises(sqlite3.OperationalError) as caught:
        open_any(kind, small).put(2)
    assert isinstance(caught.value, OSError)
    assert errno.EROFS == caught.value.errno
    remount(small, "rw")
    q = open_any(kind, small)
    q.put(3)
    assert 2 == q.qsize()
    q.close()


def remount(place: Path, how: str) -> None:
    """Let a file system be written to or not, from now on."""
    gc.collect()  # what did not open has closed its files
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_full_file_system(small: Path, durability: str) -> None:
    """On a full file system everything acknowledged is there, and finishing items makes room."""
    with Queue[str](small / "queue", chunksize=20, durability=durability) as queue:
        count = fill(queue, text)
        assert count > 100
        assert count == queue.qsize()
        assert [queue.get() for _ in range(40)] == [text(number) for number in range(40)]
        queue.task_done(40)
        queue.put_many([text(number) for number in range(count, count + 20)])
    assert [text(number) for number in range(40, count + 20)] == contents(small / "queue")


def test_put_many_on_a_nearly_full_file_system(small: Path) -> None:
    """A put_many that does not fit leaves the file system as it was."""
    with Queue[str](small / "queue", chunksize=20) as queue:
        queue.put_many(map(text, range(100)))
        before = os.statvfs(small).f_bfree
        for _ in range(3):
            with pytest.raises(OSError) as caught:
                queue.put_many(map(text, range(2000)))
            assert errno.ENOSPC == caught.value.errno
            assert before == os.statvfs(small).f_bfree
        assert [text(number) for number in range(100)] == contents(small / "queue")
        queue.put_many(map(text, range(100, 200)))
        assert [text(number) for number in range(200)] == drain(queue)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_first_put_on_a_full_file_system(small: Path, durability: str) -> None:
    """A new queue on a full file system raises OSError, and is usable when there is room."""
    ballast = stuff(small)
    with pytest.raises(OSError) as caught:
        with Queue[str](small / "queue", durability=durability) as queue:
            queue.put("item")
    assert errno.ENOSPC == caught.value.errno
    ballast.unlink()
    with Queue[str](small / "queue", durability=durability) as queue:
        assert queue.empty()
        queue.put("item")
    assert ["item"] == contents(small / "queue")


def test_opens_on_a_full_file_system(small: Path) -> None:
    """A queue opens on a full file system, and emptying it makes room for a put."""
    with Queue[str](small / "queue", chunksize=20) as queue:
        queue.put_many(map(text, range(45)))
    stuff(small)
    with Queue[str](small / "queue") as queue:
        with pytest.raises(OSError):
            queue.put("x" * 10_000)
        assert [text(number) for number in range(45)] == drain(queue)
        queue.task_done(45)
        queue.put("y" * 2000)
    assert ["y" * 2000] == contents(small / "queue")
