"""What Redis queues do when the network swallows, delays or cuts what goes over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from families import BlockingAsyncQueue, run
from proxy import BOTH, TO_CLIENT, TO_SERVER, Proxy
from redis_queues import Open, open_async, queue_fixture  # noqa: F401
from redis_server import Server, redis_fixture, start  # noqa: F401
from waiting import Call, until

from persistqueue import (
    AsyncRedisPool,
    AsyncRedisUniqueQueue,
    Empty,
    QueueUnreachable,
    RedisPool,
    RedisQueue,
    RedisUniqueQueue,
)
from persistqueue.testing import waiting_calls

PATIENCE = 0.5  # s; the socket_timeout of these queues
LIMIT = PATIENCE + 1.0  # s; what the documentation promises
SLACK = 5.0  # s; the machines are shared


@pytest.fixture
def proxy(redis_server: Server) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(redis_server: Server) -> Iterator[Any]:
    """A client that does not go through the proxy."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def through(proxy: Proxy) -> str:
    """Return the URL of the server behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0?socket_timeout={PATIENCE}"


def in_time(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make a call, which has to be over in the time that is promised."""
    began = time.monotonic()
    try:
        return call(*args, **kwargs)
    finally:
        assert time.monotonic() - began < LIMIT + SLACK


# -- silence --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT, *[BOTH]], ids=str)
def test_calls_go_on_over_new_connections(
    direction: Any, open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """Where a firewall forgot the old ones; nothing is done twice, and nothing is lost."""
    directions = direction if isinstance(direction, tuple) else (direction,)
    name = str(tmp_path)
    q = open_queue(name, through(proxy))
    q.put("a")
    proxy.swallow(*directions)
    in_time(q.put, "b")
    proxy.swallow(*directions)
    assert "a" == in_time(q.get)
    proxy.swallow(*directions)
    assert in_time(q.ack, "a")
    proxy.swallow(*directions)
    assert "b" == in_time(q.get, timeout=0)
    proxy.swallow(*directions)
    assert in_time(q.nack, "b")
    proxy.swallow(*directions)
    assert 1 == in_time(q.qsize)
    assert [b"b"] == client.lrange(name, 0, -1)
    assert 0 == client.hlen(f"{name}-timeouts")
    proxy.swallow(*directions)
    in_time(q.close)


def test_a_waiting_get_goes_on_over_new_connections(
    open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """No item waits longer for it than for any other answer; with a lease or without."""
    name = str(tmp_path)
    with open_queue(name, through(proxy), lease=None) as q:
        for item in ("a", "b"):
            call = Call(q.get)
            until(lambda: blocked(client, name), "a client that waits")
            proxy.swallow()
            client.lpush(name, item)
            assert item == in_time(call.outcome)


def blocked(client: Any, name: str) -> list[Any]:
    """Return the connections that wait for something to come to a list."""
    found = client.client_list()
    return [one for one in found if "b" in one["flags"] and one["cmd"] == "blmove"]


def test_calls_end_when_nothing_answers(
    open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """Neither what is connected nor what is new; what is not stored, or not known, is said."""
    q = open_queue(str(tmp_path), through(proxy))
    q.put("a")
    assert "a" == q.get()
    proxy.swallow(TO_CLIENT, deaf=True)
    with pytest.raises(QueueUnreachable) as caught:
        in_time(q.put, "b")
    assert caught.value.stored is None
    for call in (q.get, lambda: q.ack("a"), lambda: q.nack("a"), q.qsize, lambda: q.put("c")):
        with pytest.raises(QueueUnreachable) as caught:
            in_time(call)
        assert caught.value.stored is False
    proxy.up()
    assert 1 == q.qsize()  # the first had come
    proxy.swallow(deaf=True)
    with pytest.raises(QueueUnreachable) as caught:
        in_time(q.ack, "a")
    in_time(q.close)
    assert 1 == client.hlen(f"{tmp_path}-timeouts")


def test_closing_is_in_time(open_queue: Open, proxy: Proxy, tmp_path: Path) -> None:
    """Where nothing answers, whatever is held and whoever waits."""
    q = open_queue(str(tmp_path), through(proxy))
    q.put("a")
    assert "a" == q.get()
    call = Call(q.get)
    until(lambda: waiting_calls(q).parked)
    proxy.swallow(deaf=True)
    in_time(q.close)
    with pytest.raises(Exception, match="closed"):
        call.outcome()


@pytest.mark.parametrize("pool_class", [RedisPool, AsyncRedisPool])
def test_pools_end_in_time(pool_class: Any, proxy: Proxy, tmp_path: Path) -> None:
    """They go on over new connections, and say so when there are none."""
    pool = pool_class(str(tmp_path), through(proxy))
    if pool_class is AsyncRedisPool:
        pool = BlockingAsyncQueue(pool)
    pool.add_item("a")
    proxy.swallow()
    in_time(pool.add_item, "b")
    assert {"a", "b"} == set(pool.get_items(5))
    proxy.swallow(deaf=True)
    with pytest.raises(QueueUnreachable):
        in_time(pool.ack_item, "a")
    with pytest.raises(QueueUnreachable):
        in_time(pool.get_items, 1)
    in_time(pool.close)


# -- what is long ---------------------------------------------------------------------------


def test_a_long_item_stalls_on_its_way(
    open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """No more of it is taken: it goes over a new connection, and what had gone does nothing."""
    name, item = str(tmp_path), "x" * 12_000_000
    with open_queue(name, f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=1") as q:
        proxy.stall(TO_SERVER)
        q.put(item)
        q.put(item)
        proxy.stall(TO_SERVER)
        assert 1 == q.delete_item(item, count=1)  # which is not done twice
        proxy.stall(TO_SERVER)
        q.put("y")
        proxy.release()
        assert 2 == client.llen(name)
        assert [item, "y"] == q.get_items(9)


def test_a_long_item_may_take_longer_than_an_answer(
    open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """It is the rest without progress that has a bound, not the whole way."""
    proxy.pause = 0.006
    with open_queue(str(tmp_path), f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=1") as q:
        began = time.monotonic()
        q.put("x" * 24_000_000)
        assert time.monotonic() - began > 1
        assert [24_000_000] == [len(item) for item in client.lrange(str(tmp_path), 0, -1)]


# -- what comes late ------------------------------------------------------------------------


@pytest.mark.parametrize("lease", [None, 60])
def test_a_command_that_comes_late_does_nothing(
    lease: float | None, open_queue: Open, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """It was sent again meanwhile: a late take would take for nobody, a late put store twice."""
    name = str(tmp_path)
    with open_queue(name, through(proxy), lease=lease) as q:
        q.put_many("abc")
        proxy.hold(TO_SERVER)
        assert "a" == q.get()
        assert q.ack("a")
        proxy.release()
        assert [b"c", b"b"] == settled(client, name)
        proxy.hold(TO_SERVER)
        q.put("d")
        proxy.release()
        assert [b"d", b"c", b"b"] == settled(client, name)
        assert ["b", "c", "d"] == q.get_items(9)


def settled(client: Any, name: str) -> list[bytes]:
    """Return what waits, when everything that is on its way has come; nothing is held."""
    for _ in range(20):  # each behind what came before
        waits: list[bytes] = client.lrange(name, 0, -1)
        assert 0 == client.hlen(f"{name}-timeouts")
    return waits


def test_who_may_not_end_connections_is_told(tmp_path: Path) -> None:
    """Without CLIENT KILL a put whose answer was lost may come late: it is not made again."""
    server = start(tmp_path / "redis")
    try:
        with redis.Redis.from_url(server.url) as client, Proxy(server.port) as proxy:
            client.execute_command(
                "ACL", "SETUSER", "worker", "on", ">pass", "~jobs*", "+@all", "-@dangerous"
            )
            url = through(proxy).replace("redis://", "redis://worker:pass@")
            with RedisQueue("jobs", url) as q:
                q.put("a")
                proxy.hold(TO_SERVER)
                with pytest.raises(QueueUnreachable) as caught:
                    q.put("b")
                assert caught.value.stored is None
                proxy.release()
                until(lambda: 2 == client.llen("jobs"))
                assert ["a", "b"] == q.get_items(9)
                proxy.swallow(TO_CLIENT)
                q.put("c")  # here the number tells: it is stored
                assert ["c"] == q.get_items(9)
    finally:
        server.kill()


# -- puts whose answers are lost ------------------------------------------------------------

PUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (RedisQueue, {}),
    "bounded": (RedisQueue, {"maxsize": 9000}),
    "unique": (RedisUniqueQueue, {}),
    "unique, bounded": (RedisUniqueQueue, {"maxsize": 9000}),
}


@pytest.mark.parametrize(("kind", "options"), PUTS.values(), ids=PUTS)
@pytest.mark.parametrize("how", [TO_SERVER, TO_CLIENT])
def test_a_put_whose_answer_was_lost_is_recognised(
    kind: Any, options: dict[str, Any], how: str, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """It is stored once, whether it had come or not, and says what it always says."""
    name, unique = str(tmp_path), kind is RedisUniqueQueue
    items = [str(number) for number in range(2500)]
    with kind(name, through(proxy), **options) as q:
        q.put("1")
        proxy.swallow(how)
        assert (True if unique else None) is q.put("2")
        proxy.swallow(how)
        if unique:
            assert q.put("2") is False
            assert [True, False, False, True] == q.put_many(["0", "1", "2", "3"])
        proxy.swallow(how)
        flags = q.put_many(items)
        stored = client.lrange(name, 0, -1)[::-1]
    if unique:
        assert [number > 3 for number in range(2500)] == flags
        assert [b"1", b"2", b"0", b"3"] == stored[:4]
        assert 2500 == len(stored) == len(set(stored))
    else:
        assert [b"1", b"2", *map(str.encode, items)] == stored
    assert [] == [key for key in client.keys("*-put-*") if name.encode() in key]


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
@pytest.mark.parametrize("direction", BOTH)
def test_a_connection_cut_at_each_byte(
    kind: Any, direction: str, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    """Of a put and a get, or of their answers: each item is stored once, and comes once."""
    name = str(tmp_path)
    with kind(name, f"redis://127.0.0.1:{proxy.port}/0") as q:
        q.put("warm")
        assert "warm" == q.get()
        assert q.ack("warm")
        step = 7 if direction == TO_SERVER else 1
        for number in range(0, 460 if direction == TO_SERVER else 40, step):
            proxy.cut_after(number, direction)
            q.put(str(number))
            assert 1 == client.llen(name)
            proxy.cut_after(number, direction)
            assert str(number) == q.get()
            proxy.cut_after(number, direction)
            assert q.ack(str(number))
            assert 0 == client.hlen(f"{name}-timeouts") == client.llen(name)


@pytest.mark.parametrize("opener", [RedisUniqueQueue, AsyncRedisUniqueQueue, RedisQueue])
def test_killed_connections_store_each_put_once(
    opener: Any, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """An operator kills connections at every moment: no put ends with what nobody knows."""
    name, done = str(tmp_path), False

    def kill() -> None:
        while not done:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.003)

    q = opener(name, redis_server.url)
    q = BlockingAsyncQueue(q) if opener is AsyncRedisUniqueQueue else q
    q.put("first")
    killer = Call(kill)
    try:
        for number in range(150):
            q.put(str(number))
    finally:
        done = True
        killer.outcome()
    assert ["first", *map(str, range(150))] == q.get_items(999)
    q.close()


def test_after_a_restart_other_connections_are_left_alone(tmp_path: Path) -> None:
    """A server gives the same numbers again: a connection is ended by its address as well."""
    server = start(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    try:
        with RedisQueue("jobs", f"{server.url}?socket_timeout={PATIENCE}") as q:
            q.put("a")
            server.freeze()
            with pytest.raises(QueueUnreachable):
                q.get()
            server.thaw()
            server.kill()
            server.start()
            others = [redis.Redis.from_url(server.url) for _ in range(9)]
            names = [other.client_id() for other in others]
            assert "a" == q.get(timeout=9)
            assert names == [other.client_id() for other in others]
            for other in others:
                other.close()
    finally:
        server.kill()


def test_nothing_there_is_empty_over_a_bad_network_too(
    open_queue: Open, proxy: Proxy, tmp_path: Path
) -> None:
    """A get that was repeated and found nothing says so."""
    with open_queue(str(tmp_path), through(proxy)) as q:
        proxy.swallow()
        with pytest.raises(Empty):
            in_time(q.get, timeout=0)


def test_the_async_unique_queue_is_opened_like_any_other(proxy: Proxy, tmp_path: Path) -> None:
    """Opening over a silent network ends in time, too."""
    proxy.swallow(deaf=True)
    with pytest.raises(QueueUnreachable):
        in_time(run, AsyncRedisUniqueQueue.create(str(tmp_path), through(proxy)))
    with pytest.raises(QueueUnreachable):
        in_time(open_async, str(tmp_path), through(proxy))
    with pytest.raises(QueueUnreachable):
        in_time(RedisQueue, str(tmp_path), through(proxy))
