"""aio-py-rq 4.1.0, our compat classes and our own work on the same keys, both ways.

Each test is about two sides, ``ours`` and ``theirs``; ours is our own class or the compat
class, theirs the real package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis.asyncio
from aiopyrq_peer import aiopyrq_fixture  # noqa: F401
from loops import in_loop
from redis_server import Server, redis_fixture  # noqa: F401

from persistqueue import AsyncRedisPool, AsyncRedisQueue, AsyncRedisUniqueQueue
from persistqueue.compat import aiopyrq as compat


class OwnQueue(AsyncRedisQueue[Any]):
    """Our own queue under the names of aio-py-rq's verbs, which these tests call on both sides."""

    add_item = AsyncRedisQueue.put
    add_items = AsyncRedisQueue.put_many
    ack_item = AsyncRedisQueue.ack
    ack_items = AsyncRedisQueue.ack_many
    reject_items = AsyncRedisQueue.nack_many
    get_count = AsyncRedisQueue.qsize


class OwnUniqueQueue(OwnQueue, AsyncRedisUniqueQueue[Any]):
    """The same for unique items."""


OWN = {"Queue": OwnQueue, "UniqueQueue": OwnUniqueQueue, "Pool": AsyncRedisPool}


class Sides:
    """Makes both sides of a queue or pool.

    Args:
        own: ours are our own classes, not those of compat.
    """

    def __init__(self, own: bool, peer: ModuleType, url: str, name: str) -> None:
        self._own = own
        self._peer = peer
        self._url = url
        self.name = name

    @asynccontextmanager
    async def open(self, kind: str, **options: Any) -> AsyncIterator[tuple[Any, Any, Any]]:
        """Give ours, theirs, and a client."""
        client = redis.asyncio.Redis.from_url(self._url, decode_responses=True)
        theirs = getattr(self._peer, kind)(self.name, client)
        try:
            if self._own:
                async with OWN[kind](self.name, self._url, **options) as ours:
                    yield ours, theirs, client
            else:
                yield getattr(compat, kind)(self.name, client, **options), theirs, client
        finally:
            await client.aclose()


@pytest.fixture(params=["own", "compat"])
def sides(
    request: pytest.FixtureRequest,
    aiopyrq: ModuleType,
    redis_server: Server,
    tmp_path: Path,
) -> Sides:
    """Both sides, with ours of either kind."""
    return Sides(request.param == "own", aiopyrq, redis_server.url, str(tmp_path))


LISTS = pytest.mark.parametrize("kind", ["Queue", "UniqueQueue"])


@LISTS
@in_loop
async def test_items_are_exchanged_in_order(sides: Sides, kind: str) -> None:
    """What one side adds the other one gets, whoever was first, and acks."""
    async with sides.open(kind) as (ours, theirs, client):
        await ours.add_items(["a", "b"])
        await theirs.add_items(["c", "d"])
        await ours.add_item("e")
        assert ["a", "b", "c"] == await theirs.get_items(3)
        assert ["d", "e"] == await ours.get_items(9)
        await theirs.ack_items(["a", "b", "c"])
        await ours.ack_items(["d", "e"])
        assert [] == await left_keys(sides, client)


@LISTS
@in_loop
async def test_what_is_rejected_is_next_for_either(sides: Sides, kind: str) -> None:
    """Each side's rejected batch comes first, in its order, on the other side."""
    async with sides.open(kind) as (ours, theirs, _):
        await ours.add_items(list("abcd"))
        await theirs.reject_items(await theirs.get_items(2))
        assert ["a", "b"] == await ours.get_items(2)
        await ours.reject_items(["a", "b"])
        assert list("abcd") == await theirs.get_items(9)


@LISTS
@in_loop
async def test_their_collector_recovers_what_ours_held(sides: Sides, kind: str) -> None:
    """In order, also over several batches."""
    async with sides.open(kind) as (ours, theirs, client):
        await ours.add_items(list("abcde"))
        await ours.get_items(2)
        await ours.get_items(2)
        assert ["e"] == await theirs.get_items(1)
        await theirs.ack_item("e")
        await theirs.re_enqueue_timeout_items(7200)
        assert 0 == await theirs.get_count()
        for name in await client.hkeys(ours_timeouts(sides)):
            await client.hset(ours_timeouts(sides), name, "1000.25")
        await theirs.re_enqueue_timeout_items(7200)
        assert list("abcd") == await theirs.get_items(9)


