"""Databases that ours and the real persist-queue 1.1.0 write for each other."""

from __future__ import annotations

import ast
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from upstream import Upstream, upstream_fixture  # noqa: F401

import persistqueue
from persistqueue import (
    FILOSQLiteQueue,
    PDict,
    PriorityQueue,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
    serializers,
)

KINDS = [
    "FILOSQLiteAckQueue", "FILOSQLiteQueue", "PriorityQueue", "SQLiteAckQueue", "SQLiteQueue",
    "UniqueAckQ", "UniqueQ",
]  # fmt: skip
SERIALIZERS = ["cbor2", "json", "msgpack", "pickle"]
ITEMS: list[Any] = [0, "text", "ü🎉", {"b": 1, "a": {"n": None}}, 1.5, True, "x" * 10_000]

each_kind = pytest.mark.parametrize("kind", KINDS)
each_serializer = pytest.mark.parametrize("name", SERIALIZERS)

_THEIRS = """
import ast, importlib, sys
import persistqueue
kind, path, name, items, count = sys.argv[1:]
serializer = importlib.import_module("persistqueue.serializers." + name)
q = getattr(persistqueue, kind)(path, serializer=serializer)
ids = [q.put(item) for item in ast.literal_eval(items)]
print(ascii((ids, [q.get(block=False) for _ in range(int(count))], q.size)))
"""


def theirs(upstream: Upstream, kind: str, path: Path, name: str, items: Any, count: int) -> Any:
    """Have 1.1.0 put items, then get some: returns ids, what it got, and its size."""
    done = upstream.run(_THEIRS, kind, path, name, ascii(items), count)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def ours(kind: str, path: Path, name: str) -> Any:
    return getattr(persistqueue, kind)(path, serializer=getattr(serializers, name))


def in_order(kind: str, items: list[Any]) -> list[Any]:
    return items[::-1] if kind.startswith("FILO") else items


@each_serializer
@each_kind
def test_ours_reads_theirs(upstream: Upstream, path: Path, kind: str, name: str) -> None:
    """What 1.1.0 put comes out in its order, with its ids; then ours goes on."""
    ids, _, _ = theirs(upstream, kind, path, name, ITEMS, 0)
    with ours(kind, path, name) as q:
        assert ids == [row["id"] for row in q.queue()]
        assert len(ITEMS) == q.qsize()
        assert in_order(kind, ITEMS) == q.get_many(99)
        assert len(ITEMS) + 1 == q.put("more")


@each_serializer
@each_kind
def test_theirs_reads_ours(upstream: Upstream, path: Path, kind: str, name: str) -> None:
    """What ours put comes out of 1.1.0 in order."""
    with ours(kind, path, name) as q:
        q.put_many(ITEMS)
    _, got, size = theirs(upstream, kind, path, name, [], len(ITEMS))
    assert (in_order(kind, ITEMS), 0) == (got, size)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "Ack" not in kind])
def test_taking_turns(upstream: Upstream, path: Path, kind: str) -> None:
    """Each puts and takes what the other left, while ours stays open."""
    with ours(kind, path, "pickle") as q:
        left: list[Any] = []
        newest = kind.startswith("FILO")
        for turn in range(4):
            q.put_many([f"{turn}a", f"{turn}b"])
            _, got, size = theirs(upstream, kind, path, "pickle", [f"{turn}c"], 1)
            left += [f"{turn}a", f"{turn}b", f"{turn}c"]
            assert [left.pop(-1 if newest else 0)] == got
            assert len(left) == size == q.qsize()
            assert left.pop(-1 if newest else 0) == q.get()
        assert in_order(kind, left) == q.get_many(99)


def test_priorities(upstream: Upstream, path: Path) -> None:
    """Priorities that either wrote are honoured by the other, ties in the order of put."""
    code = """
import sys, persistqueue
q = persistqueue.PriorityQueue(sys.argv[1])
if sys.argv[2] == "put":
    for n, p in enumerate([5, 1, 5, -3]): q.put(f"t{n}", priority=p)
else:
    print([q.get() for _ in range(8)])
"""
    upstream.run(code, path, "put")
    expected = ["t3", "o3", "t1", "o1", "t0", "t2", "o0", "o2"]
    with PriorityQueue(path) as q:
        for n, p in enumerate([5, 1, 5, -3]):
            q.put(f"o{n}", priority=p)
        assert expected == q.get_many(9)
        for n in expected:
            q.put(n, priority={"0": 5, "1": 1, "2": 5, "3": -3}[n[1]])
    assert f"{expected}\n" == upstream.run(code, path, "get").stdout


