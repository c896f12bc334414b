"""Databases that ours and the real persist-queue 1.1.0 write for each other."""

from __future__ import annotations

import ast
import itertools
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from families import SQL_KINDS, open_sql
from upstream import Upstream, upstream_fixture  # noqa: F401

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

KINDS = list(SQL_KINDS)
SERIALIZERS = ["cbor2", "json", "msgpack", "pickle"]
ITEMS: list[Any] = [0, "text", "ü🎉", {"b": 1, "a": {"n": None}}, 1.5, True, "x" * 10_000]

BOTH = [*KINDS, *(f"Async{kind}" for kind in KINDS)]
each_kind = pytest.mark.parametrize("kind", BOTH)
each_serializer = pytest.mark.parametrize("name", SERIALIZERS)

_THEIRS = """
import ast, importlib, sys
import persistqueue
queues, items, count = map(ast.literal_eval, sys.argv[1:])
for kind, path, name in queues:
    serializer = importlib.import_module("persistqueue.serializers." + name)
    q = getattr(persistqueue, kind)(path, serializer=serializer)
    ids = [q.put(item) for item in items]
    print(ascii((ids, [q.get(block=False) for _ in range(count)], q.size)))
"""


def all_theirs(upstream: Upstream, queues: list[Any], items: Any, count: int) -> list[Any]:
    """Have 1.1.0 put items into queues, then get some: ids, what it got, and the size of each.

    Args:
        queues: kind, path and serializer of each.
    """
    done = upstream.run(_THEIRS, ascii([(kind, str(path), name) for kind, path, name in queues]),
                        ascii(items), count)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


def theirs(upstream: Upstream, kind: str, path: Path, name: str, items: Any, count: int) -> Any:
    """The same for one queue."""
    return all_theirs(upstream, [(kind, path, name)], items, count)[0]


def ours(kind: str, path: Path, name: str) -> Any:
    """Open a queue of ours; "Async" in front of the kind is its async class."""
    return open_sql(kind, path, serializer=getattr(serializers, name))


def in_order(kind: str, items: list[Any]) -> list[Any]:
    return items[::-1] if "FILO" in kind else items


