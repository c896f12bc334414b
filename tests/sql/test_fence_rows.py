"""The columns of the fence: on tables of older versions, beside persist-queue 1.1.0, in statements."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from families import open_sql
from upstream import Upstream, upstream_fixture  # noqa: F401

from persistqueue import AsyncSQLiteAckQueue, SQLiteAckQueue
from persistqueue.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TABLES = {
    "SQLiteAckQueue": "ack_queue_default",
    "FILOSQLiteAckQueue": "ack_filo_queue_default",
    "UniqueAckQ": "ack_unique_queue_default",
}
FENCE = ["takes", "attempts", "note"]
NEW, READY, HELD, ACKED, FAILED = 0, 1, 2, 5, 9

each_kind = pytest.mark.parametrize("kind", TABLES)
each_twin = pytest.mark.parametrize("twin", ["", "Async"])


def ask(path: Path, *statements: str) -> list[Any]:
    """Run statements on a queue's database; returns the rows of the last one."""
    with closing(sqlite3.connect(path / "data.db", isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def make_old(path: Path, kind: str) -> None:
    """Take away what tables of the version before this one have not got."""
    table = TABLES[kind]
    drop = [f"ALTER TABLE {table} DROP COLUMN {column}" for column in FENCE]
    ask(path, f'DROP TRIGGER "owner:{table}"', *drop)


# -- tables of older versions ---------------------------------------------------------------


@each_kind
@each_twin
def test_an_older_table_gets_the_columns(path: Path, kind: str, twin: str) -> None:
    """What is in it counts from 0."""
    with open_sql(kind, path) as q:
        q.put_many(["a", "b"])
        q.ack(q.get(id=1))
    make_old(path, kind)
    with open_sql(twin + kind, path) as q:
        expected = [(1, ACKED, 0, 0, None), (2, NEW, 0, 0, None)]
        shown = [
            tuple(row[key] for key in ("id", "status", "takes", "attempts", "note"))
            for row in q.queue()
        ]
        assert expected == shown
        raw = q.get(timeout=0, raw=True)
        assert (1, 1) == (raw["takes"], raw["attempts"])
    columns = [row[1] for row in ask(path, f"PRAGMA table_info({TABLES[kind]})")]
    assert FENCE == columns[-3:]


@each_kind
@each_twin
def test_an_older_table_that_cannot_be_written_is_read(path: Path, kind: str, twin: str) -> None:
    """Without the columns; when it can be written again, it gets them."""
    with open_sql(kind, path) as q:
        q.put_many(["a"])
    make_old(path, kind)
    flip_version(path)
    with open_sql(twin + kind, path, auto_resume=False) as q:
        assert 1 == q.qsize()
        assert "a" == q.peek()
        (row,) = q.queue()
        assert (0, 0, None) == tuple(row[key] for key in FENCE)
        with pytest.raises(Exception, match="must not write to it"):
            q.get(block=False)
    flip_version(path)
    with open_sql(twin + kind, path) as q:
        assert "a" == q.get(timeout=5)


@each_kind
def test_commands_read_an_older_table(
    path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leave it as it is."""
    with open_sql(kind, path) as q:
        q.put("item")
    make_old(path, kind)
    before = ask(path, "SELECT sql FROM sqlite_master")
    assert 0 == main(["peek", str(path)])
    assert "item" in capsys.readouterr().out
    assert 0 == main(["check", str(path)])
    assert before == ask(path, "SELECT sql FROM sqlite_master")


def flip_version(path: Path) -> None:
    """Make the header say that a newer SQLite wrote the database, or take that back."""
    with open(path / "data.db", "r+b") as file:
        file.seek(18)
        (version,) = file.read(1)
        file.seek(18)
        file.write(bytes([version ^ 1]))


# -- persist-queue 1.1.0 beside it ----------------------------------------------------------

_GET = "q.get(block=False, raw=True)['pqid']"
_LIVE = """
import sys, persistqueue
q = getattr(persistqueue, sys.argv[2])(sys.argv[1], auto_resume=False)
for line in sys.stdin:
    print(ascii(eval(line)), flush=True)
"""


@contextmanager
def theirs(upstream: Upstream, path: Path, kind: str) -> Iterator[Callable[[str], Any]]:
    """A queue ``q`` of 1.1.0, open in a process of its own: evaluates expressions."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _LIVE, str(path), kind], cwd=upstream.site,
        env={**os.environ, "PYTHONPATH": str(upstream.site)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def evaluate(expression: str) -> Any:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(expression + "\n")
        worker.stdin.flush()
        return ast.literal_eval(worker.stdout.readline())

    try:
        yield evaluate
    finally:
        worker.communicate()


@each_kind
def test_their_worker_goes_on(upstream: Upstream, path: Path, kind: str) -> None:
    """It was at work when the columns came; each finishes what it holds, and puts items back."""
    with theirs(upstream, path, kind) as their:
        assert [1, 2, 3] == their("[q.put(item) for item in 'abc']")
        first = their(_GET)
        with open_sql(kind, path, auto_resume=False) as q:
            mine = q.get(timeout=0, raw=True)
            assert 4 == their("q.put('x')")
            assert first == their(f"q.ack(id={first})")
            assert mine["pqid"] == q.nack(mine)
            others = {their(_GET) for _ in range(3)}
            assert {1, 2, 3, 4} == others | {first}
            for number in others:
                assert number == their(f"q.ack_failed(id={number})")
            assert (0, 3, 1) == (q.active_size(), q.ack_failed_count(), q.acked_count())
            their("q.clear_acked_data(keep_latest=0)")
            assert mine["pqid"] == their(f"q.nack(id={mine['pqid']})")
            assert mine["data"] == q.get(timeout=0)
            assert (1, 2) == (q.unack_count(), q.ack_failed_count())


@each_kind
def test_what_they_take_from_ours_is_theirs(upstream: Upstream, path: Path, kind: str) -> None:
    """Its resume takes what a living worker holds: that one's ack changes nothing any more."""
    with open_sql(kind, path) as q:
        q.put("a")
        item = q.get(timeout=0)
        with theirs(upstream, path, kind) as their:
            their("q.resume_unack_tasks()")
            columns = f"SELECT status, owner FROM {TABLES[kind]}"
            assert [(READY, None)] == ask(path, columns)
            assert 1 == their(_GET)
            assert [(HELD, None)] == ask(path, columns)
            assert q.ack(item) is None
            assert q.nack(item) is None
            assert [(HELD, None)] == ask(path, columns)
            assert 1 == their("q.ack(id=1)")


@each_kind
def test_what_they_put_back_has_new_attempts(upstream: Upstream, path: Path, kind: str) -> None:
    """An item that failed here after its last attempt; ours would let it fail again, else."""
    with open_sql(kind, path, max_attempts=1) as q, theirs(upstream, path, kind) as their:
        q.put("a")
        q.nack(q.get(timeout=0))
        assert 1 == q.ack_failed_count()
        their("q.nack(id=1)")
        raw = q.get(timeout=0, raw=True)
        assert (2, 1) == (raw["takes"], raw["attempts"])
        assert [(HELD, 1, None)] == [
            (row["status"], row["attempts"], row["note"]) for row in q.queue()
        ]
        assert 1 == q.ack_failed(raw)
        their("q.nack(id=1)")
        assert 1 == q.ack(q.get(timeout=0, raw=True))


# -- statements -----------------------------------------------------------------------------


@contextmanager
def traced(q: Any) -> Iterator[list[str]]:
    """Note the statements of a queue; with a trigger, SQLite tells each update twice."""
    statements: list[str] = []
    driver = q._store.conn.driver
    driver.execute(f'DROP TRIGGER "owner:{q._store.table.name}"')
    driver.set_trace_callback(statements.append)
    try:
        yield statements
    finally:
        driver.set_trace_callback(None)


def words(statements: list[str]) -> list[str]:
    """Return the first word of each statement."""
    return [statement.split()[0] for statement in statements]


def test_one_ack_is_one_update(path: Path) -> None:
    """No SELECT, no savepoint."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        with traced(q) as statements:
            for verb in (q.ack, q.nack, q.ack_failed):
                item = q.get(timeout=0)
                statements.clear()
                verb(item)
                assert ["BEGIN", "PRAGMA", "UPDATE", "COMMIT"] == words(statements)


@pytest.mark.parametrize("verb", ["ack", "nack", "ack_failed", "process"])
def test_the_acks_of_many_tasks_are_one_transaction(path: Path, verb: str) -> None:
    """An UPDATE for each of their items, and nothing else for each."""

    async def main() -> list[str]:
        async with AsyncSQLiteAckQueue(path) as q:
            await q.put_many([[n] for n in range(50)])
            if verb == "process":
                blocks = [q.process() for _ in range(50)]
                await asyncio.gather(*[block.__aenter__() for block in blocks])
                calls = [block.__aexit__(None, None, None) for block in blocks]
            else:
                calls = [getattr(q, verb)(item) for item in await q.get_many(50)]
            with traced(q) as statements:
                await asyncio.gather(*calls)
            assert 0 == await q.unack_count()
            return statements

    statements = asyncio.run(main())
    assert 50 == words(statements).count("UPDATE")
    assert len(statements) <= 50 + 2 * 3  # the first caller has a transaction for itself


@each_kind
def test_no_statement_reads_the_whole_table(path: Path, kind: str) -> None:
    """Each finds its rows by their number or by an index, beside a million others."""
    with open_sql(kind, path) as q:
        table = q._store.table
        wanted = {
            "take_first": "index_live", "hand_out": "INTEGER PRIMARY KEY",
            "finish": "INTEGER PRIMARY KEY", "fail": "INTEGER PRIMARY KEY",
            "give_back": "INTEGER PRIMARY KEY", "wear_out": "INTEGER PRIMARY KEY",
            "mark": "INTEGER PRIMARY KEY", "state": "INTEGER PRIMARY KEY",
            "owners": "index_held", "resume": "index_held", "count_held": "index_held",
        }  # fmt: skip
        for name, index in wanted.items():
            statement = getattr(table, name)
            numbered = re.sub(r"\?", "1", statement)
            plan = ask(path, f"EXPLAIN QUERY PLAN {numbered}")
            assert all(index in row[3] for row in plan if table.name in row[3]), (name, plan)
            assert not any("TEMP B-TREE" in row[3] for row in plan), (name, plan)
