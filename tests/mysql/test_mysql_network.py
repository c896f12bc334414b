"""What MySQL queues do when a network or a failover leaves them alone with a dead connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_proxy import SILENT, Proxy
from mysql_server import MysqlServer, mysql, new_server, where  # noqa: F401
from proxy import BOTH, TO_CLIENT, TO_SERVER
from proxy import Proxy as AnyProxy
from waiting import Call, until

from persistqueue import (
    AsyncMySQLAckQueue,
    AsyncMySQLQueue,
    Empty,
    MySQLAckQueue,
    MySQLQueue,
    QueueLocked,
    QueueUnreachable,
)
from persistqueue.testing import waiting_calls

PATIENCE = 2.0  # s; the timeout of these queues
LIMIT = PATIENCE + 1.0  # s; what the documentation promises
SLACK = 6.0  # s; the machines are shared

KINDS: dict[str, Any] = {
    "sync": MySQLQueue,
    "async": AsyncMySQLQueue,
    "sync ack": MySQLAckQueue,
    "async ack": AsyncMySQLAckQueue,
}
#: name -> the kind, and further arguments.
QUEUES: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (kind, {}) for name, kind in KINDS.items()},
    "sync late": (MySQLQueue, {"auto_commit": False}),
    "async late": (AsyncMySQLQueue, {"auto_commit": False}),
}


@pytest.fixture
def proxy(mysql: MysqlServer) -> Iterator[Proxy]:
    with Proxy(mysql.port) as proxy:
        yield proxy


def opened(kind: Any, **arguments: Any) -> Any:
    """Open a queue of either family, for blocking calls."""
    if kind.__name__.startswith("Async"):
        return BlockingAsyncQueue(run(kind.create(**arguments)))
    return kind(**arguments)


def in_time(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make a call, which has to be over in the time that is promised."""
    began = time.monotonic()
    try:
        return call(*args, **kwargs)
    finally:
        assert time.monotonic() - began < LIMIT + SLACK


# -- silence --------------------------------------------------------------------------------


def test_calls_go_on_over_new_connections(mysql: MysqlServer) -> None:
    """Where a firewall forgot the old ones; nothing is done twice, and nothing is lost."""

    def attempt(case: tuple[str, tuple[str, ...]]) -> None:
        (kind, options), directions = QUEUES[case[0]], case[1]
        place = mysql.database()
        with Proxy(mysql.port) as proxy:
            q = opened(kind, **proxy.login(place), timeout=PATIENCE, **options)
            finish = q.ack if hasattr(q, "ack") else lambda _: q.task_done()
            q.put("a")
            proxy.swallow(*directions)
            in_time(q.put, "b")
            proxy.swallow(*directions)
            assert "a" == in_time(q.get)
            proxy.swallow(*directions)
            in_time(finish, "a")
            assert "b" == in_time(q.get, timeout=0.1)
            finish("b")
            proxy.swallow(*directions)
            with pytest.raises(Empty):
                in_time(q.get, block=False)
            proxy.swallow(*directions)
            in_time(q.close)
        with opened(kind, **place, **options) as q:
            assert q.empty()

    run(asyncio.sleep(0))  # there is a loop for all threads
    cases = list(product(QUEUES, [(TO_SERVER,), (TO_CLIENT,), BOTH]))
    with ThreadPoolExecutor(len(cases)) as pool:
        assert [None] * len(cases) == list(pool.map(attempt, cases))


@pytest.mark.parametrize("name", QUEUES)
def test_a_waiting_get_goes_on_over_a_new_connection(
    name: str, proxy: Proxy, where: dict[str, Any]
) -> None:
    """It gets what is put while nothing comes over the old one."""
    kind, options = QUEUES[name]
    with (
        opened(kind, **proxy.login(where), timeout=PATIENCE, **options) as q,
        opened(kind, **where, **options) as other,
    ):
        call = Call(q.get)
        until(lambda: waiting_calls(q).parked)
        proxy.swallow()
        other.put("a")
        assert "a" == in_time(call.outcome)


