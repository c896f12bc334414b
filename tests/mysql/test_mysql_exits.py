"""Ctrl-C, cancelled tasks, forks and loops that end, over a server."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from interrupts import interrupted
from loops import in_loop
from mysql_server import MysqlServer, mysql, where  # noqa: F401

from persistqueue import AsyncMySQLAckQueue, AsyncMySQLQueue, MySQLAckQueue, MySQLQueue

pymysql = pytest.importorskip("pymysql")
_DRIVER = str(Path(pymysql.__file__).parent)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def data(q: Any) -> list[Any]:
    return [row["data"] for row in q.queue()]


# -- Ctrl-C -------------------------------------------------------------------------


CALLS: dict[str, Any] = {
    "put": (MySQLQueue, lambda q: q.put("c"), [["a", "b"], ["a", "b", "c"]]),
    "put_many": (MySQLQueue, lambda q: q.put_many("cd"), [["a", "b"], ["a", "b", "c", "d"]]),
    "get": (MySQLQueue, lambda q: q.get(), [["a", "b"]]),
    "peek": (MySQLQueue, lambda q: q.peek(), [["a", "b"]]),
    "qsize": (MySQLQueue, lambda q: q.qsize(), [["a", "b"]]),
    "queue": (MySQLQueue, lambda q: q.queue(), [["a", "b"]]),
    "ack get": (MySQLAckQueue, lambda q: q.get(), [["a", "b"]]),
}


# The driver's destructors, of objects whose constructors were interrupted; and the socket that
# it was connecting, which it leaves to the collector.
@pytest.mark.filterwarnings("ignore:.*_force_close:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*MySQLResult.__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("moments", [23, pytest.param(1, marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_at_every_moment(name: str, moments: range, where: dict[str, Any]) -> None:
    """Also in the middle of the driver's talk: done or not, and the queue goes on as it should."""
    kind, call, outcomes = CALLS[name]
    with kind(**where, timeout=2) as q:
        for k in moments:
            q.put_many("ab")
            hit, _ = interrupted(k, lambda: call(q), _DRIVER)
            if not hit:
                break
            assert data(q) in outcomes, k
            left = outcomes[-1] if q.qsize() == len(outcomes[-1]) else outcomes[0]
            assert left == q.get_many(9), k
            assert q.empty(), k
            if kind is MySQLAckQueue:
                for item in left:
                    assert q.ack(item), k
                q.clear_acked_data(keep_latest=0)
        else:
            pytest.fail("the call never came to its end")
        assert k > 50


# -- cancelled tasks ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [AsyncMySQLQueue, AsyncMySQLAckQueue])
def test_a_storm_of_cancellations_loses_nothing(kind: Any, where: dict[str, Any]) -> None:
    """Gets and puts with tiny timeouts: what was returned and what is left are what was put."""
    chance = random.Random(5)

    @in_loop
    async def main() -> None:
        stored: list[int] = []
        got: list[int] = []
        doubtful: set[int] = set()

        async def agent(number: int) -> None:
            for step in range(25):
                patience = chance.choice([0, 0.0002, 0.001, 0.003, 0.02, 5])
                item = number * 1000 + step
                with suppress(asyncio.TimeoutError, asyncio.QueueEmpty):
                    if chance.random() < 0.6:
                        doubtful.add(item)
                        await asyncio.wait_for(q.put(item), patience)
                        stored.append(item)
                    else:
                        taken = await asyncio.wait_for(q.get(), patience)
                        got.append(taken)
                        if hasattr(q, "ack"):
                            await q.ack(taken)

        async with kind(**where) as q:
            await asyncio.gather(*map(agent, range(12)))
            while not await q.empty():
                got.append(await q.get())
        assert len(got) == len(set(got)), "twice"
        assert set(stored) <= set(got) <= doubtful

    main()


def test_asyncio_run_ends_in_the_middle(where: dict[str, Any]) -> None:
    """Tasks that are cancelled by the end of the loop give back what they took; a new loop goes on."""
    q: AsyncMySQLQueue[int] = AsyncMySQLQueue(**where)

    async def first() -> None:
        await q.put_many(range(20))
        for _ in range(8):
            asyncio.get_running_loop().create_task(q.get())
        await asyncio.sleep(0)

    async def second() -> list[int]:
        items = await q.get_many(99)
        await q.close()
        return items

    asyncio.run(first())
    assert list(range(20)) == asyncio.run(second())


def test_an_object_that_nobody_closes(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """Dropped without close, with items in it: its connection goes, and nothing is lost."""

    async def use() -> None:
        q: AsyncMySQLQueue[str] = AsyncMySQLQueue(**where)
        await q.put("a")
        del q
        gc.collect()

    asyncio.run(use())
    with MySQLQueue[str](**where) as q:
        assert "a" == q.get()


# -- forks --------------------------------------------------------------------------


def child(work: Any) -> None:
    """Run ``work`` in a forked child, and see that it went well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_fork
@pytest.mark.parametrize("options", [{}, {"auto_commit": False}], ids=["at once", "late"])
def test_parent_and_child_go_on(options: Any, where: dict[str, Any]) -> None:
    """Each has a connection of its own after a fork; what the parent took is the parent's."""
    with MySQLQueue[int](**where, **options) as q:
        q.put_many(range(4))
        assert 0 == q.get()
        q.queue()  # the pool is in use, too

        def work() -> None:
            q.put(4)
            assert len(q.queue()) in (4, 5)
            if not options:
                assert 1 == q.get()
            q.close()

        child(work)
        assert [1, 2, 3, 4][not options :] == q.get_many(9)
        q.put(5)
        assert 5 == q.get()


@needs_fork
def test_the_child_of_an_ack_queue_is_another_worker(
    mysql: MysqlServer,
    where: dict[str, Any],
) -> None:
    """It does not hold what its parent holds, and what it holds comes back when it is gone."""
    with MySQLAckQueue[int](**where) as q:
        q.put_many(range(3))
        assert 0 == q.get()

        def work() -> None:
            assert 1 == q.get()
            assert q.ack(1)
            assert 2 == q.get()  # and dies

        child(work)
        mysql.minute_later(where["db_name"])
        with MySQLAckQueue[int](**where) as other:
            assert 2 == other.get()
            assert other.empty()
        assert q.ack(0)


@needs_fork
def test_a_fork_of_an_asyncio_program(where: dict[str, Any]) -> None:
    """What the child puts is stored, whatever its parent does meanwhile."""
    q: AsyncMySQLQueue[str] = AsyncMySQLQueue(**where)

    async def put(item: str) -> None:
        await q.put(item)

    asyncio.run(put("a"))
    child(lambda: asyncio.run(put("b")))

    async def rest() -> list[str]:
        await q.put("c")
        items = await q.get_many(9)
        await q.close()
        return items

    assert ["a", "b", "c"] == asyncio.run(rest())
