"""What the Redis queues do beyond the contract: values, keys, and verbs of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from families import BlockingAsyncQueue, run
from redis_server import Server, redis_fixture  # noqa: F401
from waiting import Call, until

from persistqueue import (
    AsyncRedisQueue,
    AsyncRedisUniqueQueue,
    Empty,
    FormatError,
    Full,
    ItemTooLarge,
    QueueCorrupt,
    RedisQueue,
    RedisUniqueQueue,
    SerializationError,
    serializers,
)
from persistqueue.testing import waiting_calls

Open = Callable[..., Any]


def _async(queue_class: Any) -> Open:
    return lambda *args, **kwargs: BlockingAsyncQueue(run(queue_class.create(*args, **kwargs)))


QUEUES: dict[str, Open] = {"async": _async(AsyncRedisQueue), "sync": RedisQueue}
UNIQUE: dict[str, Open] = {"async": _async(AsyncRedisUniqueQueue), "sync": RedisUniqueQueue}


@pytest.fixture(params=sorted(QUEUES))
def open_queue(request: pytest.FixtureRequest, redis_server: Server, tmp_path: Path) -> Open:
    """Opens a queue of the test's own."""
    return lambda **options: QUEUES[request.param](str(tmp_path), redis_server.url, **options)


@pytest.fixture(params=sorted(UNIQUE))
def open_unique(request: pytest.FixtureRequest, redis_server: Server, tmp_path: Path) -> Open:
    """Opens a unique queue of the test's own."""
    return lambda **options: UNIQUE[request.param](str(tmp_path), redis_server.url, **options)


@pytest.fixture
def client(redis_server: Server) -> Any:
    """A client of the test's own."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


# -- values ---------------------------------------------------------------------------------


def test_text_goes_in_and_comes_out_as_it_is(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """On shared keys a str is its UTF-8; anything else is its JSON text."""
    items = ["text", "ü", "", '{"a": 1}', {"n": [1, None]}, 5, 1.5, True, None, b"bytes"]
    texts = ["text", "ü", "", '{"a": 1}', '{"n":[1,null]}', "5", "1.5", "true", "null", "bytes"]
    with open_queue() as q:
        q.put_many(items)
        assert [text.encode() for text in texts] == client.lrange(str(tmp_path), 0, -1)[::-1]
        assert texts == q.get_items(99)


def test_json_comes_out_as_it_went_in(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """With the json serializer, on the same shared keys, items are equal again."""
    items = ["5", 5, None, {"n": [1, {"m": None}]}, "ü"]
    with open_queue(serializer=serializers.json) as q:
        q.put_many(items)
        assert 5 == client.llen(str(tmp_path))
        assert items == q.get_items(9)


@pytest.mark.parametrize("item", [Ellipsis, {1, 2}, b"\xff", "\ud800"], ids=ascii)
def test_what_is_no_text_is_refused(open_queue: Open, item: Any) -> None:
    """What cannot be written as text is an error, and nothing of its batch is stored."""
    with open_queue() as q:
        with pytest.raises(SerializationError, match="text"):
            q.put_many(["a", item])
        assert 0 == q.qsize()


def test_an_item_that_is_too_large_is_refused(open_queue: Open) -> None:
    """max_item_bytes holds for what is put and for what is there."""
    with open_queue() as q, open_queue(max_item_bytes=4) as small:
        with pytest.raises(ItemTooLarge):
            small.put("12345")
        q.put("12345")
        with pytest.raises(ItemTooLarge):
            small.get()
        assert "12345" == q.get()


def test_binary_serializers_have_keys_of_their_own(
    open_queue: Open, client: Any, tmp_path: Path
) -> None:
    """A pickle never stands where aio-py-rq's consumers would read it."""
    with open_queue(serializer=serializers.pickle) as q:
        q.put((1, 2))
        assert 0 == client.exists(str(tmp_path))
        assert 1 == client.llen(f"persistqueue:{{{tmp_path}}}")
        assert (1, 2) == q.get()


def test_another_serializers_queue_is_refused(open_queue: Open) -> None:
    """Native keys remember their serializer; the error names both."""
    with open_queue(serializer=serializers.pickle) as q:
        q.put("a")
    with pytest.raises(FormatError, match=r"serializers\.pickle.*serializers\.msgpack"):
        open_queue(serializer=serializers.msgpack)