@pytest.mark.parametrize("name", ["sync", "async ack"])
def test_calls_end_when_nothing_answers(name: str, proxy: Proxy, where: dict[str, Any]) -> None:
    """Neither what is connected nor what is new; what is not stored, or not known, is said."""
    q = opened(KINDS[name], **proxy.login(where), timeout=PATIENCE)
    q.put_many("ab")
    assert "a" == q.get()
    proxy.swallow(deaf=True)
    calls: list[Callable[[], Any]] = [lambda: q.put("c"), q.get, lambda: q.get(timeout=0.1)]
    for call in calls:
        with pytest.raises(QueueUnreachable) as caught:
            in_time(call)
        assert caught.value.stored is False
    proxy.up()
    assert "b" == q.get()
    proxy.swallow(deaf=True)
    with pytest.raises(QueueUnreachable):
        in_time(q.get)
    in_time(q.close)


@pytest.mark.parametrize("name", ["sync", "async ack"])
def test_a_commit_that_nobody_answers(name: str, proxy: Proxy, where: dict[str, Any]) -> None:
    """Nobody can know, so that is said; the next call finds out."""
    with opened(KINDS[name], **proxy.login(where), timeout=PATIENCE) as q:
        q.put("a")
        proxy.cut_at("COMMIT", SILENT, down=True)
        with pytest.raises(QueueUnreachable) as caught:
            in_time(q.put, "b")
        assert caught.value.stored is None
        proxy.up()
        assert 1 == q.qsize()
        proxy.cut_at("COMMIT", SILENT)
        in_time(q.put, "c")
        assert ["a", "c"] == [row["data"] for row in q.queue()]


@pytest.mark.parametrize("name", ["sync", "async"])
def test_closing_is_in_time(name: str, proxy: Proxy, where: dict[str, Any]) -> None:
    """Where nothing answers, whoever waits."""
    q = opened(KINDS[name], **proxy.login(where), timeout=PATIENCE)
    call = Call(q.get)
    until(lambda: waiting_calls(q).parked)
    proxy.swallow(deaf=True)
    in_time(q.close)
    with pytest.raises(Exception, match="closed"):
        call.outcome()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_opening_is_in_time(kind: Any, proxy: Proxy, where: dict[str, Any]) -> None:
    proxy.swallow(deaf=True)
    with pytest.raises(QueueUnreachable):
        in_time(opened, kind, **proxy.login(where), timeout=PATIENCE)


def test_a_statement_that_comes_late_does_nothing(proxy: Proxy, where: dict[str, Any]) -> None:
    """It was sent again meanwhile, over a connection that had ended the old one."""
    with MySQLQueue[str](**proxy.login(where), timeout=PATIENCE) as q:
        q.put_many("ab")
        proxy.hold(TO_SERVER)
        assert "a" == q.get()
        proxy.release()
        proxy.hold(TO_SERVER)
        q.put("c")
        proxy.release()
        assert ["b", "c"] == [row["data"] for row in q.queue()]


