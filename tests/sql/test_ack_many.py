"""Several items are acked with one commit; what cannot be acked is said, and nothing happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import MYSQL_FAMILIES, REDIS_FAMILIES, SQL_FAMILIES, open_sql

from persistqueue import Empty, PersistQueueError, SQLiteAckQueue

Open = Callable[..., Any]

FAMILIES = {
    name: family for name, family in {**SQL_FAMILIES, **MYSQL_FAMILIES}.items() if "Ack" in name
}


@pytest.fixture(params=sorted(FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Open:
    """Opens an ack queue in a table."""
    return FAMILIES[request.param]


@pytest.fixture(params=sorted(REDIS_FAMILIES))
def open_redis(request: pytest.FixtureRequest) -> Open:
    """Opens an ack queue on a Redis server."""
    return REDIS_FAMILIES[request.param]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings since this was asked for last."""
    messages = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    caplog.clear()
    return messages


def test_several_are_acked_and_put_back(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Items, raw dicts and ids; each has its id in the answer."""
    with open_queue(path) as q:
        ids = dict(zip("abcdef", q.put_many("abcdef"), strict=True))
        items = q.get_many(5)
        raw = q.get(raw=True)
        back = items[3:]
        assert [ids[item] for item in items[:2]] == q.ack_many(items[:2])
        assert [raw["pqid"]] == q.ack_many([raw])
        assert [ids[items[2]]] == q.ack_many(ids=[ids[items[2]]])
        assert (4, 2) == (q.acked_count(), q.unack_count())
        assert [ids[item] for item in back] == q.nack_many(iter(back))
        assert set(back) == {q.get(timeout=0), q.get(timeout=0)}
        assert [ids[item] for item in back] == q.nack_many(ids=[ids[item] for item in back])
        assert 2 == q.qsize()
        assert [] == q.ack_many([])
    assert [] == said(caplog)


def test_several_are_put_behind_all_others(open_queue: Open, path: Path) -> None:
    """They get new ids, in the order in which they were named."""
    with open_queue(path) as q:
        q.put_many("abcd")
        first, second = q.get_many(2)
        new = q.nack_many([first, second], to="back")
        assert 2 == len(new)
        assert None not in new
        q.get_many(2)
        assert [first, second] == [q.get(timeout=0), q.get(timeout=0)]


def test_what_is_not_known_is_none_and_said(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are acked all the same."""
    with open_queue(path) as q:
        q.put_many("abc")
        one, two, three = q.get_many(3)
        stranger = object()
        acked = q.ack_many([one, stranger, two])
        assert [False, True, False] == [number is None for number in acked]
        (warning,) = said(caplog)
        assert "1 of 3 items" in warning

        assert q.ack([three, "d"]) is None
        (warning,) = said(caplog)
        assert "an object of type list" in warning
        assert "ack_many" in warning

        for verb in (q.ack, q.nack, q.ack_failed):
            assert verb(one) is None
            assert verb(id=10**6) is None
            assert 2 == len(said(caplog))
        q.task_done(item=one)
        assert 1 == len(said(caplog))
        assert 1 == q.unack_count()
        assert q.ack(three) is not None
        q.task_done()
        assert [] == said(caplog)
        with pytest.raises(ValueError, match="one of the two"):
            q.ack_many()
        with pytest.raises(ValueError, match="one of the two"):
            q.nack_many([one], ids=[1])


@pytest.mark.parametrize("kind", ["SQLiteAckQueue", "AsyncSQLiteAckQueue"])
def test_all_or_none(kind: str, path: Path) -> None:
    """Where the database refuses one of them, none is acked, and all can be acked later."""
    path.mkdir()
    with open_sql(kind, path) as q, SQLiteAckQueue(path) as other:
        q.put_many("abc")
        items = q.get_many(3)
        connection = other._conn
        connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON ack_queue_default WHEN OLD._id = 3"
            " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        for verb in (q.ack_many, q.nack_many):
            with pytest.raises(PersistQueueError, match="not this one"):
                verb(items)
            assert 3 == q.unack_count()
        connection.execute("DROP TRIGGER no")
        assert [1, 2, 3] == q.ack_many(items)


def test_one_commit_for_all(path: Path) -> None:
    """However many they are, there is one COMMIT."""
    with SQLiteAckQueue(path) as q:
        q.put_many(range(50))
        items = q.get_many(50)
        statements: list[str] = []
        q._conn.set_trace_callback(statements.append)
        q.ack_many(items[:25])
        q.nack_many(items[25:])
        q._conn.set_trace_callback(None)
        assert ["COMMIT"] * 2 == [text for text in statements if text.startswith("COMMIT")]


def test_redis_has_the_verbs_too(
    open_redis: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their answers are numbers, as of its other verbs."""
    with open_redis(path) as q:
        q.put_many("abcd")
        items = q.get_many(4)
        assert 2 == q.ack_many(items[:2])
        assert 2 == q.nack_many(items[2:])
        assert ["c", "d"] == q.get_many(2)
        assert 1 == q.nack_many(["c"], to="back")
        assert [] == said(caplog)
        assert 1 == q.ack_many(["d", "a"])
        assert not q.ack(["d"])
        assert not q.nack("d")
        assert 3 == len(said(caplog))
        assert "c" == q.get(timeout=0)
        with pytest.raises(Empty):
            q.get(timeout=0)