def test_a_value_that_cannot_be_decoded_stays(
    open_queue: Open, client: Any, tmp_path: Path
) -> None:
    """It is in the way until it is skipped; then it is in the list of dead ones."""
    name = str(tmp_path)
    client.lpush(name, "1", "{", "3")
    with open_queue(serializer=serializers.json) as q:
        assert [1] == q.get_items(9)
        q.ack(1)
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match="on_corrupt"):
                q.get()
        with pytest.raises(QueueCorrupt):
            q.peek()
        assert [b"3", b"{"] == client.lrange(name, 0, -1)
    with open_queue(serializer=serializers.json, on_corrupt="skip") as q:
        assert [3] == q.get_items(9)
        assert 1 == q.skipped
    assert [b"{"] == client.lrange(f"{name}-dead", 0, -1)


@pytest.mark.parametrize("suffix", ["", "-front", "-timeouts", "-due", "-unique"])
def test_opening_looks_at_every_key(
    suffix: str, open_unique: Open, client: Any, tmp_path: Path
) -> None:
    """A name that is another's is told before anything is done."""
    client.set(f"{tmp_path}{suffix}", "something else")
    with pytest.raises(FormatError, match=f"{tmp_path.name}{suffix} is a string"):
        open_unique()


def test_a_key_of_another_type_is_refused(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """A name that is used for something else is an error, at opening or later."""
    with open_queue() as q:
        client.set(str(tmp_path), "x")
        with pytest.raises(FormatError, match="something else"):
            q.put("a")
    with pytest.raises(FormatError, match="is a string"):
        open_queue()


# -- how it is opened -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
@pytest.mark.parametrize("part", ["client", "pool"])
@pytest.mark.parametrize("decodes", [False, True])
def test_a_client_or_a_pool_will_do(
    kind: Any,
    part: str,
    decodes: bool,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """Its settings are used, of either half of redis-py; decode_responses is no matter."""
    client = kind.from_url(redis_server.url, decode_responses=decodes)
    with RedisQueue(str(tmp_path), client if part == "client" else client.connection_pool) as q:
        q.put("ü")
        assert "ü" == q.get()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("", "redis://localhost"), ValueError, "empty"),
        ((5, "redis://localhost"), TypeError, "str"),
        (("\ud800", "redis://localhost"), ValueError, "UTF-8"),
        (("jobs", "http://localhost"), ValueError, "redis://"),
        (("jobs", 6379), TypeError, "URL"),
    ],
)
@pytest.mark.parametrize("queue_class", [RedisQueue, AsyncRedisQueue])
def test_wrong_arguments_say_what_is_wrong(
    queue_class: Any, arguments: Any, error: type[Exception], words: str
) -> None:
    """They are errors of the constructor, of both classes."""
    with pytest.raises(error, match=words):
        queue_class(*arguments)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"lease": 0}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"lease": "60"}, "'lease' must be a number of seconds, not str"),
        ({"synced_slaves_enabled": True}, "synced_slaves_count"),
        ({"synced_slaves_count": -1}, "synced_slaves_count"),
        ({"on_corrupt": "ignore"}, "on_corrupt"),
        *(
            (
                {
                    "synced_slaves_enabled": True,
                    "synced_slaves_count": 1,
                    "synced_slaves_timeout": timeout,
                },
                "socket_timeout",
            )
            for timeout in (0, 10_000)  # ms
        ),
    ],
)
def test_wrong_options_say_what_is_wrong(option: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        RedisQueue("jobs", **option)


def test_names_are_what_they_are(redis_server: Server) -> None:
    """Braces, spaces, newlines and wildcards in a name mean nothing."""
    for name in ("a{b}c", "with space", "line\nbreak", "*", "ü", "%s"):
        with RedisQueue(name, redis_server.url) as q:
            q.put(name)
            assert name == q.get()
            q.task_done()


# -- many -----------------------------------------------------------------------------------


@pytest.mark.parametrize("maxsize", [0, 9000])
def test_thousands_of_items_go_in_and_out_in_order(open_queue: Open, maxsize: int) -> None:
    """More than one call of the server carries: all or none, in their order."""
    items = [str(n) for n in range(2503)]
    with open_queue(maxsize=maxsize) as q:
        q.put_many(items)
        q.put_many(items)
        assert items == q.get_items(2503)
        assert 2503 == q.nack_many(items)
        assert items == q.get_items(2503)
        assert 2503 == q.ack_many(reversed(items))
        assert 2503 == q.qsize()


def test_put_many_that_does_not_fit_stores_nothing(open_queue: Open) -> None:
    """Room is looked at where the items are stored: nothing is stored halfway."""
    with open_queue(maxsize=2000) as q:
        q.put_many(["x"] * 600)
        with pytest.raises(Full):
            q.put_many(["y"] * 1500, block=False)
        with pytest.raises(Full):
            q.put_many(["y"] * 1401, timeout=0)
        assert 600 == q.qsize()


def test_room_that_another_object_took_is_no_room(open_queue: Open) -> None:
    """Two objects never put more than maxsize between them."""
    with open_queue(maxsize=3) as a, open_queue(maxsize=3) as b:
        a.put_many(["1", "2"])
        b.put("3")
        with pytest.raises(Full):
            a.put_nowait("4")
        call = Call(a.put, "4")
        until(lambda: waiting_calls(a).parked)
        b.task_done(item=b.get())
        call.outcome()
        assert ["2", "3", "4"] == b.get_items(9)


# -- finishing ------------------------------------------------------------------------------


def test_ack_and_nack_go_by_the_object_or_by_equality(open_queue: Open) -> None:
    """What this object does not hold is not there, and that is no error."""
    with open_queue(serializer=serializers.json) as q:
        q.put_many([{"n": 1}, {"n": 2}, {"n": 3}])
        first, _second, _third = q.get_items(3)
        assert q.ack(first)
        assert not q.ack(first)
        assert not q.nack({"n": 9})
        assert q.nack({"n": 3})
        assert q.nack({"n": 2}, to="back")
        assert [{"n": 3}, {"n": 2}] == q.get_items(9)


def test_rejecting_keeps_the_order(open_queue: Open) -> None:
    """A batch that is rejected is next, in its order."""
    with open_queue() as q:
        q.put_many(list("abcde"))
        batch = q.get_items(3)
        q.nack_many(batch)
        assert list("abcde") == q.get_items(9)
        assert q.nack("b")
        assert "b" == q.get()
        assert [] == q.get_items(0)
        q.get_items(9)
        assert [] == q.get_items(5)


def test_close_gives_back_what_is_held(open_queue: Open) -> None:
    """Nobody has to wait for the lease of an object that was closed; the order is kept."""
    with open_queue() as q:
        q.put_many("abcdef")
        q.get_items(2)
        q.get()
        q.get()
        q.ack("b")
    with open_queue() as q:
        assert list("acdef") == q.get_items(9)


def test_nothing_is_left_of_what_is_finished(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """No list and no stamp stays behind."""
    with open_queue() as q:
        q.put_many("abc")
        q.get_items(2)
        q.get()
        q.ack("b")
        q.ack_many("ac")
    assert [] == [key for key in client.keys("*") if str(tmp_path).encode() in key]


# -- by value -------------------------------------------------------------------------------


def test_delete_items_by_value(open_queue: Open) -> None:
    """All equal ones, or so many from the newest or from the oldest on."""
    with open_queue() as q:
        q.put_many(list("abacada"))
        assert 1 == q.delete_item("a", 1)
        assert 1 == q.delete_item("a", -1)
        assert 3 == q.delete_items(["a", "d", "x"])
        assert ["b", "c"] == q.get_items(9)


# -- unique ---------------------------------------------------------------------------------


def test_equal_items_wait_once(open_unique: Open, client: Any, tmp_path: Path) -> None:
    """put says whether it was stored; what was taken may be put again; the set stays right."""
    with open_unique() as q:
        assert [True, False, True] == q.put_many(["1", 1, "2"])
        assert not q.put("1")
        assert "1" == q.get()
        assert q.put("1")
        q.nack("1")  # it waits again already
        assert ["2", "1"] == q.get_items(9)
        assert 0 == client.scard(f"{tmp_path}-unique")
        q.nack_many(["2", "1"])
        assert {b"1", b"2"} == client.smembers(f"{tmp_path}-unique")
        assert 1 == q.delete_item("1")
        assert q.put("1")


def test_a_set_without_its_list_is_forgotten(
    open_unique: Open, client: Any, tmp_path: Path
) -> None:
    """A move, or a plain consumer, may leave one behind: it swallows no put for ever."""
    name = str(tmp_path)
    with open_unique(maxsize=2) as q:
        client.sadd(f"{name}-unique", "a", "b", "c")
        assert q.put("a", timeout=0)
        assert [False, True] == q.put_many("ab", timeout=0)
        with pytest.raises(Full):
            q.put("c", timeout=0)
        assert ["a", "b"] == q.get_items(9)
        client.sadd(f"{name}-unique", "a", "b")
        assert q.nack("a")
        assert q.put("b")
        assert q.nack("b")  # it waits again already
        assert ["a", "b"] == q.get_items(9)


def test_giving_back_beside_a_wrong_set_loses_nothing(
    open_unique: Open, client: Any, tmp_path: Path
) -> None:
    """What the set says waits, and does not, is put back all the same."""
    with open_unique() as q:
        q.put_many("abc")
        assert ["a", "b"] == q.get_items(2)
        client.sadd(f"{tmp_path}-unique", "a", "b")
        assert q.nack("a")
        assert 1 == q.re_enqueue_all_items()
        assert ["b", "a", "c"] == q.get_items(9)


def test_a_wrong_set_does_not_stop_compat(
    redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """Its puts, and what it rejects."""
    from persistqueue.compat.aiopyrq import UniqueQueue

    async def main() -> None:
        async with redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True) as their:
            q = UniqueQueue(str(tmp_path), their)
            client.sadd(f"{tmp_path}-unique", "a")
            await q.add_item("a")
            assert ["a"] == await q.get_items(5)
            client.sadd(f"{tmp_path}-unique", "a")
            await q.reject_item("a")
            assert ["a"] == await q.get_items(5)

    run(main())


def test_what_waits_already_needs_no_room(open_unique: Open) -> None:
    """As in the SQLite unique queues."""
    with open_unique(maxsize=2) as q:
        assert [True, True] == q.put_many("ab")
        assert q.put("a", timeout=0) is False
        assert [False, False] == q.put_many("ba", timeout=0)
        with pytest.raises(Full):
            q.put_many("ac", timeout=0)
        assert "a" == q.get()
        assert [False, True] == q.put_many("bc", timeout=0)


def test_equal_dicts_wait_once(open_unique: Open) -> None:
    """With a serializer the order of a dict's keys is no matter."""
    with open_unique(serializer=serializers.json) as q:
        assert q.put({"a": 1, "b": 2})
        assert not q.put({"b": 2, "a": 1})


# -- leases ---------------------------------------------------------------------------------

KILLED = """
import os, sys
from persistqueue import RedisQueue
q = RedisQueue(sys.argv[1], sys.argv[2], lease=float(sys.argv[3]))
print(q.get_items(2), q.get(), q.get_items(3), flush=True)
q.ack("b")
os.kill(os.getpid(), 9)
"""


def killed_consumer(name: str, url: str, lease: float = 60) -> None:
    """Let a process take six items in three batches, finish one, and die of SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, name, url, str(lease)], timeout=60, check=False,
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert -9 == done.returncode, done.stderr
    assert "['a', 'b'] c ['d', 'e', 'f']\n" == done.stdout


def test_what_a_killed_consumer_held_comes_back_in_order(
    open_queue: Open,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """Nothing is lost, nothing that was acked comes again, and what comes is in its order."""
    with open_queue() as q:
        q.put_many("abcdefg")
        killed_consumer(str(tmp_path), redis_server.url)
        assert ["g"] == q.get_items(9)
        assert 0 == q.re_enqueue_timeout_items()
        assert 4 == q.re_enqueue_timeout_items(0)  # its three, and our own
        assert list("acdefg") == q.get_items(9)


def test_a_lease_ends_by_itself(
    open_queue: Open,
    client: Any,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """Whoever takes finds what is overdue, batch by batch; others' batches are left alone."""
    with open_queue() as q:
        q.put_many("abcdefg")
        killed_consumer(str(tmp_path), redis_server.url)
    stamps = f"{tmp_path}-timeouts"
    names = sorted(client.hkeys(stamps))
    client.zadd(f"{tmp_path}-due", dict.fromkeys(names[1:], 1000.5))
    client.rpush(f"{tmp_path}-processing-old[1][2]", "theirs")
    client.hset(stamps, f"{tmp_path}-processing-old[1][2]", "1000")
    with open_queue() as q:
        assert list("cdefg") == q.get_items(9)
        assert 3 == client.hlen(stamps)
        assert 2 == client.zcard(f"{tmp_path}-due")


def test_a_waiting_get_finds_what_falls_due(
    open_queue: Open,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """It looks now and then, although nobody puts anything."""
    with open_queue() as q:
        q.put_many("abcdef")
    killed_consumer(str(tmp_path), redis_server.url, lease=0.5)
    with open_queue() as q:
        assert "a" == q.get(timeout=20)


def test_a_heartbeat_begins_the_lease_anew(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """What is held does not fall due while its holder says so."""
    with open_queue() as q:
        q.put_many("ab")
        q.get()
        q.get()
        for name in client.hkeys(f"{tmp_path}-timeouts"):
            client.hset(f"{tmp_path}-timeouts", name, "1000")
        assert 2 == q.heartbeat()
        assert 0 == q.re_enqueue_timeout_items(60)


def test_dropping_deletes_what_was_taken(open_queue: Open, client: Any, tmp_path: Path) -> None:
    """All of it, or what is overdue; what waits stays."""
    with open_queue() as q:
        q.put_many("abc")
        q.get_items(2)
        assert 0 == q.drop_timeout_items()
        assert 1 == q.drop_all_items()
        assert 0 == client.hlen(f"{tmp_path}-timeouts")
        assert ["c"] == q.get_items(9)


@pytest.mark.parametrize("verb", ["drop_all_items", "re_enqueue_all_items"])
def test_what_is_taken_away_is_not_remembered(open_queue: Open, verb: str) -> None:
    """Nothing of it is kept: neither for an ack, nor to be given back at the end."""
    with open_queue() as q:
        q.put_many(map(str, range(1000)))
        items = [q.get() for _ in range(10)] + q.get_items(990)
        book = q._session.inflight
        assert (1000, 14) == (len(book._all), getattr(q, verb)())
        assert 0 == len(book._all)
        assert not q.ack(items[0])
        assert not q._store.unsaved()
        back = q.get_items(2000) if q.qsize() else []
        assert (items if verb == "re_enqueue_all_items" else []) == back


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
def test_finishing_one_twice_finishes_no_other(
    kind: Any, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """A call that failed half of the way, or was interrupted, is repeated as a whole."""
    with kind(str(tmp_path), redis_server.url) as q:
        q.put_many("abcde")
        records = q._store.take(5)
        for _ in range(2):
            q._store.settle(records[:1])
            q._store.untake(records[1:2])
        assert [b"e", b"d", b"c"] == client.lrange(f"{q.consumer}0000000001", 0, -1)
        q._store.settle(records)
        assert 0 == client.hlen(f"{tmp_path}-timeouts")


@pytest.mark.parametrize("kind", [RedisQueue, RedisUniqueQueue])
def test_what_was_taken_for_nobody_is_put_back(
    kind: Any, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """A batch that Ctrl-C ends behind a take is done again from the start."""
    with kind(str(tmp_path), redis_server.url) as q:
        q.put_many("abcde")
        assert ["a"] == q.get_items(1)
        q._store.begin(False)
        assert 3 == len(q._store.take(3))
        assert not q._store.rollback()
        assert 4 == q.qsize()
        assert 1 == client.hlen(f"{tmp_path}-timeouts")
        assert list("bcde") == q.get_items(9)


def test_finishing_what_others_have_by_now_changes_nothing(open_queue: Open) -> None:
    """After its lease an item may be somebody else's: a late ack or nack takes nothing away."""
    with open_queue() as late, open_queue() as other:
        late.put_many("ab")
        held = late.get_items(2)
        other.re_enqueue_all_items()
        assert held == other.get_items(2)
        late.ack("a")
        late.nack("b")
        assert 0 == other.qsize()
        other.nack_many(held)
        assert held == late.get_items(9)


# -- waiting --------------------------------------------------------------------------------


def test_a_waiting_get_takes_what_aio_py_rq_puts(
    open_queue: Open, client: Any, tmp_path: Path
) -> None:
    """Whoever pushes to the list is noticed: it need not be one of ours."""
    with open_queue() as q:
        call = Call(q.get)
        until(lambda: waiting_calls(q).parked)
        until(lambda: b"blmove" in json.dumps(client.client_list()).encode(), "a client that waits")
        client.lpush(str(tmp_path), "x")
        assert "x" == call.outcome()
        with pytest.raises(Empty):
            q.get(timeout=0.05)


def test_join_waits_for_other_objects(open_queue: Open) -> None:
    """What another object holds is not finished."""
    with open_queue() as a, open_queue() as b:
        a.put("x")
        b.get()
        call = Call(a.join)
        until(lambda: waiting_calls(a).parked)
        b.task_done()
        call.outcome()