def test_acks(upstream: Upstream, path: Path) -> None:
    """Statuses that either wrote mean the same to the other; rows without an owner resume."""
    code = """
import sys, persistqueue
q = persistqueue.SQLiteAckQueue(sys.argv[1], auto_resume=sys.argv[2] == "resume")
if sys.argv[2] == "start":
    for n in range(5): q.put(n)
    a, b, c, d = [q.get() for _ in range(4)]
    q.ack(a); q.ack_failed(b); q.nack(c)
print([q.size, q.unack_count(), q.ready_count(), q.acked_count(), q.ack_failed_count()])
"""
    assert "[2, 1, 1, 1, 1]\n" == upstream.run(code, path, "start").stdout
    with SQLiteAckQueue(path) as q:
        assert [3, 0, 2, 1, 1] == [
            q.size, q.unack_count(), q.ready_count(), q.acked_count(), q.ack_failed_count(),
        ]  # fmt: skip
        item = q.get()
        q.ack(q.get())
        assert "[1, 1, 0, 2, 1]\n" == upstream.run(code, path, "look").stdout
        q.nack(item)
        q.get()
    assert "[2, 0, 1, 2, 1]\n" == upstream.run(code, path, "resume").stdout


def test_unique_rows_are_their_bytes(upstream: Upstream, path: Path) -> None:
    """An item that 1.1.0 holds is not put again, nor the other way round."""
    item = {"b": 1, "a": [1, 2]}
    theirs(upstream, "UniqueQ", path, "pickle", [item], 0)
    with UniqueQ(path) as q:
        assert q.put(item) is None
        q.put({"z": 1, "c": 2})
    ids, _, size = theirs(upstream, "UniqueQ", path, "pickle", [{"c": 2, "z": 1}], 0)
    assert ([None], 2) == (ids, size)


def test_dicts(upstream: Upstream, path: Path) -> None:
    """Each reads what the other set, with keys of every type."""
    code = """
import sys, persistqueue
d = persistqueue.PDict(sys.argv[1], "d")
if sys.argv[2] == "set":
    d["text"] = 1; d[5] = 2; d[1.5] = 3; d[1e300] = 4; d[True] = 5
print([d["text"], d[5], d[1.5], d[1e300], d[True], len(d)])
"""
    assert "[1, 2, 3, 4, 5, 5]\n" == upstream.run(code, path, "set").stdout
    with PDict(path, "d") as d:
        assert [1, 2, 3, 4, 5] == [d["text"], d[5], d[1.5], d[1e300], d[True]]
        assert ["text", "5", "1.5", "1.0e+300", "1"] == list(d)
        d[5], d[1e300] = "five", "much"
        assert ["text", 5, "1.5", 1e300, "1"] == list(d)
    assert "[1, 'five', 3, 'much', 5, 5]\n" == upstream.run(code, path, "look").stdout


# -- the old async layout -----------------------------------------------------------

OLD = [(SQLiteQueue, "queue"), (FILOSQLiteQueue, "filo_queue"), (UniqueQ, "unique_queue")]


def old_async(file: Path, table: str, items: list[Any]) -> None:
    """Write what 1.1.0's async classes write."""
    unique = ", UNIQUE (data)" if table == "unique_queue" else ""
    with sqlite3.connect(file) as connection:
        connection.execute(
            f"CREATE TABLE {table} (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB,"
            f" timestamp FLOAT{unique})"
        )
        rows = [(serializers.pickle.dumps(item), 1.0) for item in items]
        connection.executemany(f"INSERT INTO {table} (data, timestamp) VALUES (?, ?)", rows)
    connection.close()


@pytest.mark.parametrize(("kind", "table"), OLD)
def test_the_old_async_layout_is_adopted(
    kind: Any, table: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its table becomes that of the name that is opened first, with a warning."""
    file = tmp_path / "old.db"
    old_async(file, table, ["a", "b"])
    with caplog.at_level(logging.WARNING), kind(file, name="jobs") as q:
        assert f"{table}_jobs" in caplog.text
        q.put("c")
        assert (["c", "b", "a"] if kind is FILOSQLiteQueue else ["a", "b", "c"]) == q.get_many(9)
    with kind(file, name="other") as q:
        assert q.empty()


@pytest.mark.parametrize(("kind", "table"), OLD)
def test_old_rows_go_behind_what_is_there(kind: Any, table: str, tmp_path: Path) -> None:
    """When the table is there already, rows are moved to it in order, once."""
    file = tmp_path / "old.db"
    file.touch()
    with kind(file) as q:
        q.put_many("xb")
    old_async(file, table, ["a", "b"])
    expected = ["x", "b", "a"] if kind is UniqueQ else ["x", "b", "a", "b"]
    for _ in range(2):
        with kind(file) as q:
            assert expected == [row["data"] for row in q.queue()]


def test_somebody_elses_table_is_left_alone(tmp_path: Path) -> None:
    """A table named queue with other columns belongs to another program."""
    file = tmp_path / "app.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE queue (name)")
        connection.execute("INSERT INTO queue VALUES ('mine')")
    connection.close()
    with SQLiteQueue(file) as q, UniqueAckQ(file) as u:
        q.put("a")
        u.put("b")
        assert [("mine",)] == q._conn.execute("SELECT * FROM queue").fetchall()