@LISTS
@in_loop
async def test_our_collector_recovers_what_theirs_held(sides: Sides, kind: str) -> None:
    """Everything, or what is overdue."""
    async with sides.open(kind) as (ours, theirs, client):
        await theirs.add_items(list("abc"))
        await theirs.get_items(2)
        await ours.re_enqueue_timeout_items(7200)
        assert 1 == await ours.get_count()
        await client.hset(ours_timeouts(sides), theirs.processing_queue_name, "1000")
        await ours.re_enqueue_timeout_items(7200)
        assert ["a", "b", "c"] == await theirs.get_items(3)
        await ours.re_enqueue_all_items()
        assert ["a", "b", "c"] == await ours.get_items(3)


@LISTS
@in_loop
async def test_each_drops_what_the_other_held(sides: Sides, kind: str) -> None:
    """Deleted is what is in any consumer's hands; what waits stays."""
    async with sides.open(kind) as (ours, theirs, client):
        await ours.add_items(list("abc"))
        await ours.get_items(1)
        await theirs.drop_all_items()
        await theirs.get_items(1)
        await ours.drop_all_items()
        assert 0 == await client.hlen(ours_timeouts(sides))
        assert ["c"] == await theirs.get_items(9)


@in_loop
async def test_equal_items_wait_once_for_both(sides: Sides) -> None:
    """The set of one side is the other's; numbers are their digits."""
    async with sides.open("UniqueQueue") as (ours, theirs, _):
        await ours.add_items(["1", "2"])
        await theirs.add_items([1, 3])
        await ours.add_item(3)
        assert ["1", "2", "3"] == await ours.get_items(9)
        await theirs.add_item("1")
        await ours.reject_items(["1"])
        assert ["1"] == await theirs.get_items(9)


@in_loop
async def test_deleting_reaches_the_others_items(sides: Sides) -> None:
    """By value, with a count."""
    async with sides.open("Queue") as (ours, theirs, _):
        await theirs.add_items(list("abab"))
        await ours.delete_item("a", 1)
        await theirs.delete_item("b")
        assert ["a"] == await ours.get_items(9)


@in_loop
async def test_tries_are_counted_together(
    aiopyrq: ModuleType, redis_server: Server, tmp_path: Path
) -> None:
    """The retry window is one for both; an ack of ours ends it."""
    sides = Sides(False, aiopyrq, redis_server.url, str(tmp_path))
    async with sides.open("Queue", max_retry=2, max_timeout=1) as (ours, theirs, client):
        theirs.options = {"max_retry_rollback": 2, "max_timeout_in_queue": 1}
        await ours.add_item("a")
        await ours.get_items(1)
        assert await theirs.can_rollback_item("a")
        assert await ours.can_rollback_item("a")
        await client.hincrby(sides.name + "-retry-timeout", "a", -5)
        assert not await ours.can_rollback_item("a")
        assert not await theirs.can_rollback_item("a")
        await ours.ack_item("a")
        assert [] == await left_keys(sides, client)


@in_loop
async def test_a_pool_is_shared(sides: Sides) -> None:
    """What one side leases, acks or removes the other one does not get."""
    async with sides.open("Pool") as (ours, theirs, client):
        await ours.add_items(["a", "b"])
        await theirs.add_items(["c", "d"])
        one = await ours.get_items(2)
        two = await theirs.get_items(9)
        assert list("abcd") == sorted(one + two)
        await theirs.ack_items(one)
        await ours.ack_item(two[0])
        await ours.remove_item(two[1])
        assert 3 == await theirs.get_count()
        assert 0 == await theirs.get_count_to_process() == await ours.get_count_to_process()
        assert await ours.is_in_pool(two[0])
        assert not await theirs.is_in_pool(two[1])
        for score in [
            score for _, score in await client.zrange(sides.name, 0, -1, withscores=True)
        ]:
            assert score == int(score)


async def left_keys(sides: Sides, client: Any) -> list[str]:
    """Return the queue's keys, but for the number of our last put, which goes by itself."""
    names = await client.keys(sides.name + "*")
    puts = [name for name in names if name.startswith(sides.name + "-put-")]
    for name in puts:
        assert 0 < await client.ttl(name) <= 600
    return sorted(set(names) - set(puts))


def ours_timeouts(sides: Sides) -> str:
    return sides.name + "-timeouts"


# -- the compat classes are the same classes ------------------------------------------------


