"""Who is alive: how long a worker of a MySQL ack queue keeps what it holds."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_proxy import Proxy
from mysql_server import MysqlServer, mysql, where  # noqa: F401
from waiting import until

from persistqueue import AsyncMySQLAckQueue, Empty, MySQLAckQueue

KINDS: dict[str, Callable[..., Any]] = {
    "sync": MySQLAckQueue,
    "async": lambda **where: BlockingAsyncQueue(run(AsyncMySQLAckQueue.create(**where))),
}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
SOON = 0.1  # s between two signs of life; 10 s else

SLOW = re.compile("timed out|Lost connection")  # a busy machine


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a queue of each class, whose signs of life come in quick succession."""

    def open_queue(**where: Any) -> Any:
        q = KINDS[request.param](**where)
        q._store.signs = SOON
        return q

    return open_queue


@pytest.fixture
def proxy(mysql: MysqlServer) -> Iterator[Proxy]:
    with Proxy(mysql.port) as proxy:
        yield proxy


def ages(mysql: MysqlServer, where: dict[str, Any]) -> list[int]:
    """Return how many seconds ago each session of a database gave its last sign of life."""
    statement = "SELECT TIMESTAMPDIFF(SECOND, used, NOW()) FROM persistqueue_sessions"
    return [age for (age,) in mysql.run(statement, database=where["db_name"])]


def connections(mysql: MysqlServer, where: dict[str, Any]) -> list[int]:
    """Return the server's numbers of the connections to a database."""
    statement = "SELECT id FROM information_schema.processlist WHERE db = %s ORDER BY id"
    return [number for (number,) in mysql.run(statement, where["db_name"])]