@pytest.mark.parametrize("name", ["sync", "async ack"])
def test_a_long_item_stalls_on_its_way(
    name: str, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """No more of it is taken: it goes over a new connection, and what had gone does nothing."""
    item = "x" * 7_000_000
    with (
        AnyProxy(mysql.port) as proxy,
        opened(KINDS[name], **{**where, "port": proxy.port}, timeout=2 * PATIENCE) as q,
    ):
        proxy.stall(TO_SERVER)
        q.put(item)
        proxy.stall(TO_SERVER)
        in_time(q.put, "y")
        proxy.release()
        assert [item, "y"] == q.get_many(9)


def test_a_long_item_may_take_longer_than_an_answer(
    mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """It is the rest without progress that has a bound, not the whole way."""
    mysql.run("SET GLOBAL max_allowed_packet = 64 * 1024 * 1024")
    try:
        with (
            AnyProxy(mysql.port) as proxy,
            MySQLQueue[str](**{**where, "port": proxy.port}, timeout=2 * PATIENCE) as q,
        ):
            proxy.pause = 0.032
            began = time.monotonic()
            q.put("x" * 12_000_000)
            assert time.monotonic() - began > 2 * PATIENCE
            proxy.pause = 0.0
            assert 12_000_000 == len(q.get())
    finally:
        mysql.run("SET GLOBAL max_allowed_packet = 16 * 1024 * 1024")


def test_waiting_for_a_lock_is_no_silence(where: dict[str, Any], mysql: MysqlServer) -> None:
    """A lock that is held is told as what it is, at the shortest timeout too."""
    for timeout in (1, 3):
        with MySQLQueue[str](**where, timeout=timeout) as q:
            number = q.put("a")
            with mysql.connect(where["db_name"]) as other:
                other.begin()
                other.cursor().execute(f"UPDATE queue_sql SET data = '' WHERE _id = {number}")
                with pytest.raises(QueueLocked):
                    q.update("b", number)


def test_what_takes_long_to_count_is_counted(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """A server that goes through a whole table may take longer than the timeout."""
    with MySQLQueue[str](**where, timeout=0) as q:
        q.put("a")
        mysql.run("ALTER TABLE queue_sql RENAME TO rows_of_it", database=where["db_name"])
        mysql.run(
            "CREATE VIEW queue_sql AS SELECT * FROM rows_of_it WHERE SLEEP(4) = 0",
            database=where["db_name"],
        )
        assert 1 == q.qsize()


# -- failover -------------------------------------------------------------------------------


@pytest.fixture
def heir() -> Iterator[MysqlServer]:
    """A server of its own, to which an address leads after a failover."""
    server = new_server()
    yield server
    server.stop()


def let_in_plain_user(server: MysqlServer) -> None:
    """Create a database, and a user of it to whom read_only applies."""
    server.run("CREATE DATABASE failover")
    server.run("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'x'")
    server.run("GRANT ALL ON failover.* TO plain@'%'")


@pytest.fixture
def plain_user(mysql: MysqlServer) -> Iterator[dict[str, Any]]:
    """The arguments of a user to whom read_only applies."""
    let_in_plain_user(mysql)
    yield {**mysql.login("failover"), "user": "plain", "passwd": "x"}
    mysql.run("SET GLOBAL read_only = 0")
    mysql.run("DROP DATABASE failover")


def test_a_master_that_was_demoted(
    mysql: MysqlServer,
    heir: MysqlServer,
    proxy: Proxy,
    plain_user: dict[str, Any],
) -> None:
    """Every kind of queue goes to where its address leads by now, with the first call."""
    let_in_plain_user(heir)
    names = list(QUEUES)
    queues = [
        opened(kind, **proxy.login(plain_user), name=name, **options)
        for name, (kind, options) in QUEUES.items()
    ]
    late = [name for name, q in zip(names, queues, strict=True) if not q.auto_commit]
    waiting = opened(MySQLQueue, **proxy.login(plain_user), name="waiting")
    for name, q in zip(names, queues, strict=True):
        q.put(f"old {name}")
        opened(QUEUES[name][0], **heir.login("failover"), name=name).close()  # replicated
        if name in late:
            assert f"old {name}" == q.get()
    call = Call(waiting.get)
    until(lambda: waiting_calls(waiting).parked)
    mysql.run("SET GLOBAL read_only = 1")
    proxy.lead_to(heir.port)
    for name, q in zip(names, queues, strict=True):
        if name in late:
            q.task_done()
        else:
            q.put(f"new {name}")
            assert f"new {name}" == q.get()
    with opened(MySQLQueue, **heir.login("failover"), name="waiting") as other:
        other.put("a")
        assert "a" == call.outcome()
    for q in [*queues, waiting]:
        q.close()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_server_that_still_only_lets_read(
    kind: Any,
    mysql: MysqlServer,
    plain_user: dict[str, Any],
) -> None:
    """An error, when a new connection says the same; each call tries anew."""
    with opened(kind, **plain_user) as q:
        q.put("a")
        mysql.run("SET GLOBAL read_only = 1")
        for _ in range(2):
            with pytest.raises(PermissionError, match="read-only"):
                q.put("b")
            assert 1 == q.qsize()
        mysql.run("SET GLOBAL read_only = 0")
        q.put("c")
        assert ["a", "c"] == [row["data"] for row in q.queue()]
