"""Leases of the Redis queues: how long what was taken is its consumer's, and what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from families import BlockingAsyncQueue, run
from loops import in_loop
from redis_queues import Open, queue_fixture  # noqa: F401
from redis_server import Server, redis_fixture  # noqa: F401
from waiting import until

from persistqueue import (
    AsyncRedisQueue,
    AsyncRedisUniqueQueue,
    Empty,
    RedisQueue,
    RedisUniqueQueue,
    serializers,
)

KINDS: dict[str, Callable[..., Any]] = {
    "sync": RedisQueue,
    "sync, unique": RedisUniqueQueue,
    "async": lambda *a, **k: BlockingAsyncQueue(run(AsyncRedisQueue.create(*a, **k))),
    "async, unique": lambda *a, **k: BlockingAsyncQueue(run(AsyncRedisUniqueQueue.create(*a, **k))),
}


@pytest.fixture(params=sorted(KINDS))
def open_kind(request: pytest.FixtureRequest, redis_server: Server, tmp_path: Path) -> Open:
    """Opens a queue of the test's own, of any kind."""
    return lambda **options: KINDS[request.param](str(tmp_path), redis_server.url, **options)


@pytest.fixture
def client(redis_server: Server) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def end_leases(client: Any, name: Path) -> None:
    """Let every lease of a queue be over, as if its holders had been stopped for long."""
    for held in client.zrange(f"{name}-due", 0, -1):
        client.zadd(f"{name}-due", {held: 1000}, xx=True)


# -- whose lease it is ----------------------------------------------------------------------


def test_a_lease_is_its_holders(open_kind: Open, client: Any, tmp_path: Path) -> None:
    """What another consumer has for a lease does not matter; one without holds for ever."""
    with open_kind(lease=7200) as a, open_kind(lease=None) as b, open_kind(lease=0.2) as c:
        a.put_many(["1", "2"])
        now = time.time()
        assert "1" == a.get()
        assert "2" == b.get()
        ((_, due),) = client.zrange(f"{tmp_path}-due", 0, -1, withscores=True)
        assert now + 7199 < due < now + 7300
        assert 2 == client.hlen(f"{tmp_path}-timeouts")
        with pytest.raises(Empty):
            c.get(timeout=0.3)  # longer than its own
        assert a.ack("1")
        assert b.ack("2")
        assert 0 == client.exists(f"{tmp_path}-due", f"{tmp_path}-timeouts")


def test_the_default_is_a_minute(open_kind: Open, client: Any, tmp_path: Path) -> None:
    """A consumer that dies keeps nothing for hours."""
    with open_kind() as q:
        q.put("a")
        now = time.time()
        q.get()
        ((_, due),) = client.zrange(f"{tmp_path}-due", 0, -1, withscores=True)
        assert now + 59 < due < now + 70


