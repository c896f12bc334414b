"""Names of persist-queue 1.1.0's ``MySQLQueue`` that its documentation does not show."""

from __future__ import annotations

from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_server import mysql, where  # noqa: F401
from waiting import Call

from persistqueue import AsyncMySQLAckQueue, MySQLAckQueue, MySQLQueue, sqlbase
from persistqueue.mysqlqueue import MySQLConn
from persistqueue.serializers import pickle


def test_names(where: dict[str, Any]) -> None:
    """Counts, locks, the event and the cursor are those of the SQLite queues."""
    with MySQLQueue[str](**where, auto_commit=False) as q:
        q.total = q._count()
        assert not q.put_event.is_set()
        waiting = Call(q.put_event.wait, 10)
        with q.tran_lock, q.action_lock, q.tran_lock:
            q.put("a")
        assert waiting.outcome()
        assert (1, 1, 0) == (q._count(), q.total, q.cursor)
        assert "a" == q.get()
        assert q.cursor > 0
        q.cursor = 0
        assert "a" == q.get()


def test_connections(where: dict[str, Any]) -> None:
    """``_getter`` and ``_putter`` take connections of the pool; one is enough for them."""
    with MySQLQueue[str](**where, max_connections=1) as q:
        q.put("a")
        assert q._getter is q._putter
        assert (1,) == q._getter.execute(f"SELECT COUNT(*) FROM {q._table_name}").fetchone()
        with q._putter as connection:
            cursor = connection.cursor()
            cursor.execute(f"DELETE FROM {q._table_name}")
            cursor.close()
        q._putter.commit()
        assert 0 == q.qsize()
        q._putter.close()
        q._putter.close()
        q._putter.commit()  # does nothing
        own = MySQLConn(conn=q.get_pooled_conn())
        own.execute(
            f"INSERT INTO {q._table_name} (data, timestamp) VALUES (%s, 1)", (pickle.dumps("b"),)
        ).close()
        own.commit()
        own.close()
        assert "b" == q.get(block=False)


def test_statements_of_a_subclass(where: dict[str, Any]) -> None:
    """The decorator runs a statement on a connection of the pool, and gives it back."""

    class Mine(MySQLQueue[Any]):
        _TABLE_NAME = "mine"

        def _init(self) -> None:
            super()._init()
            self.opened = self._count()

        @sqlbase.with_conditional_transaction
        def add(self, item: Any) -> Any:
            return f"INSERT INTO {self._table_name} (data, timestamp) VALUES (%s, 1)", (item,)

        @sqlbase.with_conditional_transaction
        def fail(self) -> Any:
            return "NO STATEMENT", ()

    with Mine(**where, max_connections=1) as q:
        for item in ("a", "b"):
            assert q.add(pickle.dumps(item)) > 0
        with pytest.raises(Exception, match="SQL syntax"):
            q.fail()
        assert (0, ["a", "b"]) == (q.opened, q.get_many(9))
        assert "mine_" in q._table_name


@pytest.mark.parametrize("options", [{"auto_commit": True}, {"auto_commit": False}])
def test_counting_sees_what_others_did(where: dict[str, Any], options: dict[str, Any]) -> None:
    """However often it was asked before, ``qsize`` is what the table holds by now."""
    with MySQLQueue[str](**where, **options) as q, MySQLQueue[str](**where) as other:
        q.put_many(["a", "b", "c"])
        assert [3, 3] == [q.qsize(), q.qsize()]
        other.get()
        assert (2, 2) == (q.qsize(), q.unfinished_tasks)
        connection = q.get_pooled_conn()
        connection.cursor().execute(f"DELETE FROM {q._table_name} ORDER BY _id LIMIT 1")
        connection.commit()
        connection.close()
        assert (1, 1) == (q.qsize(), q.unfinished_tasks)


@pytest.mark.parametrize("kind", [MySQLAckQueue, AsyncMySQLAckQueue])
def test_resuming_by_force(where: dict[str, Any], kind: Any) -> None:
    """What a living object holds is left to it, or taken by force."""

    def opened() -> Any:
        return (
            kind(**where)
            if kind is MySQLAckQueue
            else BlockingAsyncQueue(run(kind.create(**where)))
        )

    first, second = opened(), opened()
    first.put("a")
    item = first.get()
    second.resume_unack_tasks()
    assert 1 == second.unack_count()
    second.resume_unack_tasks(force=True)
    assert "a" == second.get()
    assert first.ack(item) is None
    assert 1 == second.unack_count()
    first.close()
    second.close()
