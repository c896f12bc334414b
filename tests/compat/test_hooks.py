"""Hooks of 1.1.0 that are never called: who replaces one is told, and data is never invisible."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import persistqueue
from persistqueue import AsyncQueue, AsyncSQLiteQueue, PDict, Queue, SQLiteAckQueue, SQLiteQueue

KINDS: dict[str, tuple[Callable[..., Any], str]] = {
    "AsyncQueue": (AsyncQueue, "_put"),
    "AsyncSQLiteQueue": (AsyncSQLiteQueue, "_pop"),
    "PDict": (lambda path: PDict(path, "d"), "_select"),
    "Queue": (Queue, "_get"),
    "SQLiteAckQueue": (SQLiteAckQueue, "_mark_ack_status"),
    "SQLiteQueue": (SQLiteQueue, "_pop"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def close(q: Any) -> None:
    if not isinstance(q, AsyncQueue | AsyncSQLiteQueue):  # those are not open yet
        q.close()


@each_kind
def test_a_class_that_is_patched(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patched class is told of when an object is created, where that is done; once."""
    _, hook = KINDS[kind]
    subclass: Any = type("Patched", (getattr(persistqueue, kind),), {"__module__": __name__})
    arguments = (path, "d") if kind == "PDict" else (path,)
    close(subclass(*arguments))  # nothing is said
    monkeypatch.setattr(subclass, hook, lambda self: None, raising=False)
    with pytest.warns(UserWarning, match=rf"^Patched\.{hook} is never used") as told:
        objects = [subclass(*arguments) for _ in range(2)]
    for q in objects:
        close(q)
    assert [__file__] == [warning.filename for warning in told]


def test_a_patch_of_our_own_class(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a patch of the package's class itself, of a name that it has, or has not."""
    for name in ("_count", "_select"):
        monkeypatch.setattr(SQLiteQueue, name, lambda self: 0, raising=False)
    with pytest.warns(UserWarning, match="never used") as told:
        SQLiteQueue[int](path).close()
    assert ["SQLiteQueue._count", "SQLiteQueue._select"] == sorted(
        str(warning.message).split()[0] for warning in told
    )


def test_a_mixin(path: Path) -> None:
    """A hook may come from another base of the subclass."""

    class Mixin:
        def _pop(self) -> None: ...

    with pytest.warns(UserWarning, match=r"^Mixin\._pop is never used"):
        type("Mixed", (Mixin, SQLiteQueue), {"__module__": __name__})


@each_kind
def test_a_class_without_hooks_is_not_told_of(path: Path, kind: str) -> None:
    """Names of one's own, public methods, ``_init`` and ``_TABLE_NAME`` are nobody's business."""
    namespace = {"put": None, "_mine": 1, "peek_all": None, "__module__": __name__}
    if "SQLite" in kind or kind == "PDict":
        namespace["_TABLE_NAME"] = "mine"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subclass: Any = type("Quiet", (getattr(persistqueue, kind),), namespace)
        close(subclass(path, "d") if kind == "PDict" else subclass(path))


# -- what would be invisible is refused -------------------------------------------------

UNSEEN: list[tuple[Any, str, Any]] = [
    (SQLiteQueue, "_table_name", "`my jobs`"),
    (SQLiteAckQueue, "_table_name", property(lambda self: "`my jobs`")),
    (PDict, "_table_name", "`my dict`"),
    (AsyncSQLiteQueue, "_table_name", "`my jobs`"),
    (SQLiteQueue, "_SQL_CREATE", "CREATE TABLE IF NOT EXISTS jobs (_id INTEGER PRIMARY KEY)"),
    (SQLiteQueue, "_SQL_INSERT", "INSERT INTO jobs (data, timestamp) VALUES (?, ?)"),
    (Queue, "_qfile", lambda self, number: os.path.join(self.path, f"mine-{number}")),
    (Queue, "_infopath", lambda self: os.path.join(self.path, "mine")),
    (AsyncQueue, "_qfile", lambda self, number: os.path.join(self.path, f"mine-{number}")),
]


@pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")
@pytest.mark.parametrize(
    ("kind", "name", "value"), UNSEEN, ids=[f"{kind.__name__}.{name}" for kind, name, _ in UNSEEN]
)
def test_what_would_be_invisible_is_refused(path: Path, kind: Any, name: str, value: Any) -> None:
    """A class whose items are elsewhere cannot be opened; nothing is created."""
    subclass = type("Elsewhere", (kind,), {name: value, "__module__": __name__})
    arguments = (path, "d") if kind is PDict else (path,)
    with pytest.raises(TypeError, match=rf"^Elsewhere\.{name} is never used, so .* not be seen"):
        subclass(*arguments)
    assert not path.exists()


@pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")
def test_what_stays_visible_is_not_refused(path: Path) -> None:
    """Statements on the queue's own table, and columns behind ours, leave the items visible."""

    class Wide(SQLiteQueue[str]):
        _SQL_CREATE = (
            "CREATE TABLE IF NOT EXISTS {table_name} ({key_column} INTEGER PRIMARY KEY "
            "AUTOINCREMENT, data BLOB, timestamp FLOAT, more TEXT)"
        )

    with SQLiteQueue[str](path) as q:
        q.put("a")
        q._putter.execute("ALTER TABLE queue_default ADD COLUMN more TEXT")
        q._putter.commit()
    with Wide(path) as wide:
        assert "a" == wide.get()
