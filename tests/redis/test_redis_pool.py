"""RedisPool and AsyncRedisPool: items that are due again and again."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from families import BlockingAsyncQueue, run
from loops import in_loop
from redis_server import Server, redis_fixture  # noqa: F401

from persistqueue import (
    AsyncRedisPool,
    FormatError,
    QueueClosed,
    RedisPool,
    SerializationError,
    serializers,
)

Open = Callable[..., Any]


async def _made(*args: Any, **kwargs: Any) -> Any:
    return AsyncRedisPool(*args, **kwargs)


POOLS: dict[str, Open] = {
    "async": lambda *args, **kwargs: BlockingAsyncQueue(run(_made(*args, **kwargs))),
    "sync": RedisPool,
}


@pytest.fixture(params=sorted(POOLS))
def open_pool(request: pytest.FixtureRequest, redis_server: Server, tmp_path: Path) -> Open:
    """Opens a pool of the test's own."""
    return lambda **options: POOLS[request.param](str(tmp_path), redis_server.url, **options)


@pytest.fixture
def client(redis_server: Server) -> Any:
    """A client of the test's own."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def test_what_was_acked_is_not_due(open_pool: Open) -> None:
    """Items are handed out once, and counted; ack and remove go by what was handed out."""
    with open_pool() as pool:
        pool.add_items(["a", "b", "c"])
        assert (3, 3) == (pool.get_count(), pool.get_count_to_process())
        assert ["a", "b"] == pool.get_items(2)
        assert not pool.ack_item("c")
        assert pool.ack_item("a")
        assert not pool.ack_item("a")
        assert pool.remove_item("b")
        assert not pool.remove_item("c")
        assert ["c"] == pool.get_all_items()
        assert (2, 0) == (pool.get_count(), pool.get_count_to_process())
        assert pool.is_in_pool("a")
        assert not pool.is_in_pool("b")
        assert 2 == pool.clear_pool()
        assert [] == pool.get_all_items()


def test_adding_again_makes_due(open_pool: Open) -> None:
    """What was acked, or is in somebody's hands, is due when it is added again."""
    with open_pool() as pool:
        pool.add_item("a")
        pool.get_items(1)
        pool.add_item("a")
        assert ["a"] == pool.get_items(1)
        assert pool.delete_item("a")
        assert not pool.delete_item("a")


def test_what_is_not_acked_falls_due(open_pool: Open, client: Any, tmp_path: Path) -> None:
    """The lease is counted from now, whenever an item fell due: an old one comes once."""
    now = int(time.time())
    with open_pool(ack_ttl=50, ack_valid_for=500) as pool:
        client.zadd(str(tmp_path), {"old": now - 86_400, "later": now + 1000})
        assert ["old"] == pool.get_all_items()
        assert now + 50 <= client.zscore(str(tmp_path), "old") < now + 60
        client.zadd(str(tmp_path), {"old": now - 5 + 0.1})
        assert ["old"] == pool.get_items(9)
        assert 1 == pool.ack_items(["old", "later"])
        assert now + 500 <= client.zscore(str(tmp_path), "old") < now + 510


def test_the_servers_clock_counts(
    open_pool: Open, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose clock is wrong takes nothing away from others, and keeps nothing for ever."""
    now = int(client.time()[0])
    monkeypatch.setattr(time, "time", lambda: now - 86_400.0)
    with open_pool(ack_ttl=50, ack_valid_for=500) as pool:
        pool.add_items(["a", "b"])
        assert now <= client.zscore(str(tmp_path), "a") < now + 10
        assert 2 == pool.get_count_to_process()
        assert ["a", "b"] == pool.get_items(5)
        assert now + 50 <= client.zscore(str(tmp_path), "a") < now + 60
        assert pool.ack_item("a")
        assert now + 500 <= client.zscore(str(tmp_path), "a") < now + 510
        assert 0 == pool.get_count_to_process()


def test_thousands(open_pool: Open) -> None:
    """More than one call of the server carries."""
    items = [f"{n:05d}" for n in range(2503)]
    with open_pool() as pool:
        pool.add_items(items)
        assert items == pool.get_items(9999)
        assert 2503 == pool.ack_items(items)
        assert 2503 == pool.delete_items(items)
        assert 0 == pool.get_count()


def test_other_items_than_text(open_pool: Open, client: Any, tmp_path: Path) -> None:
    """Text on the shared key; with a binary serializer anything, on a key of our own."""
    with open_pool() as pool:
        pool.add_items([1, "ü"])
        assert {"1", "ü"} == set(pool.get_all_items())
        with pytest.raises(SerializationError):
            pool.add_items(["a", b"\xff"])
        assert not pool.is_in_pool("a")
    client.delete(str(tmp_path))
    with open_pool(serializer=serializers.pickle) as pool:
        pool.add_item((1, {"a": None}))
        assert 0 == client.exists(str(tmp_path))
        assert [(1, {"a": None})] == pool.get_items(5)
        pool.clear_pool()
    with open_pool(serializer=json) as pool:  # the standard library's, as for queues
        pool.add_item({"a": None})
        assert 1 == client.exists(str(tmp_path))
        assert [{"a": None}] == pool.get_items(5)


def test_errors_are_ours(open_pool: Open, client: Any, tmp_path: Path) -> None:
    """A key of another type, and a pool that was closed."""
    client.set(str(tmp_path), "x")
    with open_pool() as pool, pytest.raises(FormatError, match="is a string"):
        pool.add_item("a")
    client.delete(str(tmp_path))
    pool = open_pool()
    pool.close()
    pool.close()
    with pytest.raises(QueueClosed):
        pool.get_items(1)


@pytest.mark.parametrize("option", ["ack_ttl", "ack_valid_for", "chunk_size"])
@pytest.mark.parametrize("pool_class", [RedisPool, AsyncRedisPool])
def test_wrong_options_say_what_is_wrong(pool_class: Any, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        pool_class("name", **{option: 0})


@in_loop
async def test_a_cancelled_get_gives_back(redis_server: Server, tmp_path: Path) -> None:
    """At whatever moment it is cancelled, what it got is due."""
    async with AsyncRedisPool(str(tmp_path), redis_server.url) as pool:
        await pool.add_items(["a", "b"])
        for turns in (0, 1, 2, 3, 5, 8, 13, 50):
            task = asyncio.ensure_future(pool.get_items(2))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await pool._worker.run(pool._give_back, [b"a", b"b"])
            assert 2 == await pool.get_count_to_process()


@in_loop
async def test_a_destroyed_get_gives_back(redis_server: Server, tmp_path: Path) -> None:
    """Where its coroutine is destroyed in the middle, what it got is due."""
    async with AsyncRedisPool(str(tmp_path), redis_server.url) as pool:
        await pool.add_items(["a", "b"])
        for seconds in (0, 0.001, 0.05):
            get = pool.get_items(2)
            get.send(None)
            await asyncio.sleep(seconds)
            get.close()
            assert 2 == await pool.get_count_to_process()


def test_a_fork_has_a_connection_of_its_own(redis_server: Server, tmp_path: Path) -> None:
    """Parent and child use the same object, and neither reads the other's answers."""
    with RedisPool(str(tmp_path), redis_server.url) as pool:
        pool.add_items(["a", "b", "c"])
        child = os.fork()
        if not child:
            ok = ["a"] == pool.get_items(1) and all(pool.get_count() == 3 for _ in range(50))
            os._exit(0 if ok else 1)
        for _ in range(50):
            assert 3 == pool.get_count()
        assert 0 == os.waitpid(child, 0)[1]
        assert ["b", "c"] == pool.get_items(9)
