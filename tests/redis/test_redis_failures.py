"""What Redis queues do when the server, the network or the caller fails."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from families import run
from guardian import free_port
from loops import in_loop, parked
from redis_queues import Open, queue_fixture  # noqa: F401
from redis_server import Server, redis_fixture, shared, start  # noqa: F401
from turns import TURNS
from waiting import Call, until

from persistqueue import (
    AsyncRedisQueue,
    FormatError,
    NotEnoughReplicas,
    PersistQueueError,
    QueueUnreachable,
    RedisPool,
    RedisQueue,
    RedisUniqueQueue,
    ServerOutOfMemory,
    ServerRefused,
    serializers,
)
from persistqueue.testing import waiting_calls


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which stores what it acknowledges."""
    server = start(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


# -- the server goes and comes --------------------------------------------------------------


def test_a_server_that_was_started_again_is_found(open_queue: Open, server: Server) -> None:
    """Calls go on as if nothing had been; what was held can be finished."""
    with open_queue("jobs", server.url) as q:
        q.put_many("abc")
        assert "a" == q.get()
        server.kill()
        server.start()
        q.put("d")
        q.ack("a")
        server.kill()
        server.start()
        assert list("bcd") == q.get_items(9)


def test_a_waiting_get_outlives_a_restart(open_queue: Open, server: Server) -> None:
    """It takes what comes when the server is there again."""
    with open_queue("jobs", server.url) as q:
        call = Call(q.get, timeout=15)
        until(lambda: waiting_calls(q).parked)
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.lpush("jobs", "x")
        assert "x" == call.outcome()


@pytest.mark.slow  # calls wait 10 s for a server that is away; this get waits for longer
def test_a_waiting_get_outlives_a_long_absence(open_queue: Open, server: Server) -> None:
    """Whatever becomes of other calls, and also when it is time to look for what is overdue."""
    with open_queue("jobs", server.url, lease=4) as q:
        call = Call(q.get, timeout=60)
        until(lambda: waiting_calls(q).parked)
        server.kill()
        with pytest.raises(QueueUnreachable):
            q.put("a", timeout=0)
        call.join(13)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.lpush("jobs", "x")
        assert "x" == call.outcome()


def test_without_a_server_there_is_an_error_that_says_so(open_queue: Open, tmp_path: Path) -> None:
    """It names the server, and is a ConnectionError as well."""
    port = free_port()
    with pytest.raises(QueueUnreachable, match=f"127.0.0.1:{port}") as caught:
        open_queue("jobs", f"redis://127.0.0.1:{port}")
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.stored is False


def test_a_put_says_when_nobody_knows(open_queue: Open, server: Server) -> None:
    """When its answer is lost ``stored`` is None; the other verbs are just repeated."""
    with open_queue("jobs", server.url + "?socket_timeout=0.2") as q:
        q.put("a")
        server.freeze()
        with pytest.raises(QueueUnreachable) as caught:
            q.put("b")
        assert caught.value.stored is None
        server.thaw()
        assert ["a", "b"] == q.get_items(9)  # it was stored, this time
        q.ack_many("ab")


def test_a_take_whose_answer_was_lost_loses_nothing(open_queue: Open, server: Server) -> None:
    """What it took is found in its list."""
    with open_queue("jobs", server.url + "?socket_timeout=0.2") as q:
        q.put_many("abc")
        server.freeze()
        with pytest.raises(QueueUnreachable):
            q.get_items(2)
        server.thaw()
        assert list("abc") == q.get_items(9)


def test_a_settle_whose_answer_was_lost_may_be_repeated(open_queue: Open, server: Server) -> None:
    """The item counts as held until it is known to be finished."""
    with open_queue("jobs", server.url + "?socket_timeout=0.2") as q:
        q.put_many("ab")
        assert ["a", "b"] == q.get_items(2)
        server.freeze()
        with pytest.raises(QueueUnreachable):
            q.ack("a")
        server.thaw()
        assert q.ack("a")
        assert q.nack("b")
        assert ["b"] == q.get_items(9)


MOMENT = 5.0  # s; a call waits 10 s for a server that is away, a close 1 s


def closed_after(q: Any) -> float:
    """Close a queue and return the seconds that it took."""
    began = time.monotonic()
    q.close()
    return time.monotonic() - began


@pytest.mark.parametrize("away", ["killed", "frozen"])
def test_closing_without_a_server_is_no_error(
    open_queue: Open, server: Server, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was held comes again after its lease; that is logged, and takes a moment only."""
    q = open_queue("jobs", server.url)
    q.put("a")
    q.get()
    if away == "killed":
        server.kill()
    else:
        server.freeze()
    assert closed_after(q) < MOMENT
    assert "comes again after its lease" in caplog.text
    if away == "killed":
        server.start()
    else:
        server.thaw()
    with open_queue("jobs", server.url) as q:
        q.re_enqueue_all_items()
        assert "a" == q.get()


def test_closing_ends_the_wait_for_a_server(open_queue: Open, server: Server) -> None:
    """A put that cannot begin says so: nothing of it is stored."""
    q = open_queue("jobs", server.url)
    server.kill()
    # A connection that has just answered is not looked at again: the put would be on its way.
    until(lambda: time.monotonic() - q._store._link._heard > 0.1)
    put = Call(q.put, "a")
    until(lambda: q._store._lost)
    assert closed_after(q) < MOMENT
    with pytest.raises(QueueUnreachable) as caught:
        put.outcome()
    assert caught.value.stored is False


def test_closing_gives_back_when_the_server_is_there_again(
    open_queue: Open, server: Server
) -> None:
    """Also if the last call had not found it."""
    q = open_queue("jobs", server.url)
    q.put_many("ab")
    assert "a" == q.get()
    server.kill()
    with pytest.raises(QueueUnreachable):
        q.get(timeout=0)
    server.start()
    q.close()
    with open_queue("jobs", server.url) as q:
        assert ["a", "b"] == q.get_items(9)


# -- the server says no ---------------------------------------------------------------------


def test_out_of_memory_stores_nothing(open_queue: Open, tmp_path: Path) -> None:
    """The whole batch is refused; what waits stays."""
    server = start(tmp_path / "redis")
    try:
        with open_queue("jobs", server.url) as q:
            q.put_many(["x" * 1000] * 1500)
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "1mb")
            before = q.qsize()
            with pytest.raises(ServerOutOfMemory, match="maxmemory"):
                q.put_many(["y" * 1000] * 100)
            with pytest.raises(ServerOutOfMemory):
                q.put("z")
            assert before == q.qsize()
    finally:
        server.kill()


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
def test_without_memory_consumers_go_on(kind: Any, tmp_path: Path) -> None:
    """What makes room needs none: get, ack, nack, recovery, heartbeat, close."""
    server = start(tmp_path / "redis")
    try:
        with kind("jobs", server.url) as dead, redis.Redis.from_url(server.url) as client:
            dead.put_many("abcd")
            assert "a" == dead.get()
            (held,) = client.hkeys("jobs-timeouts")
            client.zadd("jobs-due", {held: 1000})
            client.config_set("maxmemory", "1")
            with kind("jobs", server.url) as q:
                assert "a" == q.get(timeout=9)  # it was overdue
                assert 1 == q.heartbeat()
                assert q.nack("a")
                assert ["a", "b"] == q.get_items(2)
                assert q.ack("a")
            with kind("jobs", server.url) as q:
                assert ["b", "c"] == q.get_items(2)
                assert 1 == q.re_enqueue_all_items()
            assert 3 == dead.qsize()
    finally:
        server.kill()


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
@pytest.mark.parametrize("key", ["{}", "{}-front", "{}-timeouts", "{}-due", "{}-unique"])
def test_a_key_of_another_type_loses_nothing(
    kind: Any, key: str, redis_server: Server, tmp_path: Path
) -> None:
    """No verb does a half of its work."""
    name = f"{tmp_path.name}-{kind.__name__}"
    broken, aside = key.format(name), f"{name}-aside"
    with redis.Redis.from_url(redis_server.url) as client, kind(name, redis_server.url) as q:
        q.put_many("abc")
        assert "a" == q.get()
        if client.exists(broken):
            client.rename(broken, aside)
        client.set(broken, "something else")
        for call in (
            lambda: q.nack("a"),
            lambda: q.put("d"),
            q.re_enqueue_all_items,
            lambda: q.get(timeout=0),
        ):
            with contextlib.suppress(FormatError):
                call()
        client.delete(broken)
        if client.exists(aside):
            client.rename(aside, broken)
        q.re_enqueue_all_items()
        q.put("d")
        assert set("abcd") == set(q.get_items(9))


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
@pytest.mark.parametrize("key", ["{}-timeouts", "{}-due", "the list"])
def test_what_is_refused_removes_nothing(
    kind: Any, key: str, redis_server: Server, tmp_path: Path
) -> None:
    """A key of another type is found before an item is finished, dropped or given back."""
    name = f"{tmp_path.name}-{kind.__name__}"
    with (
        redis.Redis.from_url(redis_server.url) as client,
        kind(name, redis_server.url) as q,
    ):
        q.put_many("abc")
        assert ["a", "b"] == q.get_items(2)
        (held,) = client.hkeys(f"{name}-timeouts")
        broken = held if key == "the list" else key.format(name)
        client.rename(broken, f"{name}-aside")
        client.set(broken, "something else")
        finishes = [lambda: q.ack("a"), lambda: q.ack_many("ab"), lambda: q.nack("b")]
        if key != "the list":
            finishes += [q.drop_all_items, q.re_enqueue_all_items]
        for finish in finishes:
            with pytest.raises(FormatError):
                finish()
        client.rename(f"{name}-aside", broken)
        assert 2 == client.llen(held)
        assert 2 == q.ack_many("ab")
        assert ["c"] == q.get_items(9)


POLICIES = {"allkeys-lru": True, "volatile-lru": False, "noeviction": False}


@pytest.mark.parametrize(("policy", "warns"), POLICIES.items())
def test_a_server_that_removes_queues_is_told_of(
    policy: str, warns: bool, open_queue: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When a queue or pool is opened, in a warning that says what to do."""
    server = start(tmp_path / "redis", "--maxmemory-policy", policy)
    try:
        open_queue("jobs", server.url).close()
        assert "maxmemory" not in caplog.text  # it is never full
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", "64mb")
        open_queue("jobs", server.url).close()
        assert warns == (f"with its maxmemory-policy {policy}" in caplog.text)
        caplog.clear()
        with RedisPool("pool", server.url) as pool:
            pool.add_item("a")
            pool.add_item("b")
        assert warns == (1 == caplog.text.count("set noeviction"))
    finally:
        server.kill()


def test_a_replica_takes_no_puts(open_queue: Open, server: Server, tmp_path: Path) -> None:
    """After a failover the old address may be a replica's: nothing was stored, try again."""
    with open_queue("jobs", server.url) as q:
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", free_port())
            with pytest.raises(QueueUnreachable, match="nothing was stored") as caught:
                q.put("a")
            assert caught.value.stored is False
            client.replicaof("NO", "ONE")
        q.put("b")
        assert ["b"] == q.get_items(9)


def test_a_wrong_password_is_refused(open_queue: Open, tmp_path: Path) -> None:
    """And is not in the message."""
    server = start(tmp_path / "redis")
    try:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "right")
        url = f"redis://:wrong@127.0.0.1:{server.port}"
        with pytest.raises(ServerRefused) as caught:
            open_queue("jobs", url)
        assert "wrong" not in str(caught.value).replace("wrong pass", "")
        with open_queue("jobs", url.replace("wrong", "right")) as q:
            q.put("a")
            assert "right" not in repr(q)
    finally:
        server.kill()


def test_sync_says_whether_it_can(open_queue: Open, server: Server, tmp_path: Path) -> None:
    """With appendfsync always everything is on the disk; without a file nothing can be."""
    with open_queue("jobs", server.url) as q:
        q.put("a")
        q.sync()
    with open_queue(str(tmp_path), shared().url) as q, pytest.raises(ServerRefused, match="append"):
        q.sync()


def test_sync_waits_for_the_file_where_the_server_can(open_queue: Open, tmp_path: Path) -> None:
    """WAITAOF (Redis 7.2, Valkey) tells when appendfsync everysec has flushed."""
    server = start(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "everysec")
    try:
        with redis.Redis.from_url(server.url) as client:
            knows = "7.2" <= client.info("server")["redis_version"]  # Valkey says 7.2.4
        with open_queue("jobs", server.url) as q:
            q.put("a")
            if knows:
                q.sync()
                server.kill()
                server.start()
            else:
                with pytest.raises(ServerRefused, match=r"7\.2"):
                    q.sync()
            assert "a" == q.get(timeout=9)
    finally:
        server.kill()


# -- replicas -------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A server, and a replica that is in step."""
    first = start(tmp_path / "first", "--repl-diskless-sync-delay", "0")
    second = start(tmp_path / "second", "--replicaof", "127.0.0.1", str(first.port))
    with redis.Redis.from_url(first.url) as client:
        until(lambda: client.info("replication").get("slave0", {}).get("state") == "online", "it")
    yield first, second
    second.kill()
    first.kill()


SYNCED = {"synced_slaves_enabled": True, "synced_slaves_count": 1}


def test_a_frozen_replica_is_noticed(open_queue: Open, pair: tuple[Server, Server]) -> None:
    """Each write says that it is stored, and that too few replicas have confirmed it."""
    first, second = pair
    with open_queue("jobs", first.url, **SYNCED, synced_slaves_timeout=5000) as q:
        q.put("a")
        q.put_many(["b"] * 1500)
        q.ack(q.get())
        q.nack(q.get())
    with open_queue("jobs", first.url, **SYNCED, synced_slaves_timeout=50) as q:
        second.freeze()
        with pytest.raises(NotEnoughReplicas, match="stored, but only 0 of 1") as caught:
            q.put("c")
        assert (0, 1) == (caught.value.confirmed, caught.value.wanted)
        assert 1501 == q.qsize()
        item = q.get()
        with pytest.raises(NotEnoughReplicas):
            q.ack(item)
        second.thaw()
    with redis.Redis.from_url(first.url) as client:
        assert 0 == client.hlen("jobs-timeouts")


def test_what_no_replica_confirmed_is_done_as_a_whole(open_queue: Open, server: Server) -> None:
    """Items of several calls of the server, too; and they are nobody's any more."""
    with open_queue("jobs", server.url, **SYNCED, synced_slaves_timeout=1) as q:
        with pytest.raises(NotEnoughReplicas):
            q.put_many(map(str, range(2500)))
        for finish in (q.ack_many, q.nack_many):
            items = q.get_items(1250)
            with pytest.raises(NotEnoughReplicas, match="0 of 1"):
                finish(items)
            assert 1250 == q.qsize() == q.unfinished_tasks
            assert not q.ack(items[0])
            with pytest.raises(ValueError, match="too many times"):
                q.task_done()
        with pytest.raises(NotEnoughReplicas, match="0 of 1"):
            q.delete_items(q.newest(2500))
        assert 0 == q.qsize() == q.unfinished_tasks


def test_a_get_that_no_replica_confirmed_holds_nothing(open_queue: Open, server: Server) -> None:
    """What stands before a value that cannot be decoded is put back with it."""
    with redis.Redis.from_url(server.url) as client:
        client.lpush("jobs", "1", "{", "2")
        with open_queue(
            "jobs", server.url, 0, serializers.json, **SYNCED, synced_slaves_timeout=1
        ) as q:
            with pytest.raises(NotEnoughReplicas):
                q.get_items(3)
            assert 3 == q.qsize()
            assert 0 == client.hlen("jobs-timeouts")
            assert [b"2", b"{", b"1"] == client.lrange("jobs", 0, -1)


def test_a_failover_while_replicas_are_waited_for(
    open_queue: Open, server: Server, tmp_path: Path
) -> None:
    """The server answers the put and refuses to wait: the item is stored there."""
    other = start(tmp_path / "other")
    client = redis.Redis.from_url(server.url)
    try:
        with open_queue("jobs", server.url, **SYNCED, synced_slaves_timeout=9000) as q:
            call = Call(q.put, "a")
            until(lambda: client.info("clients")["blocked_clients"], "it")
            client.execute_command("REPLICAOF", "127.0.0.1", str(other.port))
            with pytest.raises(NotEnoughReplicas):
                call.outcome()
            client.execute_command("REPLICAOF", "NO", "ONE")
            assert [b"a"] == client.lrange("jobs", 0, -1)
    finally:
        client.close()
        other.kill()


def test_unique_queues_and_pools_wait_for_replicas(pair: tuple[Server, Server]) -> None:
    """So do the classes whose writes are scripts, and those of compat."""
    from persistqueue.compat.aiopyrq import Pool, Queue, UniqueQueue
    from persistqueue.compat.aiopyrq.helpers import NotEnoughSyncedSlavesError

    first, second = pair

    async def compat(timeout: int) -> None:
        client = redis.asyncio.Redis.from_url(first.url)
        try:
            for kind in (Queue, UniqueQueue, Pool):
                queue = kind(kind.__name__, client, **SYNCED, synced_slaves_timeout=timeout)
                if timeout > 1000:
                    await queue.add_item("x")
                else:
                    with pytest.raises(NotEnoughSyncedSlavesError, match="stored"):
                        await queue.add_item("y")
                    assert 2 == await queue.get_count()
        finally:
            await client.aclose()

    for kind in (RedisUniqueQueue, RedisPool):
        with kind(kind.__name__, first.url, **SYNCED, synced_slaves_timeout=5000) as queue:
            (queue.add_item if kind is RedisPool else queue.put)("x")
    run(compat(5000))
    second.freeze()
    for kind in (RedisUniqueQueue, RedisPool):
        with kind(kind.__name__, first.url, **SYNCED, synced_slaves_timeout=50) as queue:
            with pytest.raises(NotEnoughReplicas):
                (queue.add_item if kind is RedisPool else queue.put)("y")
            assert 2 == (queue.get_count if kind is RedisPool else queue.qsize)()
    run(compat(50))


# -- the caller goes ------------------------------------------------------------------------


@in_loop
async def test_a_cancelled_get_gives_back(redis_server: Server, tmp_path: Path) -> None:
    """At whatever moment it is cancelled: what was not returned is still there, in its order."""
    items = [str(n) for n in range(60)]
    got: list[str] = []
    async with AsyncRedisQueue(str(tmp_path), redis_server.url) as q:
        await q.put_many(items)
        for turns in TURNS:
            tasks = [asyncio.ensure_future(q.get()) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            got += [task.result() for task in tasks if not task.cancelled()]
        rest = await q.get_items(99)
        assert items == sorted(got + rest, key=int)
        assert rest == sorted(rest, key=int)


@in_loop
async def test_a_cancelled_waiting_get_leaves_the_item_to_the_next(
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """And a wait_for that runs out loses nothing."""
    async with AsyncRedisQueue(str(tmp_path), redis_server.url) as q:
        first = asyncio.ensure_future(q.get())
        await parked(q, 1)
        second = asyncio.ensure_future(q.get())
        await parked(q, 2)
        first.cancel()
        await q.put("x")
        assert "x" == await second
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(q.get(), 0.01)
        await q.put("y")
        assert "y" == await q.get()


@in_loop
async def test_a_hundred_puts_are_one_command(redis_server: Server, tmp_path: Path) -> None:
    """Concurrent calls go together: puts, gets and acks."""
    async with AsyncRedisQueue(str(tmp_path), redis_server.url) as q:
        with redis.Redis.from_url(redis_server.url) as client:
            before = calls(client)
            await asyncio.gather(*(q.put(str(n)) for n in range(100)))
            items = await asyncio.gather(*(q.get() for _ in range(100)))
            await asyncio.gather(*(q.ack(item) for item in items))
            after = calls(client)
    assert [str(n) for n in range(100)] == items
    assert after["lpush"] - before["lpush"] <= 6  # two from the client, the rest from scripts
    assert after["evalsha"] - before["evalsha"] <= 6


def calls(client: Any) -> dict[str, int]:
    """Return how often each command was called."""
    stats = client.info("commandstats")
    return {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("lpush", "evalsha")
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_loses_nothing(
    redis_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at any moment of a put or get: what was put comes once, or twice at the most."""
    # redis-py has finalisers, and what an interrupt does to one is nobody's error; nor is what
    # the next does to pytest's account of it.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    armed = False

    def interrupt(*_: Any) -> None:
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    put, got, interrupts = [], [], 0
    try:
        with RedisQueue(str(tmp_path), redis_server.url) as q:
            for number in range(100):
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + number % 20 * 0.00002)
                try:
                    armed = True
                    q.put(str(number))
                    put.append(str(number))
                    got.append(q.get())
                    q.ack(got[-1])
                    armed = False
                except KeyboardInterrupt:
                    interrupts += 1
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        with RedisQueue(str(tmp_path), redis_server.url) as q:
            got += q.get_items(9999)
    finally:
        signal.signal(signal.SIGALRM, before)
        gc.collect()  # while nobody counts the sockets that were left open
    assert interrupts
    assert set() == set(put) - set(got)


def test_a_fork_holds_nothing(open_queue: Open, redis_server: Server, tmp_path: Path) -> None:
    """A child uses the same object: another connection, and lists of its own."""
    with RedisQueue(str(tmp_path), redis_server.url) as q:
        q.put_many("abcd")
        assert "a" == q.get()
        child = os.fork()
        if not child:
            ok = "b" == q.get() and not q.ack("a") and q.ack("b")
            os._exit(0 if ok else 1)
        assert 0 == os.waitpid(child, 0)[1]
        assert ["c", "d"] == q.get_items(9)
        assert 3 == q.ack_many("acd")
        assert 0 == q.unfinished_tasks


def test_many_threads_and_processes_share_a_queue(redis_server: Server, tmp_path: Path) -> None:
    """Each item is given to one of them."""
    got: list[str] = []

    def work() -> None:
        with RedisQueue(str(tmp_path), redis_server.url) as q:
            while items := q.get_items(7):
                got.extend(items)
                q.ack_many(items)

    with RedisQueue(str(tmp_path), redis_server.url) as q:
        q.put_many(map(str, range(1000)))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, range(1000))) == sorted(got)
        q.join()


def test_errors_are_of_one_tree() -> None:
    """A program that catches PersistQueueError catches these."""
    for error in (NotEnoughReplicas, QueueUnreachable, ServerOutOfMemory, ServerRefused):
        assert issubclass(error, PersistQueueError)