def test_compat_has_every_public_name(aiopyrq: ModuleType) -> None:
    """Modules, classes, methods, properties, constants: an import line is all that changes."""
    import importlib

    for module in ("queues", "unique_queues", "pools", "helpers"):
        theirs = importlib.import_module(f"aiopyrq.{module}")
        ours = importlib.import_module(f"persistqueue.compat.aiopyrq.{module}")
        own = {name for name, value in vars(theirs).items() if is_own(theirs, name, value)}
        assert set() == own - set(dir(ours)), module
    for kind in ("Queue", "UniqueQueue", "Pool"):
        theirs, ours = getattr(aiopyrq, kind), getattr(compat, kind)
        names = {n for n in dir(theirs) if not n.startswith("_") and not n.endswith("Command")}
        assert set() == names - set(dir(ours)), kind


def is_own(module: ModuleType, name: str, value: Any) -> bool:
    """Return whether a name is the module's own, not imported."""
    if name.startswith("_"):
        return False
    home = getattr(value, "__module__", None)
    return name.isupper() or home == module.__name__


@pytest.mark.parametrize("kind", ["Queue", "UniqueQueue"])
@in_loop
async def test_bytes_are_acked_as_they_came(
    kind: str, redis_server: Server, tmp_path: Path
) -> None:
    """Without decode_responses items are bytes, and finishing them finishes them."""
    client = redis.asyncio.Redis.from_url(redis_server.url)
    queue = getattr(compat, kind)(str(tmp_path), client.connection_pool)
    await queue.add_items(["a", "b"])
    await queue.reject_items(await queue.get_items(1))
    await queue.ack_items(await queue.get_items(2))
    assert [] == await client.keys(f"{tmp_path}*")
    await client.aclose()


@pytest.mark.parametrize("kind", ["Queue", "UniqueQueue", "Pool"])
@in_loop
async def test_a_cancelled_get_gives_back(kind: str, redis_server: Server, tmp_path: Path) -> None:
    """At whatever moment it is cancelled, or destroyed."""
    import asyncio

    client = redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True)
    queue = getattr(compat, kind)(str(tmp_path), client)
    await queue.add_items(["a", "b", "c"])
    for turns in range(12):
        task = asyncio.ensure_future(queue.get_items(2))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await (queue._release if kind == "Pool" else queue.reject_items)(task.result())
        count: Callable[[], Awaitable[int]] = (
            queue.get_count_to_process if kind == "Pool" else queue.get_count
        )
        assert 3 == await count()
    for seconds in (0, 0.001, 0.05):
        get = queue.get_items(2)
        get.send(None)
        await asyncio.sleep(seconds)
        get.close()  # so it is when its loop ends
        for _ in range(500):
            if await count() == 3:
                break
            await asyncio.sleep(0.01)
        assert 3 == await count()
    assert ["a", "b", "c"] == sorted(await queue.get_items(9))
    await client.aclose()


@pytest.mark.parametrize("kind", ["Queue", "UniqueQueue"])
@in_loop
async def test_the_retry_window_needs_both_to_be_over(
    kind: str, redis_server: Server, tmp_path: Path
) -> None:
    """An item is given up after max_retry tries and max_timeout minutes, and begins anew."""
    async with redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True) as client:
        queue = getattr(compat, kind)(str(tmp_path), client, max_retry=2, max_timeout=10)
        await queue.add_item("a")
        assert ["a"] == await queue.get_items(1)
        assert all([await queue.can_rollback_item("a") for _ in range(4)])
        await client.hincrby(f"{tmp_path}-retry-timeout", "a", -11)
        assert not await queue.can_rollback_item("a")
        await queue.reset_blocked_item("a")
        assert await queue.can_rollback_item("a")
        await queue.ack_item("a")
        assert [] == [
            key for key in await client.keys() if str(tmp_path) in key and "-put-" not in key
        ]
        with pytest.raises(ValueError, match="max_retry"):
            await getattr(compat, kind)(str(tmp_path), client).can_rollback_item("a")


def test_synced_slaves_need_a_count() -> None:
    """Not a KeyError at the first write, when the item is stored already."""
    for kind in (compat.Queue, compat.UniqueQueue, compat.Pool):
        with pytest.raises(ValueError, match="synced_slaves_count"):
            kind("jobs", redis.asyncio.Redis(), synced_slaves_enabled=True)


@in_loop
async def test_a_connection_will_do(redis_server: Server, tmp_path: Path) -> None:
    """As the third thing that the constructor takes."""
    connection = redis.asyncio.Connection(port=redis_server.port, decode_responses=True)
    queue = compat.Queue(str(tmp_path), connection)
    assert 1 == await queue.add_item("a")
    assert ["a"] == await queue.get_items(1)
    await queue.redis.aclose()
    await connection.disconnect()
