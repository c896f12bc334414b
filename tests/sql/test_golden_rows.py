"""Databases that releases wrote are read, and written again, to the byte; see ``golden_rows``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from golden_rows import GOLDEN, ITEMS, KINDS, QUEUE, dump, load, write

import persistqueue
from persistqueue import Broker, PDict

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = GOLDEN / "persistqueue-2.0"
NAMES = ("bare-rows", "unfenced-rows", "rows")
DUMPS = {name: (RELEASE / f"{name}.sql").read_text("utf-8") for name in NAMES}

each_dump = pytest.mark.parametrize("name", DUMPS)


def contents(directory: Path) -> tuple[Any, Any]:
    """Return the schema of a database, column by column, and all rows."""
    load(dump(directory), copy := directory / "copy")  # without times
    with closing(sqlite3.connect(copy / "data.db")) as connection:
        names = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name")
        schema = names.fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        columns = {t: connection.execute(f'PRAGMA table_info("{t}")').fetchall() for t in tables}
        rows = {t: connection.execute(f'SELECT * FROM "{t}"').fetchall() for t in tables}
    return (schema, columns), rows


@each_dump
def test_an_old_database_holds_what_was_put(path: Path, name: str) -> None:
    """Each item that was stored comes out, in order; new ones come behind them."""
    load(DUMPS[name], path)
    for kind in KINDS:
        with getattr(persistqueue, kind)(path) as q:
            q.put("new")
            expected = [*ITEMS, "new"]
            assert (expected[::-1] if "FILO" in kind else expected) == q.get_many(9)
    with PDict(path, "default") as d:
        assert {str(number): item for number, item in enumerate(ITEMS)} == dict(d.items())
    with Broker(path) as broker:
        assert ITEMS == broker.queue(QUEUE).get_many(9)


@each_dump
def test_an_old_database_opened_is_as_a_fresh_one(tmp_path: Path, name: str) -> None:
    """Tables, columns, indexes and triggers are the same."""
    old, fresh = tmp_path / "old", tmp_path / "fresh"
    load(DUMPS[name], old)
    for kind in KINDS:
        getattr(persistqueue, kind)(old).close()
    write(fresh)
    assert contents(fresh)[0] == contents(old)[0]


def test_what_is_written_now_equals_what_was_written(tmp_path: Path) -> None:
    """The same calls leave the same rows, to the byte."""
    load(DUMPS["rows"], tmp_path / "golden")
    write(tmp_path / "now")
    assert contents(tmp_path / "golden") == contents(tmp_path / "now")
