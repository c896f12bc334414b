"""Whatever an engine's methods raise, and whenever: no item that was put is lost, none is made up."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistqueue import Empty, ItemTooLarge, PersistQueueError, Queue, SerializationError, engines
from persistqueue.engines import StorageEngine

ENGINES = ["SQLiteEngine", "DbmEngine", "PickledListEngine"]
each = pytest.mark.parametrize("name", ENGINES)
VERBS = ["open", "append", "read", "remove", "sync", "close"]
ERRORS: list[Callable[[], BaseException]] = [
    lambda: OSError(28, "full"),
    lambda: KeyError("x"),
    MemoryError,
    StopIteration,
    KeyboardInterrupt,
    lambda: SystemExit(1),
]


def failing(
    base: type[StorageEngine], verb: str, at: int, behind: bool, error: BaseException
) -> type[StorageEngine]:
    """Return an engine whose so-manieth call of a method raises, before or behind its work."""
    calls, real = iter(range(10**6)), getattr(base, verb)

    def method(self: StorageEngine, *arguments: Any) -> Any:
        due = next(calls) == at
        if due and not behind:
            raise error
        result = real(self, *arguments)
        if due:
            raise error
        return result

    return type(base)("Failing", (base,), {verb: method})


def used(engine: Any, path: Path) -> tuple[set[int], set[int], set[int]]:
    """Put and get on an engine that fails once; return what was put, what may be, what is done."""
    told, doubtful, done = set[int](), set[int](), set[int]()
    q = None
    while q is None:
        with contextlib.suppress(BaseException):
            q = Queue[int](path, engine=engine)
    for number in range(6):
        try:
            q.put(number)
        except BaseException:  # noqa: BLE001 - that is the question
            doubtful.add(number)
        else:
            told.add(number)
    for _ in range(3):
        with contextlib.suppress(BaseException):
            item = q.get(block=False)
            done.add(item)  # or not, if this raises:
            q.task_done(item=item)
    with contextlib.suppress(BaseException):
        q.close()
    return told, doubtful, done


# A close that raises before it has closed anything leaves a database open.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("verb", VERBS)
@each
def test_a_method_that_raises_once_loses_nothing(
    name: str, verb: str, behind: bool, tmp_path: Path
) -> None:
    """At its first calls, with errors of all sorts, an interrupt too: then everything is there."""
    base = getattr(engines, name)
    for at in range(3):
        for which, error in enumerate(ERRORS):
            path = tmp_path / f"{at}-{which}"
            told, doubtful, done = used(failing(base, verb, at, behind, error()), path)
            with Queue[int](path, engine=base) as q:
                there = q.get_many(99) if q.qsize() else []
            assert sorted(set(there)) == there, (at, error())
            assert told <= {*there} | done, (at, error())
            assert {*there} <= told | doubtful, (at, error())


@each
def test_items_of_all_sorts(name: str, tmp_path: Path) -> None:
    """None, nothing, much, what cannot be pickled, what is too long: stored as it is, or not."""

    class Local:
        pass

    items = [None, b"", "", (), b"\0" * 5_000_000, [None] * 1000, "\ud800", float("inf")]
    with Queue[Any](tmp_path / "q", engine=getattr(engines, name), max_item_bytes=6_000_000) as q:
        q.put_many(items)
        for bad in (lambda: None, Local(), (n for n in items)):
            with pytest.raises(SerializationError):
                q.put(bad)
        with pytest.raises(ItemTooLarge):
            q.put(b"x" * 6_000_001)
    with Queue[Any](tmp_path / "q", engine=getattr(engines, name)) as q:
        assert items == q.get_many(len(items))


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="needs permissions that are kept to"
)
@each
def test_a_directory_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    """An OSError that names the path, at opening, before anything is put."""
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(OSError, match="folder"):
            Queue(folder / "q", engine=getattr(engines, name))
    finally:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("hundredths", range(1, 100, 9))
@each
def test_a_file_that_was_cut_short_is_an_error(name: str, hundredths: int, tmp_path: Path) -> None:
    """At opening or at a get: it is never taken for a queue that is empty, or shorter."""
    path, base = tmp_path / "q", getattr(engines, name)
    with Queue[str](path, engine=base) as q:
        q.put_many([str(number) * 200 for number in range(300)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * hundredths // 100])

    def read_all() -> None:
        with Queue[str](path, engine=base) as q:
            for _ in range(300):
                q.get(block=False)

    with pytest.raises(PersistQueueError) as raised:
        read_all()
    assert not isinstance(raised.value, Empty)
