"""How gets wait on a Redis server: who is woken, and what a put costs the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from loops import in_loop, parked
from redis_queues import Open, queue_fixture  # noqa: F401
from redis_server import Server, redis_fixture, start  # noqa: F401
from waiting import Call, until

from persistqueue import AsyncRedisQueue, Empty, RedisQueue, RedisUniqueQueue
from persistqueue.compat.aiopyrq import Queue
from persistqueue.testing import waiting_calls

SOON = 1.0  # s; who is not woken looks again in 5 s


@pytest.fixture
def client(redis_server: Server) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def waiters(client: Any) -> int:
    """Return how many connections wait for something to come to a list."""
    return sum("b" in one["flags"] and one["cmd"] == "blmove" for one in client.client_list())


def calls(client: Any) -> dict[str, int]:
    """Return how often each command was called."""
    stats = client.info("commandstats")
    return {name[8:]: stat["calls"] for name, stat in stats.items()}


# -- waking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ours", "aio-py-rq"])
def test_one_put_wakes_one(who: str, open_queue: Open, tmp_path: Path) -> None:
    """Of all that wait, the one that has waited longest; the others do nothing at all."""
    server = start(tmp_path / "redis")
    queues = [open_queue("jobs", server.url) for _ in range(20)]
    try:
        with redis.Redis.from_url(server.url) as client:
            put = queues.pop().put if who == "ours" else lambda item: client.lpush("jobs", item)
            gets = []
            for number, q in enumerate(queues, 1):
                gets.append(Call(q.get))
                until(lambda n=number: n == waiters(client), "one more that waits")
            for number, get in enumerate(gets[:5]):
                before = calls(client)
                began = time.monotonic()
                put(str(number))
                assert str(number) == get.outcome()
                assert time.monotonic() - began < SOON
                after = calls(client)
                assert after["blmove"] - before["blmove"] <= 1
                taken = sum(after.get(s, 0) - before.get(s, 0) for s in ("eval", "evalsha"))
                assert taken <= (2 if who == "ours" else 1)
            assert len(queues) - 5 == waiters(client)
            put_many = [str(number) for number in range(len(gets))]
            client.lpush("jobs", *put_many)
            assert sorted(put_many[: len(gets) - 5]) == sorted(get.outcome() for get in gets[5:])
    finally:
        for q in queues:
            q.close()
        server.kill()


@pytest.mark.parametrize("how", ["timeout", "close"])
def test_a_wake_for_one_that_has_gone_is_passed_on(
    how: str, open_queue: Open, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """Whoever waits behind it does not sleep on."""
    first = open_queue(str(tmp_path), redis_server.url)
    with open_queue(str(tmp_path), redis_server.url) as second:
        call = Call(first.get, timeout=0.3)
        until(lambda: 1 == waiters(client))
        waiting = Call(second.get)
        until(lambda: 2 == waiters(client))
        if how == "close":
            first.close()
        with pytest.raises(Exception, match=r"empty|closed"):
            call.outcome()
        began = time.monotonic()
        client.lpush(str(tmp_path), "x")
        assert "x" == waiting.outcome()
        assert time.monotonic() - began < SOON
    first.close()


@in_loop
async def test_a_wake_of_a_cancelled_get_is_passed_on(
    redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """At whatever moment it is cancelled, the next one gets the item at once."""
    async with (
        AsyncRedisQueue(str(tmp_path), redis_server.url) as first,
        AsyncRedisQueue(str(tmp_path), redis_server.url) as second,
    ):
        for turns in (0, 1, 2, 3, 5, 9, 20):
            one = asyncio.ensure_future(first.get())
            await parked(first, 1)
            await asyncio.to_thread(until, lambda: 1 == waiters(client))
            two = asyncio.ensure_future(second.get())
            await parked(second, 1)
            await asyncio.to_thread(until, lambda: 2 == waiters(client))
            began = time.monotonic()
            client.lpush(str(tmp_path), "x")
            for _ in range(turns):
                await asyncio.sleep(0)
            one.cancel()
            await asyncio.wait([one])
            if one.cancelled():
                assert "x" == await two
                assert await second.ack("x")
            else:
                assert await first.ack("x")
                client.lpush(str(tmp_path), "y")
                assert "y" == await two
                assert await second.ack("y")
            assert time.monotonic() - began < SOON
            await asyncio.to_thread(until, lambda: 0 == waiters(client))


def test_the_next_get_is_woken_too(
    open_queue: Open, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """One object, several gets that wait, items that come one by one."""
    with open_queue(str(tmp_path), redis_server.url) as q:
        gets = [Call(q.get) for _ in range(3)]
        until(lambda: 3 == waiting_calls(q).gets)
        got = []
        for number in range(3):
            began = time.monotonic()
            client.lpush(str(tmp_path), str(number))
            until(lambda n=number: n + 1 == sum(not get.is_alive() for get in gets))
            assert time.monotonic() - began < SOON
        got = [get.outcome() for get in gets]
        assert ["0", "1", "2"] == sorted(got)


# -- what was shown -------------------------------------------------------------------------


def shown(client: Any, name: str) -> None:
    """Do what is done for one that waits, and dies at this moment."""
    client.lmove(name, f"{name}-front", "RIGHT", "LEFT")


def test_what_was_shown_to_one_that_died_is_next(
    open_queue: Open, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """It counts as waiting in every way, and comes before all others."""
    name = str(tmp_path)
    with open_queue(name, redis_server.url, maxsize=5) as q:
        q.put_many("abcd")
        shown(client, name)
        shown(client, name)
        assert "a" == q.peek()
        assert 4 == q.qsize()
        assert ["b", "c", "d"] == q.newest(3)
        q.put("e")
        assert q.full()
        assert "a" == q.get()
        assert ["b", "c"] == q.get_items(2)
        assert q.nack("a")
        assert ["a", "d", "e"] == q.get_items(9)


def test_what_was_shown_can_be_deleted(
    open_queue: Open, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """From the newest or from the oldest on, or all."""
    name = str(tmp_path)
    for count, left in ((0, ["b"]), (1, ["a", "b", "a"]), (-1, ["b", "a", "a"]), (-3, ["b"])):
        with open_queue(name, redis_server.url) as q:
            q.put_many("abaa")
            shown(client, name)
            q.delete_item("a", count)
            assert left == q.get_items(9)
            q.ack_many(left)


def test_a_unique_queue_knows_what_was_shown(
    redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """It waits still: an equal item is not put, whether it comes or comes back."""
    name = str(tmp_path)
    with RedisUniqueQueue(name, redis_server.url) as q:
        q.put("a")
        shown(client, name)
        assert not q.put("a")
        assert "a" == q.get()
        assert q.put("a")
        shown(client, name)
        assert q.nack("a")
        assert ["a"] == q.get_items(9)


@in_loop
async def test_compat_takes_what_was_shown(
    redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """It is next there, too."""
    async with redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True) as their:
        q = Queue(str(tmp_path), their)
        await q.add_items(["a", "b"])
        shown(client, str(tmp_path))
        assert 2 == await q.get_count()
        assert ["a", "b"] == await q.get_items(5)
        await q.ack_items(["a", "b"])
        assert [] == await their.keys(f"{tmp_path}*")


# -- waiting for something else -------------------------------------------------------------


def test_a_put_that_waits_for_room_wakes_nobody(
    open_queue: Open, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """Nor does a join: items are for those who want them."""
    name = str(tmp_path)
    with (
        open_queue(name, redis_server.url, maxsize=1) as a,
        open_queue(name, redis_server.url) as b,
    ):
        a.put("x")
        put = Call(a.put, "y")
        join = Call(a.join)
        until(lambda: 2 == waiting_calls(a).parked)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            assert 0 == waiters(client) == client.exists(f"{name}-front")
        assert "x" == b.get()
        put.outcome()
        b.task_done()
        b.task_done(item=b.get(timeout=9))
        join.outcome()


def test_idle_gets_leave_the_server_alone(tmp_path: Path) -> None:
    """Also while somebody is at work on an item for long."""
    server = start(tmp_path / "redis")
    try:
        with (
            redis.Redis.from_url(server.url) as client,
            RedisQueue("jobs", server.url) as busy,
            RedisQueue("jobs", server.url) as idle,
        ):
            busy.put("x")
            assert "x" == busy.get()
            call = Call(idle.get)
            until(lambda: 1 == waiters(client))
            before = calls(client)
            with pytest.raises(Empty):
                busy.get(timeout=0.5)
            after = calls(client)
            done = {name: after[name] - before.get(name, 0) for name in after}
            # Of the second get: a script, and a BLMOVE.
            assert done.get("evalsha", 0) + done.get("eval", 0) <= 3
            assert done.get("blmove", 0) <= 2
            busy.nack("x")
            assert "x" == call.outcome()
    finally:
        server.kill()
