"""Connections that are lost at every point: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_proxy import AFTER, BEFORE, DURING, HOWS, Proxy
from mysql_server import MysqlServer, mysql, where  # noqa: F401

from persistqueue import (
    AsyncMySQLAckQueue,
    AsyncMySQLQueue,
    Empty,
    MySQLAckQueue,
    MySQLQueue,
    QueueUnreachable,
)

COMMIT = "COMMIT"


@pytest.fixture
def proxy(mysql: MysqlServer) -> Iterator[Proxy]:  # noqa: F811
    with Proxy(mysql.port) as proxy:
        yield proxy


def opens(kind: Any, **options: Any) -> Callable[..., Any]:
    """Return what opens a queue, for blocking calls."""

    def open_queue(**where: Any) -> Any:  # noqa: F811
        if kind.__name__.startswith("Async"):
            return BlockingAsyncQueue(run(kind.create(**where, **options)))
        return kind(**where, **options)

    return open_queue


PLAIN = {"sync": opens(MySQLQueue), "async": opens(AsyncMySQLQueue)}
LATE = {
    "sync": opens(MySQLQueue, auto_commit=False), "async": opens(AsyncMySQLQueue, auto_commit=False)
}  # fmt: skip
ACK = {"sync": opens(MySQLAckQueue), "async": opens(AsyncMySQLAckQueue)}


def work_in_a_block(q: Any) -> Any:
    with q.process() as item:
        return item


def fail_in_a_block(q: Any) -> Any:
    with pytest.raises(ZeroDivisionError), q.process() as item:
        1 / 0  # noqa: B018
    return item


def last_id(q: Any) -> int:
    """Return the last row's id: one that a lost transaction had is not given again."""
    number: int = q.queue()[-1]["id"]
    return number


def last_ids(q: Any) -> list[int]:
    return [row["id"] for row in q.queue()[-2:]]


#: name -> what opens the queue, whether "a" is taken first, the call, what it returns, and
#: what is in the table then: data, and for an ack queue the status.
OPS: dict[str, tuple[dict[str, Any], bool, Callable[[Any], Any], Any, list[Any]]] = {
    "put": (PLAIN, False, lambda q: q.put("c"), last_id, ["a", "b", "c"]),
    "put_many": (PLAIN, False, lambda q: q.put_many("cd"), last_ids, ["a", "b", "c", "d"]),
    "get": (PLAIN, False, lambda q: q.get(), "a", ["b"]),
    "get_many": (PLAIN, False, lambda q: q.get_many(2), ["a", "b"], []),
    "get by id": (PLAIN, False, lambda q: q.get(id=2), "b", ["a"]),
    "update": (PLAIN, False, lambda q: q.update("A", 1), 1, ["A", "b"]),
    "process": (PLAIN, False, work_in_a_block, "a", ["b"]),
    "process that fails": (PLAIN, False, fail_in_a_block, "a", ["a", "b"]),
    "late get": (LATE, False, lambda q: q.get(), "a", ["a", "b"]),
    "task_done": (LATE, True, lambda q: q.task_done(), None, ["b"]),
    "late process": (LATE, False, work_in_a_block, "a", ["b"]),
    "ack get": (ACK, False, lambda q: q.get(), "a", [("a", 2), ("b", 0)]),
    "ack": (ACK, True, lambda q: q.ack("a"), 1, [("a", 5), ("b", 0)]),
    "nack": (ACK, True, lambda q: q.nack("a"), 1, [("a", 1), ("b", 0)]),
    "nack to the back": (ACK, True, lambda q: q.nack("a", to="back"), last_id, [("b", 0), ("a", 1)]),
    "ack_failed": (ACK, True, lambda q: q.ack_failed("a"), 1, [("a", 9), ("b", 0)]),
    "ack process": (ACK, False, work_in_a_block, "a", [("a", 5), ("b", 0)]),
    "ack process that fails": (ACK, False, fail_in_a_block, "a", [("a", 1), ("b", 0)]),
    "clear": (ACK, False, lambda q: q.clear_acked_data(), 0, [("a", 0), ("b", 0)]),
}


def prepared(open_queue: Any, where: dict[str, Any], takes: bool, name: str) -> Any:  # noqa: F811
    """Return a queue that holds a and b, of which a may be taken."""
    q = open_queue(**where, name=name, timeout=1)
    q.put_many("ab")
    if takes:
        assert "a" == q.get()
    return q


def stored(q: Any) -> list[Any]:
    """Return what is in the table."""
    return [(row["data"], row["status"]) if "status" in row else row["data"] for row in q.queue()]


def shortcoming(
    op: str, proxy: Proxy, where: dict[str, Any], family: str, cuts: list[tuple[int, str]]
) -> bool:
    """Do ``op`` while the connection is cut; return whether all cuts happened."""
    kinds, takes, call, result, rows = OPS[op]
    name = f"{op} {cuts}"
    with closing(prepared(kinds[family], proxy.login(where), takes, name)) as q:
        count = len(proxy.done)
        for skip, how in cuts:
            proxy.cut(how=how, skip=skip)
        got = call(q)
        proxy.cancel()
        happened = len(proxy.done) - count == len(cuts)
        expected = result(q) if callable(result) else result
        assert (expected, rows) == (got, stored(q)), (op, cuts)
        if kinds is not LATE:  # where one item is out, the other is next
            left = [row if isinstance(row, str) else row[0] for row in rows]
            if kinds is ACK:
                left = [item for item, status in rows if status < 2]
            assert sorted(left) == sorted(q.get_many(9) if left else []), (op, cuts)
        with pytest.raises(Empty):
            for _ in range(3):
                q.get_nowait()
    return happened


@pytest.mark.parametrize("family", ["async", "sync"])
@pytest.mark.parametrize("op", OPS)
def test_a_connection_is_lost_at_any_command(
    op: str, family: str, proxy: Proxy, where: dict[str, Any]  # noqa: F811
) -> None:
    """Whichever command of a call the connection is lost at, and how: the call is done, once."""
    for how in HOWS:
        number = 0
        while shortcoming(op, proxy, where, family, [(number, how)]):
            number += 1
        assert number >= 2, "so many commands at least"


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_the_connection_is_lost_again(op: str, proxy: Proxy, where: dict[str, Any]) -> None:  # noqa: F811
    """The same when the connection that replaces it is lost as well, at any command."""
    for first in HOWS:
        for second in (BEFORE, AFTER):
            one = 0
            while shortcoming(op, proxy, where, "sync", [(one, first)]):
                two = 0
                while shortcoming(op, proxy, where, "sync", [(one, first), (two, second)]):
                    two += 1
                one += 1