def test_a_worker_whose_connection_was_cut_keeps_what_it_has(
    opened: Any, proxy: Proxy, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """For longer than a minute, if it is at work for so long: it gives signs of life."""
    with opened(**proxy.login(where)) as q:
        q.put("a")
        assert "a" == q.get()
        proxy.cut()
        with opened(**where) as heir:
            assert heir.empty()
            mysql.minute_later(where["db_name"])
            until(lambda: min(ages(mysql, where)) < 30, "a sign of life")
            heir.resume_unack_tasks()
            with pytest.raises(Empty):
                heir.get(block=False)
        assert q.ack("a")


@pytest.mark.parametrize("long", [False, True])
def test_one_that_waits_gets_nothing_of_a_worker_whose_connections_are_cut(
    opened: Any, long: bool, proxy: Proxy, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """A new connection shows that the worker lives, whether or not the old ones were two."""
    with opened(**proxy.login(where)) as q, MySQLAckQueue[str](**where) as heir:
        q.put("a")
        assert "a" == q.get()
        if long:
            until(lambda: len(connections(mysql, where)) == 3)  # one of them gives signs
        for _ in range(3):
            proxy.cut()
            with pytest.raises(Empty):
                heir.get(timeout=1.5)
        assert q.ack("a")


def test_a_worker_of_the_last_release_has_a_minute(
    opened: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """It has one lock, which is free when its connection is cut, and gives a sign each 10 s."""
    with opened(**where) as q:
        q.put("a")
        old = "5" * 32
        mysql.run(
            f"INSERT INTO persistqueue_sessions (id, number) VALUES ('{old}', 1)",
            database=where["db_name"],
        )
        held = f"UPDATE {q._store.table.quoted} SET status = 2, owner = '{old}'"
        mysql.run(held, database=where["db_name"])
        with pytest.raises(Empty):
            q.get(timeout=2.5)
        mysql.minute_later(where["db_name"])
        assert "a" == q.get(timeout=10)


def test_a_handler_that_blocks_its_loop_keeps_what_it_has(
    mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """Signs of life come from a thread of their own."""

    async def main() -> None:
        async with AsyncMySQLAckQueue[str](**where) as q:
            q._store.signs = SOON
            await q.put("a")
            assert "a" == await q.get()
            mysql.minute_later(where["db_name"])
            until(lambda: min(ages(mysql, where)) < 30)  # on the loop
            assert await q.ack("a")

    asyncio.run(main())


def test_a_sign_of_life_that_was_refused_is_given_later(
    opened: Any, mysql: MysqlServer, where: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A server that only lets read for a while ends no renewing, of this object or of others."""
    mysql.run("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'x'")
    mysql.run(f"GRANT ALL ON {where['db_name']}.* TO plain@'%'")
    with opened(**{**where, "user": "plain", "passwd": "x"}) as q:
        q.put("a")
        assert "a" == q.get()
        mysql.run("SET GLOBAL read_only = 1")
        try:
            until(lambda: "cannot be renewed: [Errno 30]" in caplog.text, "a warning")
        finally:
            mysql.run("SET GLOBAL read_only = 0")
        mysql.minute_later(where["db_name"])
        until(lambda: min(ages(mysql, where)) < 30, "a sign of life")
        assert q.ack("a")


def test_a_machine_without_power_keeps_nothing(
    opened: Any, proxy: Proxy, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """The server gives its connection up after minutes; a minute later the items come again."""
    gone = opened(**proxy.login(where), timeout=2)
    gone.put("a")
    assert "a" == gone.get()
    assert 300 == gone._store.conn.one("SELECT @@wait_timeout")
    (number,) = connections(mysql, where)
    proxy.swallow(deaf=True)
    with opened(**where) as q:
        mysql.minute_later(where["db_name"])
        assert not q.resume_unack_tasks()
        assert q.empty()  # its connection is there yet
        mysql.run(f"KILL {number}")
        until(lambda: number not in connections(mysql, where))
        q.resume_unack_tasks()
        assert "a" == q.get(block=False)
    proxy.up()
    assert gone.ack("a") is None
    gone.close()


def test_what_a_dead_worker_held_is_found_while_others_work(
    opened: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """Each minute, by every worker that takes; a worker that does not resume leaves it."""
    dead = MySQLAckQueue[str](**where)
    with opened(**where) as q, opened(**where, auto_resume=False) as shy:
        q.put("a")
        assert "a" == dead.get()
        mysql.run(f"KILL {dead._store.conn.driver.thread_id()}")
        mysql.minute_later(where["db_name"])
        for each, found in ((shy, False), (q, True)):
            if found:
                assert "a" == each.get(timeout=5)
            else:
                with pytest.raises(Empty):
                    each.get(block=False)
    dead.close()


def test_a_worker_that_was_closed_is_dead_at_once(opened: Any, where: dict[str, Any]) -> None:
    """Whatever it had in hand."""
    q = opened(**where)
    q.put("a")
    assert "a" == q.get()
    time.sleep(2 * SOON)
    q.close()
    with opened(**where) as heir:
        assert "a" == heir.get(block=False)


def test_there_is_a_connection_for_signs_of_life_while_anything_is_held(
    opened: Any, mysql: MysqlServer, where: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It goes when nothing is held, and is replaced when it was idle for too long."""
    with opened(**where) as q:
        q.put_many("ab")
        assert "a" == q.get()
        (first,) = connections(mysql, where)[:1]
        until(lambda: len(connections(mysql, where)) == 2)
        second = connections(mysql, where)[1]
        mysql.run(f"KILL {second}")
        until(lambda: connections(mysql, where)[1:] not in ([], [second]))
        assert q.ack("a")
        until(lambda: [first] == connections(mysql, where))
        assert "b" == q.get()
        until(lambda: len(connections(mysql, where)) == 2)
    until(lambda: not connections(mysql, where))
    assert not [said for said in caplog.messages if not SLOW.search(said)]


@needs_fork
def test_a_fork_gives_signs_of_life_of_its_own(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """So does its parent, for what the parent holds."""
    with MySQLAckQueue[str](**where) as q:
        q._store.signs = SOON
        q.put_many("ab")
        assert "a" == q.get()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                assert "b" == q.get()
                mysql.minute_later(where["db_name"])
                until(lambda: [True, True] == [age < 30 for age in ages(mysql, where)])
                status = 0
            finally:
                os._exit(status)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert q.ack("a")


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="a system without the option")
def test_a_connection_is_never_idle_for_a_firewall(opened: Any, where: dict[str, Any]) -> None:
    """The system sends something every half minute; firewalls forget what is idle for minutes."""
    with opened(**where) as q:
        end = q._store.conn.driver._sock
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