def test_a_consumer_without_a_lease_finds_what_is_overdue(
    open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """For that it is the other one's lease that counts."""
    with open_kind() as a, open_kind(lease=None) as b:
        a.put("x")
        assert "x" == a.get()
        end_leases(client, tmp_path)
        assert "x" == b.get(timeout=9)


# -- renewing -------------------------------------------------------------------------------


def test_what_is_held_is_kept(open_kind: Open, client: Any, tmp_path: Path) -> None:
    """For as long as its holder lives, over a connection that is there only while it holds."""
    with open_kind(lease=0.6) as a, open_kind(lease=0.6) as b:
        a.put_many("xy")
        assert "x" == a.get()
        first = client.zrange(f"{tmp_path}-due", 0, -1, withscores=True)[0][1]
        until(lambda: client.zrange(f"{tmp_path}-due", 0, -1, withscores=True)[0][1] > first + 0.7)
        assert "y" == b.get(timeout=0)
        with pytest.raises(Empty):
            b.get(timeout=0)
        assert a.ack("x")
        assert b.ack("y")


def test_an_endless_lease_does_not_end_those_of_others(
    open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """One thread renews for the whole process, and waits for no turn that never comes."""
    with open_kind(lease=float("inf")) as ages, open_kind(lease=0.6) as q:
        q.put_many("ab")
        assert "a" == ages.get()
        assert "b" == q.get()
        (_, first), _ = client.zrange(f"{tmp_path}-due", 0, -1, withscores=True)
        until(lambda: client.zrange(f"{tmp_path}-due", 0, 0, withscores=True)[0][1] > first + 0.7)
        assert q.ack("b")
        assert ages.ack("a")


def test_nothing_is_renewed_where_nothing_is_held(redis_server: Server, tmp_path: Path) -> None:
    """Nor is there a connection for it; what is finished at once makes none."""
    url = f"{redis_server.url}?client_name={tmp_path.name}"
    with (
        redis.Redis.from_url(redis_server.url) as client,
        RedisQueue(str(tmp_path), url, lease=0.3) as q,
    ):

        def connections() -> int:
            return sum(one["name"] == tmp_path.name for one in client.client_list())

        q.put_many("abc")
        for item in "ab":
            assert item == q.get()
            assert q.ack(item)
        assert 1 == connections()
        assert "c" == q.get()
        until(lambda: 2 == connections(), "a connection for renewing")
        assert q.ack("c")
        until(lambda: 1 == connections(), "the end of that connection")


@in_loop
async def test_a_blocked_loop_keeps_its_leases(redis_server: Server, tmp_path: Path) -> None:
    """A handler that never awaits loses nothing."""
    async with AsyncRedisQueue(str(tmp_path), redis_server.url, lease=0.4) as q:
        await q.put("x")
        assert "x" == await q.get()
        with RedisQueue(str(tmp_path), redis_server.url, lease=0.4) as other:
            end = time.monotonic() + 1.0
            while time.monotonic() < end:  # the loop can do nothing else
                assert [] == other.get_items(1)
        assert await q.ack("x")


def test_a_fork_keeps_what_it_takes(redis_server: Server, tmp_path: Path) -> None:
    """Parent and child renew each their own."""
    with RedisQueue(str(tmp_path), redis_server.url, lease=0.5) as q:
        q.put_many("ab")
        assert "a" == q.get()
        until(lambda: q._store.held.lists[1].until > time.monotonic() + 0.4)
        child = os.fork()
        if not child:
            ok = "b" == q.get()
            until(lambda: q._store.held.lists[2].until > time.monotonic() + 0.4)
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                ok = ok and [] == q.get_items(1)
            os._exit(0 if ok and q.ack("b") and not q.ack("a") else 1)
        assert 0 == os.waitpid(child, 0)[1]
        assert [] == q.get_items(1)
        assert q.ack("a")


STOPPED = """
import sys
from persistqueue import RedisQueue
q = RedisQueue(sys.argv[1], sys.argv[2], lease=0.4)
print(q.get_items(2), flush=True)
input()
print(q.ack("a"), q.nack("b"), flush=True)
try:
    q.task_done()
except ValueError as error:
    print(error, flush=True)
"""


def test_a_process_that_was_stopped_has_lost_its_items(
    redis_server: Server, tmp_path: Path
) -> None:
    """It is told so, and takes nothing from the one that has them now."""
    with RedisQueue(str(tmp_path), redis_server.url) as q:
        q.put_many("ab")
        holder = subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(tmp_path), redis_server.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert "['a', 'b']\n" == holder.stdout.readline()
            os.kill(holder.pid, signal.SIGSTOP)
            assert ["a", "b"] == q.get_many(2, timeout=20)
            os.kill(holder.pid, signal.SIGCONT)
            said, _ = holder.communicate("\n", timeout=30)
        finally:
            holder.kill()
        assert said.startswith("False False\ntask_done() called too many times")
        assert 2 == q.ack_many("ab")


# -- after a lost lease ---------------------------------------------------------------------


def test_who_has_lost_its_lease_is_told(
    open_kind: Open, client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ack, nack and task_done do nothing then, and say so; the new holder's does all."""
    with open_kind() as late, open_kind() as other:
        late.put_many("abcdef")
        held = [late.get() for _ in range(4)] + late.get_items(2)
        end_leases(client, tmp_path)
        assert list("abcdef") == other.get_many(9, timeout=9)
        assert not late.ack("a")
        assert not late.nack("b")
        assert not late.nack("c", to="back")
        with pytest.raises(ValueError, match="lease"):
            late.task_done(item=held[3])
        assert 0 == late.ack_many("ef")
        with pytest.raises(ValueError, match="too many times"):
            late.task_done()
        assert "taken away" in caplog.text
        assert 6 == other.ack_many("abcdef")
        assert 0 == client.exists(f"{tmp_path}", f"{tmp_path}-timeouts", f"{tmp_path}-due")


def test_of_a_batch_only_what_was_lost_is_refused(
    open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """The number says how many were still there."""
    with open_kind() as late, open_kind() as other:
        late.put_many("abcd")
        late.get_items(2)
        end_leases(client, tmp_path)
        assert ["a", "b"] == other.get_items(2)
        late.get_items(2)
        assert 2 == late.ack_many("abcd")
        assert 2 == other.ack_many("abcd")


def test_a_bare_task_done_after_a_lost_lease(open_kind: Open, client: Any, tmp_path: Path) -> None:
    """It settles what is still there, and says that this is not all."""
    with open_kind() as late, open_kind() as other:
        late.put_many("ab")
        assert "a" == late.get()
        end_leases(client, tmp_path)
        assert "a" == other.get(timeout=9)
        assert "b" == late.get()
        with pytest.raises(ValueError, match="lease"):
            late.task_done(2)
        assert 1 == client.hlen(f"{tmp_path}-timeouts")
        assert other.ack("a")
        assert 0 == client.exists(f"{tmp_path}-timeouts")


def test_a_block_whose_lease_was_over_finishes_nothing(
    open_kind: Open, client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its item is the other one's; there is a warning."""
    with open_kind() as late, open_kind() as other:
        late.put("a")
        with late.process() as item:
            end_leases(client, tmp_path)
            assert item == other.get(timeout=9)
        assert "taken away" in caplog.text
        assert other.ack("a")


ITEMS = {
    "text": (None, "hello"),
    "one character": (None, "x"),
    "a number": (serializers.json, 7),
    "a dict": (serializers.json, {"n": 1}),
}


@pytest.mark.parametrize(("serializer", "item"), ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("how", ["ack", "nack", "task_done", "equal"])
def test_what_was_taken_again_is_finished(
    serializer: Any, item: Any, how: str, open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """Not the record of the first time, which is dead, although the items are equal."""
    with open_kind(serializer=serializer) as q, open_kind(serializer=serializer) as other:
        q.put(item)
        assert item == q.get()
        end_leases(client, tmp_path)
        other.get(timeout=9)
        other.nack(item)
        again = q.get()
        if how == "task_done":
            q.task_done()
        elif how == "nack":
            assert q.nack(again)
            assert item == other.get(timeout=0)
            assert other.ack(item)
        else:
            assert q.ack(again if how == "ack" else dict(again) if again == {"n": 1} else again)
        assert 0 == client.exists(f"{tmp_path}", f"{tmp_path}-timeouts")
        assert not q.ack(item)
        with pytest.raises(ValueError, match="too many"):
            q.task_done()


def test_the_book_of_what_was_lost_does_not_grow(
    open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """Whatever a consumer forgets to finish is not remembered when it is somebody else's."""
    with open_kind() as q, open_kind() as other:
        q.put("x")
        for _ in range(5):
            assert "x" == q.get(timeout=9)
            end_leases(client, tmp_path)
            other._store._sweep_at = 0.0
            assert "x" == other.get(timeout=9)
            q.heartbeat()
            assert other.nack("x")
        assert len(q._session.inflight._all) <= 1
        assert 0 == len(q._store.held.lists)


def test_a_finish_whose_answer_was_lost_is_no_lost_lease(
    open_kind: Open, client: Any, tmp_path: Path
) -> None:
    """What the first of two equal commands did counts as done while the lease lasts."""
    with open_kind() as q:
        q.put_many("abc")
        assert "a" == q.get()
        assert ["b", "c"] == q.get_items(2)
        for batch in q._store.held.lists.values():
            batch.unsure = True
        client.delete(f"{q.consumer}0000000001")
        client.lrem(f"{q.consumer}0000000002", 1, "b")
        assert q.ack("a")
        assert 2 == q.ack_many("bc")


# -- sweeping -------------------------------------------------------------------------------


def test_much_that_is_overdue_comes_in_slices(
    redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """A get does a part of it; nothing is lost, and nothing comes twice."""
    with RedisQueue(str(tmp_path), redis_server.url) as dead:
        items = [str(number) for number in range(3000)]
        dead.put_many(items)
        for _ in items:
            dead.get()
        end_leases(client, tmp_path)
        with (
            RedisQueue(str(tmp_path), redis_server.url) as a,
            RedisQueue(str(tmp_path), redis_server.url) as b,
        ):
            got = a.get_many(2)
            assert 2 == a.ack_many(got)
            assert client.zcard(f"{tmp_path}-due")
            while len(got) < 3000:
                for q in (a, b):
                    try:
                        got.append(q.get(timeout=9))
                    except Empty:
                        break
                    assert q.ack(got[-1])
        assert sorted(items) == sorted(got)
        assert 0 == client.exists(f"{tmp_path}-due", f"{tmp_path}-timeouts")


@pytest.mark.parametrize("collector", ["ours", "theirs"])
def test_lists_that_are_gone_leave_no_due_time(
    collector: str, redis_server: Server, client: Any, tmp_path: Path
) -> None:
    """A collector of aio-py-rq knows nothing of these times: they go when they are over."""
    with RedisQueue(str(tmp_path), redis_server.url) as q:
        q.put("a")
        assert "a" == q.get()
        (held,) = client.hkeys(f"{tmp_path}-timeouts")
        if collector == "theirs":
            client.lmove(held, str(tmp_path), "LEFT", "RIGHT")
            client.hdel(f"{tmp_path}-timeouts", held)
        else:
            q.re_enqueue_all_items()
        assert "a" == q.get(timeout=0)
        assert q.ack("a")
        end_leases(client, tmp_path)
        q._store._sweep_at = 0.0
        assert [] == q.get_items(1)
        assert 0 == client.exists(f"{tmp_path}-due", str(tmp_path))
