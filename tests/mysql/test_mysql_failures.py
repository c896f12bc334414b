"""Connections that are lost at every point: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_proxy import AFTER, BEFORE, DURING, HOWS, Proxy
from mysql_server import MysqlServer, mysql, where  # noqa: F401
from waiting import PATIENCE, Call, Interrupt, until

from persistqueue import (
    AsyncMySQLAckQueue,
    AsyncMySQLQueue,
    Empty,
    ItemTooLarge,
    MySQLAckQueue,
    MySQLQueue,
    QueueLocked,
    QueueUnreachable,
)
from persistqueue.testing import waiting_calls

COMMIT = "COMMIT"
NUMBERS = count()


@pytest.fixture
def proxy(mysql: MysqlServer) -> Iterator[Proxy]:
    with Proxy(mysql.port) as proxy:
        yield proxy


def opens(kind: Any, **options: Any) -> Callable[..., Any]:
    """Return what opens a queue, for blocking calls."""

    def open_queue(**where: Any) -> Any:
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
    with pytest.raises(Interrupt), q.process() as item:
        raise Interrupt
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
    "nack to the back": (
        ACK,
        True,
        lambda q: q.nack("a", to="back"),
        last_id,
        [("b", 0), ("a", 1)],
    ),
    "ack_failed": (ACK, True, lambda q: q.ack_failed("a"), 1, [("a", 9), ("b", 0)]),
    "ack process": (ACK, False, work_in_a_block, "a", [("a", 5), ("b", 0)]),
    "ack process that fails": (ACK, False, fail_in_a_block, "a", [("a", 1), ("b", 0)]),
    "clear": (ACK, False, lambda q: q.clear_acked_data(), 0, [("a", 0), ("b", 0)]),
}


def prepared(
    open_queue: Any, where: dict[str, Any], takes: bool, name: str, timeout: float = PATIENCE
) -> Any:
    """Return a queue that holds a and b, of which a may be taken."""
    q = open_queue(**where, name=name, timeout=timeout)
    q.put_many("ab")
    if takes:
        assert "a" == q.get()
    return q


def let_in(call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns when the server has let go of what a lost connection locked.

    A server that has much to do needs longer for that than the timeout of these queues, which
    is short because they wait for it while the server is away.
    """
    results: list[Any] = []

    def returns() -> bool:
        with suppress(QueueLocked, QueueUnreachable):
            results.append(call())
        return bool(results)

    until(returns)
    return results[0]


def stored(q: Any) -> list[Any]:
    """Return what is in the table."""
    return [(row["data"], row["status"]) if "status" in row else row["data"] for row in q.queue()]


def shortcoming(
    op: str, proxy: Proxy, where: dict[str, Any], family: str, cuts: list[tuple[int, str]]
) -> bool:
    """Do ``op`` while the connection is cut; return whether all cuts happened."""
    kinds, takes, call, result, rows = OPS[op]
    name = f"{op} {next(NUMBERS)}"
    with closing(prepared(kinds[family], proxy.login(where), takes, name)) as q:
        before = len(proxy.done)
        for skip, how in cuts:
            proxy.cut_at(how=how, skip=skip)
        got = call(q)
        proxy.cancel()
        happened = len(proxy.done) - before == len(cuts)
        expected = result(q) if callable(result) else result
        assert (expected, rows) == (got, stored(q)), (op, cuts)
        if kinds is not LATE:  # where one item is out, the other is next
            left = [row if isinstance(row, str) else row[0] for row in rows]
            if kinds is ACK:
                left = [item for item, status in rows if status < 2]
            assert sorted(left) == sorted(q.get_many(9) if left else []), (op, cuts)
        while kinds is LATE and not q.empty():
            q.get_nowait()
        with pytest.raises(Empty):
            q.get_nowait()
    return happened


CASES = [("sync", op) for op in OPS] + [
    pytest.param("async", op, marks=[] if op in ("put", "get", "ack process") else pytest.mark.slow)
    for op in OPS
]


@pytest.mark.parametrize(("family", "op"), CASES)
def test_a_connection_is_lost_at_any_command(
    op: str,
    family: str,
    proxy: Proxy,
    where: dict[str, Any],
) -> None:
    """Whichever command of a call the connection is lost at, and how: the call is done, once."""
    for how in HOWS:
        number = 0
        while shortcoming(op, proxy, where, family, [(number, how)]):
            number += 1
        assert number >= 2, "so many commands at least"


@pytest.mark.slow
@pytest.mark.parametrize("op", ["put_many", "get", "task_done", "ack get", "nack to the back"])
def test_the_connection_is_lost_again(op: str, proxy: Proxy, where: dict[str, Any]) -> None:
    """The same when the connection that replaces it is lost as well, at any command."""
    for first in HOWS:
        for second in (BEFORE, AFTER):
            one = 0
            while shortcoming(op, proxy, where, "sync", [(one, first)]):
                two = 0
                while shortcoming(op, proxy, where, "sync", [(one, first), (two, second)]):
                    two += 1
                one += 1


