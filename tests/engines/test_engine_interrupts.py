"""Ctrl-C at any line of what stands between a queue and its engine: nothing is lost or doubled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest

from persistqueue import Queue
from persistqueue.engines import MemoryEngine, SQLiteEngine, from_coroutines

FILES = ("_store.py", "_numbered.py", "cursor.py", "memory.py", "coroutines.py")
FOLDERS = ("_core", "engines", "compat")
ENDINGS = tuple(str(Path("persistqueue", folder, file)) for file in FILES for folder in FOLDERS)


class InAList:
    """An engine as they were written for aiodiskqueue; a list stands for the file."""

    stored: ClassVar[dict[Path, list[Any]]] = {}
    refused: ClassVar[list[Any]] = []

    def __init__(self, data_path: Path) -> None:
        self.items = self.stored.setdefault(data_path, [])

    async def initialize(self) -> None:
        """See that items can be stored."""

    async def fetch_all(self) -> list[Any]:
        return list(self.items)

    async def add_item(self, item: Any) -> None:
        if item in self.refused:
            raise OSError("refused")
        self.items.append(item)

    async def remove_item(self) -> None:
        del self.items[0]


ENGINES: dict[str, Any] = {
    "memory": MemoryEngine,
    "sqlite": SQLiteEngine,
    "coroutines": from_coroutines(InAList),
}


@contextmanager
def interrupt_at(place: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt, once, at the line that is so many lines further on."""
    lines = list[str]()

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.endswith(ENDINGS):
            return None
        if event == "line" and len(lines) <= place:
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            if len(lines) > place:
                raise KeyboardInterrupt(lines[-1])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def interrupted(call: Callable[[], Any], place: int) -> tuple[bool, Any]:
    """Call it; return whether it was interrupted, and its result."""
    try:
        with interrupt_at(place) as lines:
            result = call()
    except KeyboardInterrupt:
        return True, None
    assert len(lines) <= place, f"{lines[-1]}: the interrupt was swallowed"
    return False, result


def queue(path: Path, engine: Any, **options: Any) -> Queue[Any]:
    """Open a queue on an engine."""
    return Queue(path, engine=engine, durability="process", **options)


CALLS: dict[str, Callable[[Queue[Any]], Any]] = {
    "put_many": lambda q: q.put_many([4, 5]),
    "get_many": lambda q: q.get_many(2),
    "task_done": lambda q: q.task_done(item=0),
}


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="traces lines")
@pytest.mark.parametrize("autosave", [False, True], ids=["tasks", "autosave"])
@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_ctrl_c_at_any_line(engine: Any, verb: str, autosave: bool, tmp_path: Path) -> None:
    """The call has happened or it has not; later puts are there, none is in another's place."""
    place, again = 0, True
    while again:
        path = tmp_path / str(place)
        with queue(path, engine, autosave=autosave) as q:
            q.put_many(range(4))
            assert q.get() == 0
            again, result = interrupted(lambda: CALLS[verb](q), place)
            q.put_many([8, 9])
            wanted = [1, 2, 3, 8, 9]
            if verb == "get_many" and not again:
                assert result == [1, 2]
                del wanted[:2]
            rest = q.get_many(99)
            if verb == "put_many" and (not again or 4 in rest):
                wanted[3:3] = [4, 5]
            assert rest == wanted, f"interrupted at line {place}"
            q.task_done(q.unfinished_tasks)
            assert (q.qsize(), q.unfinished_tasks) == (0, 0)
            q.put("last")
            assert q.get() == "last"
        place += 1
    assert place > 5


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="traces lines")
def test_ctrl_c_beside_half_a_put_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal is interrupted while the engine holds what nobody shall see: it stays unseen."""
    monkeypatch.setattr(InAList, "refused", ["refused"])
    place, again = 0, True
    while again:
        path = tmp_path / str(place)
        with queue(path, ENGINES["coroutines"]) as q:
            q.put_many([1, 2])
            with pytest.raises(OSError, match="refused"):
                q.put_many(["half", "refused"])
            q.put(3)
            assert q.get() == 1
            again, _ = interrupted(lambda: q.task_done(item=1), place)
            assert q.get_many(9) == [2, 3], f"interrupted at line {place}"
            q.task_done(q.unfinished_tasks)
            assert InAList.stored[path] == []
        place += 1
    assert place > 5