@pytest.fixture(scope="module")
def of_theirs(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """A directory that 1.1.0 wrote, and its ids, for each kind and serializer."""
    folder = tmp_path_factory.mktemp("theirs")
    cases = list(itertools.product(KINDS, SERIALIZERS))
    queues = [(kind, folder / f"{kind}-{name}", name) for kind, name in cases]
    answers = all_theirs(upstream, queues, ITEMS, 0)
    return {
        case: (queue[1], ids)
        for case, queue, (ids, _, _) in zip(cases, queues, answers, strict=True)
    }


@pytest.fixture(scope="module")
def what_they_got(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """What 1.1.0 gets of what ours put, for each kind of both families and each serializer."""
    folder = tmp_path_factory.mktemp("ours")
    cases = list(itertools.product(BOTH, SERIALIZERS))
    queues = []
    for kind, name in cases:
        queues.append((kind.removeprefix("Async"), folder / f"{kind}-{name}", name))
        queues[-1][1].mkdir()
        with ours(kind, queues[-1][1], name) as q:
            q.put_many(ITEMS)
    answers = all_theirs(upstream, queues, [], len(ITEMS))
    return {case: answer[1:] for case, answer in zip(cases, answers, strict=True)}


@each_serializer
@each_kind
def test_ours_reads_theirs(of_theirs: Any, tmp_path: Path, kind: str, name: str) -> None:
    """What 1.1.0 put comes out in its order, with its ids; then ours goes on."""
    written, ids = of_theirs[kind.removeprefix("Async"), name]
    path = shutil.copytree(written, tmp_path / "copy")
    with ours(kind, path, name) as q:
        assert ids == [row["id"] for row in q.queue()]
        assert len(ITEMS) == q.qsize()
        assert in_order(kind, ITEMS) == q.get_many(99)
        assert len(ITEMS) + 1 == q.put("more")


@each_serializer
@each_kind
def test_theirs_reads_ours(what_they_got: Any, kind: str, name: str) -> None:
    """What ours put comes out of 1.1.0 in order."""
    assert (in_order(kind, ITEMS), 0) == what_they_got[kind, name]


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


_THEIR_ASYNC = """
import ast, asyncio, importlib, os, sys
import persistqueue.async_sqlqueue
queues, items, count = map(ast.literal_eval, sys.argv[1:])

async def main():
    for kind, path, name in queues:
        serializer = importlib.import_module("persistqueue.serializers." + name)
        q = getattr(persistqueue.async_sqlqueue, kind)(path, "ignored", serializer)
        ids = [await q.put(item) for item in items]
        print(ascii((ids, [await q.get(block=False) for _ in range(count)], await q.qsize())))
    sys.stdout.flush()
    os._exit(0)  # it never closes

asyncio.run(main())
"""
OLD_ASYNC = [
    ("AsyncFILOSQLiteQueue", "filo_queue"), ("AsyncSQLiteQueue", "queue"),
    ("AsyncUniqueQ", "unique_queue"),
]  # fmt: skip


def their_async(upstream: Upstream, queues: list[Any], items: Any, count: int) -> list[Any]:
    """Do as ``all_theirs``, with the async classes of 1.1.0."""
    done = upstream.run(_THEIR_ASYNC, ascii([(kind, str(file), name) for kind, file, name in queues]),
                        ascii(items), count)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def of_their_async(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that 1.1.0's async classes wrote: each took one item out of its own."""
    folder = tmp_path_factory.mktemp("old")
    queues = [
        (kind, folder / f"{kind}-{name}", name) for kind, _ in OLD_ASYNC for name in SERIALIZERS
    ]
    expected = [
        ([1, 2, 3, 4, 5, 6, 7], in_order(kind, ITEMS)[:1], 6) for kind, _, _ in queues
    ]  # fmt: skip
    assert expected == their_async(upstream, queues, ITEMS, 1)
    return folder


@each_serializer
@pytest.mark.parametrize(("kind", "table"), OLD_ASYNC)
@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
def test_what_their_async_classes_wrote_is_adopted(
    of_their_async: Path, tmp_path: Path, kind: str, table: str, twin: bool, name: str
) -> None:
    """Rows keep ids and order under the name that is opened first; their table is gone."""
    file = Path(shutil.copy(of_their_async / f"{kind}-{name}", tmp_path / "old.db"))
    kind = kind if twin else kind.removeprefix("Async")
    with ours(kind, file, name) as q:
        left = ITEMS[:-1] if "FILO" in kind else ITEMS[1:]
        assert left == [row["data"] for row in q.queue()]
        assert [ITEMS.index(item) + 1 for item in left] == [row["id"] for row in q.queue()]
        assert len(ITEMS) + 1 == q.put("more")
        if "Unique" in kind:  # what it has stored is known again
            assert q.put({"a": {"n": None}, "b": 1}) is None
        assert in_order(kind, [*left, "more"]) == q.get_many(99)
    with closing(sqlite3.connect(file)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert f"{table}_default" in names
    assert table not in names


def test_their_async_classes_go_on_beside_ours(upstream: Upstream, tmp_path: Path) -> None:
    """What they put after the adoption is moved behind what is there when ours opens again."""
    queues = [(kind, tmp_path / kind, "pickle") for kind, _ in OLD_ASYNC]
    their_async(upstream, queues, ["first"], 0)
    for kind, file, name in queues:
        with ours(kind, file, name) as q:
            q.put("second")
    assert [([1], [], 1)] * 3 == their_async(upstream, queues, ["third"], 0)
    for kind, file, name in queues:
        with ours(kind, file, name) as q:
            assert in_order(kind, ["first", "second", "third"]) == q.get_many(9)


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