# -- nobody can know ----------------------------------------------------------------

#: op -> what is stored when the commit came to nothing, and when it was stored.
DOUBTS: dict[str, tuple[list[Any], list[Any]]] = {
    "put": (["a", "b"], ["a", "b", "c"]),
    "put_many": (["a", "b"], ["a", "b", "c", "d"]),
    "get": (["a", "b"], ["a", "b"]),
    "get_many": (["a", "b"], ["a", "b"]),
    "get by id": (["a", "b"], ["a", "b"]),
    "update": (["a", "b"], ["A", "b"]),
    "process": (["a", "b"], ["a", "b"]),
    "task_done": (["a", "b"], ["b"]),
    "ack get": ([("a", 0), ("b", 0)], [("a", 1), ("b", 0)]),
    "ack": ([("a", 2), ("b", 0)], [("a", 5), ("b", 0)]),
    "nack": ([("a", 2), ("b", 0)], [("a", 1), ("b", 0)]),
    "nack to the back": ([("a", 2), ("b", 0)], [("b", 0), ("a", 1)]),
    "ack process": ([("a", 0), ("b", 0)], [("a", 1), ("b", 0)]),
}


def doubt(op: str, how: str, server: MysqlServer, where: dict[str, Any], family: str) -> None:
    """Lose the server in the middle of the commit of ``op``, and find it again."""
    kinds, takes, call, _, _ = OPS[op]
    with Proxy(server.port) as proxy:
        q = prepared(kinds[family], proxy.login(where), takes, f"{op} {how}", timeout=3)
        with closing(q):
            proxy.cut_at(COMMIT, how, down=True)
            with pytest.raises(QueueUnreachable, match="not known") as caught:
                call(q)
            assert caught.value.stored is None
            proxy.up()
            assert (2 if not takes else 1) <= let_in(q.qsize) + (how == AFTER)  # this finds out
            assert DOUBTS[op][how == AFTER] == stored(q), (op, how)
            if op == "ack":  # once more is harmless
                assert q.ack("a") in (1, None)
                assert ("a", 5) == stored(q)[0]


@pytest.mark.parametrize("family", ["async", "sync"])
def test_the_server_is_gone_in_the_middle_of_a_commit(
    family: str,
    mysql: MysqlServer,
    where: dict[str, Any],
) -> None:
    """The caller is told that nobody knows; what a get took and nobody saw is given back."""
    run(asyncio.sleep(0))  # the loop is there before the threads
    cases = [(op, how) for op in DOUBTS for how in (BEFORE, AFTER)]
    with ThreadPoolExecutor(len(cases)) as pool:
        runs = [pool.submit(doubt, op, how, mysql, where, family) for op, how in cases]
        for each in runs:
            each.result()


@pytest.mark.parametrize("how", [BEFORE, DURING])
def test_the_server_is_gone_before_a_commit(how: str, proxy: Proxy, where: dict[str, Any]) -> None:
    """A put that did not come as far as its commit is not stored, and says so."""
    with MySQLQueue[str](**proxy.login(where), timeout=1) as q:
        proxy.cut_at("INSERT", how, down=True)
        with pytest.raises(QueueUnreachable) as caught:
            q.put("a")
        assert caught.value.stored is False
        proxy.up()
        assert let_in(q.empty)
        let_in(lambda: q.put("b"))
        assert ["b"] == stored(q)


def test_a_doubt_that_is_resolved_is_resolved_once(proxy: Proxy, where: dict[str, Any]) -> None:
    """The connection that gives back is lost at each of its commands: still nothing comes twice."""
    for skip in range(40):
        with MySQLQueue[str](**proxy.login(where), name=str(skip), timeout=PATIENCE) as q:
            q.put_many("ab")
            proxy.cut_at(COMMIT, AFTER)
            proxy.cut_at(how=AFTER, skip=skip)
            assert "a" == q.get()
            happened = len(proxy.done) == 2
            proxy.cancel()
            proxy.done.clear()
            assert ["b"] == stored(q)
            assert "b" == q.get()
        if not happened:
            break
    else:
        pytest.fail("the second cut happened each time")


ALIVE = "SELECT id FROM information_schema.processlist WHERE id = %s"


@pytest.mark.parametrize("second", [BEFORE, AFTER])
def test_the_server_is_gone_again_while_it_is_found_out(
    second: str,
    mysql: MysqlServer,
    where: dict[str, Any],
) -> None:
    """What a get took comes back once, at whichever command of the finding out it is lost."""

    def attempt(skip: int) -> bool:
        with Proxy(mysql.port) as proxy:
            with MySQLQueue[str](**proxy.login(where), name=f"{second}{skip}", timeout=3) as q:
                q.put_many("ab")
                first = q._store.conn.driver.thread_id()
                proxy.cut_at(COMMIT, AFTER, down=True)
                with pytest.raises(QueueUnreachable):
                    q.get()
                until(lambda: not mysql.run(ALIVE, first))  # nor holds any lock
                proxy.up()
                proxy.cut_at(how=second, skip=skip)
                assert 2 == q.qsize()
                proxy.cancel()
                assert ["a", "b"] == stored(q)
                return len(proxy.done) == 2

    with ThreadPoolExecutor(30) as pool:
        happened = list(pool.map(attempt, range(30)))
    assert True in happened
    assert not happened[-1], "each of the commands was reached"


# -- the server ---------------------------------------------------------------------


class OnceUnreadable:
    """A serializer that cannot read ``bad`` the first time."""

    def __init__(self) -> None:
        self.tried = False

    def dumps(self, item: str) -> bytes:
        return item.encode()

    def loads(self, encoded: bytes) -> str:
        if encoded == b"bad" and not self.tried:
            self.tried = True
            raise ValueError(encoded)
        return encoded.decode()


def test_an_error_of_a_batch_that_is_begun_again(proxy: Proxy, where: dict[str, Any]) -> None:
    """What became of a call is what the last try says, not what one did that was undone."""

    async def main() -> None:
        where["serializer"] = OnceUnreadable()
        async with AsyncMySQLQueue[str](**proxy.login(where)) as q:
            await q.put("bad")
            proxy.cut_at("INSERT INTO `queue")
            # The first call goes alone, the other two together.
            calls = (q.qsize(), q.get(), q.put("b"))
            assert [1, "bad", 2] == await asyncio.gather(*calls)
            assert proxy.done
            assert "b" == await q.get()

    asyncio.run(main())


def test_losses_while_a_batch_is_taken_apart(
    proxy: Proxy, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """A put whose neighbour was at fault is stored, however often its turn is begun again."""
    narrow = (
        "CREATE TABLE queue_sql (_id INT PRIMARY KEY AUTO_INCREMENT, data BLOB, timestamp FLOAT)"
    )
    mysql.run(narrow, database=where["db_name"])

    async def main() -> None:
        async with AsyncMySQLQueue[Any](**proxy.login(where)) as q:
            await q.qsize()
            for _ in range(2):
                proxy.cut_at("INSERT INTO `queue")
            calls = (q.qsize(), q.put(b"x" * 70_000), q.put("b"))
            _, error, number = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(error, ItemTooLarge)
            assert 2 == len(proxy.done)
            assert [(number, "b")] == [(row["id"], row["data"]) for row in await q.queue()]

    asyncio.run(main())


def test_an_idle_connection_is_closed_by_the_server(
    mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """KILL by an administrator: the next call does not notice."""
    with MySQLQueue[str](**where) as q, MySQLAckQueue[str](**where) as acks:
        for each in (q, acks):
            each.put("a")
            for _ in range(5):
                mysql.run(f"KILL {each._store.conn.driver.thread_id()}")
                each.put("b")
                mysql.run(f"KILL {each._store.conn.driver.thread_id()}")
                assert each.get() in ("a", "b")
            assert 1 == each.qsize()


def test_held_items_outlive_their_connection(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """What an object holds stays its own when its connection is replaced."""
    with MySQLAckQueue[str](**where) as q:
        q.put("a")
        assert "a" == q.get()
        mysql.run(f"KILL {q._store.conn.driver.thread_id()}")
        assert 0 == q.qsize()  # connected again
        with MySQLAckQueue[str](**where) as other:
            assert 0 == other.qsize()
        assert 1 == q.ack("a")


@pytest.mark.parametrize("family", PLAIN)
def test_a_waiting_get_outlives_an_absence(
    family: str, proxy: Proxy, where: dict[str, Any]
) -> None:
    """It goes on, though a call that cannot wait so long says that nobody is there."""
    with PLAIN[family](**proxy.login(where), timeout=1) as q, MySQLQueue[str](**where) as other:
        call = Call(q.get)
        until(lambda: waiting_calls(q).parked)
        proxy.down()
        for _ in range(3):  # behind the first the get would have had its turn
            with pytest.raises(QueueUnreachable):
                q.put("a", timeout=0)
        assert call.is_alive()
        proxy.up()
        other.put("x")
        assert "x" == call.outcome()


@pytest.mark.parametrize("kind", [MySQLQueue, MySQLAckQueue])
def test_a_waiting_get_outlives_its_connection(
    kind: Any,
    mysql: MysqlServer,
    where: dict[str, Any],
) -> None:
    """A get that waits when the connection is lost gets what is put afterwards."""
    with kind(**where) as q, kind(**where) as other:
        get = Call(q.get)
        until(lambda: waiting_calls(q).parked)
        mysql.run(f"KILL {q._store.conn.driver.thread_id()}")
        other.put("a")
        assert "a" == get.outcome()
