"""The ways to a Redis server: URLs, clients and pools of every kind, TLS, Sentinel."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel
from guardian import Guarded, PortTaken, free_port
from loops import in_loop, parked
from redis_queues import Open, open_async, queue_fixture  # noqa: F401
from redis_server import PROGRAM, Server, needed, redis_fixture, start  # noqa: F401
from waiting import PATIENCE, until

from persistqueue import (
    AsyncRedisQueue,
    NotEnoughReplicas,
    QueueUnreachable,
    RedisPool,
    RedisQueue,
    RedisUniqueQueue,
    ServerRefused,
)
from persistqueue.compat.aiopyrq import Queue


def goes_round(q: Any) -> None:
    """An item goes in and out, also to somebody who waits."""
    q.put("ü")
    assert "ü" == q.get(timeout=9)
    assert q.ack("ü")
    assert 0 == q.qsize()


# -- clients and pools ----------------------------------------------------------------------

CLIENTS = {
    "RESP3": {"protocol": 3},
    "RESP3, decoded": {"protocol": 3, "decode_responses": True},
    "one connection": {"single_connection_client": True},
    "another encoding": {"encoding": "latin-1", "decode_responses": True},
    "another database": {"db": 3},
    "a name": {"client_name": "worker"},
}


@pytest.mark.parametrize("options", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_any_client_will_do(
    kind: Any, options: dict[str, Any], open_queue: Open, redis_server: Server, tmp_path: Path
) -> None:
    """What it does to answers is no matter; its database is."""
    client = kind(port=redis_server.port, **options)
    with open_queue(str(tmp_path), client) as q:
        goes_round(q)
        q.put("x")
    with redis.Redis(port=redis_server.port, db=options.get("db", 0)) as look:
        assert [b"x"] == look.lrange(str(tmp_path), 0, -1)
    with RedisPool(f"{tmp_path}-pool", client) as pool:
        pool.add_item("ü")
        assert ["ü"] == pool.get_items(5)


@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_a_pool_of_one_is_not_used_up(
    module: Any, open_queue: Open, redis_server: Server, tmp_path: Path
) -> None:
    """Its settings are used, not its only connection: two queues and its owner go on."""
    pool = module.BlockingConnectionPool(port=redis_server.port, max_connections=1, timeout=1)
    with open_queue(str(tmp_path), pool) as one, open_queue(str(tmp_path), pool) as other:
        one.put("a")
        assert "a" == other.get(timeout=9)
        if module is redis:
            assert redis.Redis(connection_pool=pool).ping()


@in_loop
async def test_compat_takes_clients_as_they_are(redis_server: Server, tmp_path: Path) -> None:
    """Text where the client decodes, bytes where it does not; what came out can be acked."""
    for options in (*CLIENTS.values(), {"decode_responses": False}):
        async with redis.asyncio.Redis(port=redis_server.port, **options) as client:
            q = Queue(str(tmp_path), client)
            await q.add_items(["a", "b"])
            items = await q.get_items(5)
            expected = ["a", "b"] if options.get("decode_responses") else [b"a", b"b"]
            assert expected == items
            await q.reject_item(items[1])
            assert items[1:] == await q.get_items(5)
            await q.ack_items(items)
            assert 0 == await client.exists(q.processing_queue_name, q.timeouts_hash_name)


# -- URLs -----------------------------------------------------------------------------------


def test_user_password_and_database_in_a_url(open_queue: Open, tmp_path: Path) -> None:
    """They are used, percent signs undone, and shown nowhere."""
    server = start(tmp_path / "redis")
    try:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(
                "ACL", "SETUSER", "worker", "on", ">p@ss/word", "~jobs*", "+@all", "-@dangerous"
            )
        url = f"redis://worker:p%40ss%2Fword@127.0.0.1:{server.port}/5"
        with open_queue("jobs", url) as q:
            goes_round(q)
            q.put("x")
            assert "p@ss" not in q.path
            assert "p%40ss" not in q.path
        with redis.Redis(port=server.port, db=5) as client:
            assert 1 == client.llen("jobs")
        with pytest.raises(ServerRefused, match="permission"):
            open_queue("other", url)
    finally:
        server.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no sockets in files")
@pytest.mark.parametrize("form", ["URL", "sync client", "async client"])
def test_a_unix_socket(open_queue: Open, form: str, tmp_path: Path) -> None:
    """By URL or by client."""
    folder = tempfile.mkdtemp()  # a socket's path must be short
    path = f"{folder}/s"
    server = start(tmp_path / "redis", "--unixsocket", path)
    where = {
        "URL": lambda: f"unix://{path}?db=2",
        "sync client": lambda: redis.Redis(unix_socket_path=path, db=2),
        "async client": lambda: redis.asyncio.Redis(unix_socket_path=path, db=2),
    }[form]()
    try:
        with open_queue("jobs", where) as q:
            goes_round(q)
            assert f"unix://{path}/jobs" == q.path
    finally:
        server.kill()
        shutil.rmtree(folder)


# -- Cluster --------------------------------------------------------------------------------


def test_a_name_in_braces_serves_a_cluster(
    open_queue: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys of a queue are in one slot then; a name without braces is told of them."""
    ports = iter(free_port, 0)
    low = filter(lambda port: port < 55_000, ports)  # the node's other port is 10,000 higher
    monkeypatch.setattr("guardian.free_port", lambda: next(low))
    server = start(tmp_path / "redis", "--cluster-enabled", "yes")
    try:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        with through(open_queue, "{jobs}", server.url) as q:  # the cluster is up in 2 s
            goes_round(q)
        with RedisUniqueQueue("{urls}", server.url) as unique:
            unique.put_many("abcd")
            assert list("abc") == unique.get_items(3)
            assert unique.nack("a")
            assert unique.ack("b")
            assert 1 == unique.re_enqueue_all_items()
            assert 1 == unique.delete_item("d")
        with open_queue("jobs", server.url) as q:
            with pytest.raises(ServerRefused, match="braces"):
                q.put("x")
            with pytest.raises(ServerRefused, match="braces"):
                q.get()
    finally:
        server.kill()


# -- TLS ------------------------------------------------------------------------------------


def tls_needed() -> None:
    """Skip where the server was built without TLS, or nothing makes a certificate."""
    needed()
    said = subprocess.run(
        [PROGRAM, "--port", "0", "--tls-port", "1"], capture_output=True, check=False
    )
    if b"Failed to configure TLS" not in said.stdout + said.stderr:  # there is no certificate
        pytest.skip(f"this {PROGRAM} was built without TLS")
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The port of a server that speaks TLS, and the file with its own certificate."""
    tls_needed()
    key, certificate, port = str(tmp_path / "key"), str(tmp_path / "certificate"), free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = start(
        tmp_path / "redis", "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
    )  # fmt: skip
    yield port, certificate
    server.kill()


@pytest.mark.parametrize("form", ["URL", "sync client", "async client"])
def test_tls(open_queue: Open, tls: tuple[int, str], form: str) -> None:
    """All verbs, a waiting get and big answers too; a certificate nobody knows is refused."""
    port, certificate = tls
    url = f"rediss://127.0.0.1:{port}/1"
    known: dict[str, Any] = {"ssl_ca_certs": certificate}
    where = {
        "URL": lambda: f"{url}?ssl_ca_certs={certificate}",
        "sync client": lambda: redis.Redis.from_url(url, **known),
        "async client": lambda: redis.asyncio.Redis.from_url(url, **known),
    }[form]()
    with open_queue("jobs", where) as q, open_queue("jobs", where) as other:
        goes_round(q)
        items = [f"{n}-" + "x" * 1000 for n in range(700)]
        q.put_many(items)
        assert items == other.get_items(1000)
        assert 700 == other.ack_many(items)
        other.put("later")
        assert "later" == q.get(timeout=9)
        assert f"{url}/jobs" == q.path
    with pytest.raises(QueueUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        open_queue("jobs", url)
    with RedisUniqueQueue("urls", where) as unique, RedisPool("pool", where) as pool:
        goes_round(unique)
        pool.add_item("a")
        assert ["a"] == pool.get_items(1)


# -- Sentinel -------------------------------------------------------------------------------


class Watched:
    """A master, two replicas, and a sentinel that looks after them."""

    def __init__(self, folder: Path) -> None:
        self.master = start(folder / "0", "--repl-diskless-sync-delay", "0")
        self.servers = [self.master]
        follow = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.servers += [
            start(folder / name, "--repl-diskless-sync-delay", "0", *follow) for name in "12"
        ]
        with redis.Redis.from_url(self.master.url) as client:
            until(lambda: "online" == client.info("replication").get("slave1", {}).get("state"))
        self.port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor shop 127.0.0.1 {self.master.port} 1\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 3000\n"
            "sentinel parallel-syncs shop 2\n"
        )
        self._sentinel = Guarded([PROGRAM, str(config), "--sentinel"], folder / "log")
        with redis.Redis(port=self.port) as client:
            until(lambda: _number_of_slaves(client) == 2, "the sentinel")

    def source(self) -> Any:
        """Return a client for the master, whoever that is."""
        module: Any = redis.sentinel
        sentinel = module.Sentinel([("127.0.0.1", self.port)], socket_timeout=6)
        return sentinel.master_for("shop", db=1)

    def kill(self) -> None:
        self._sentinel.kill()
        for server in self.servers:
            server.kill()


def _number_of_slaves(client: Any) -> int:
    try:
        return int(client.sentinel_master("shop")["num-slaves"])
    except redis.RedisError:
        return 0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.kill()


def synced(count: int) -> dict[str, Any]:
    """Return the options for so many replicas."""
    return {
        "synced_slaves_enabled": True,
        "synced_slaves_count": count,
        "synced_slaves_timeout": 5000,  # ms, less than socket_timeout
    }


def through(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a call again and again until nothing is in its way any more."""
    end = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            return call(*arguments, **options)
        except (QueueUnreachable, NotEnoughReplicas) as error:
            assert time.monotonic() < end, error
            time.sleep(0.05)


def test_sentinels_of_asyncio_are_refused() -> None:
    """In words that say what will do instead."""
    module: Any = redis.asyncio.sentinel
    client = module.Sentinel([("127.0.0.1", 1)]).master_for("shop")
    with pytest.raises(ValueError, match="without asyncio"):
        AsyncRedisQueue("jobs", client)


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_failover_loses_nothing_that_the_replicas_have(kind: str, watched: Watched) -> None:
    """What was put comes, and what was acked before does not.

    Any of the replicas may be the next master, so all have to confirm what must not be lost.
    """
    opener, where = open_async if kind == "async" else RedisQueue, watched.source()
    with opener("jobs", where, **synced(2)) as safe, opener("jobs", where, **synced(1)) as q:
        assert "redis+sentinel://shop/1/jobs" == q.path
        safe.put_many(["done", "held", "early"])
        safe.ack(safe.get())
        assert "held" == q.get()
        watched.master.kill()
        for n in range(20):
            through(q.put, f"late {n}")
        through(q.ack, "held")
        came: set[str] = set()
        while len(came) < 21:
            item = through(q.get, timeout=9)
            came.add(item)
            through(q.ack, item)
        assert {"early", *(f"late {n}" for n in range(20))} == came
    with redis.Redis(port=watched.port) as sentinel:
        assert watched.master.port != sentinel.sentinel_get_master_addr_by_name("shop")[1]


def test_a_waiting_get_outlives_a_failover(watched: Watched) -> None:
    """It takes what is put at the new master."""

    async def main() -> str:
        where = watched.source()
        async with AsyncRedisQueue("jobs", where) as q, AsyncRedisQueue("jobs", where) as other:
            waiting = asyncio.ensure_future(q.get())
            await parked(q, 1)
            watched.master.kill()
            stored = False
            while not stored:
                try:
                    await other.put("x")
                    stored = True
                except QueueUnreachable as error:
                    assert not error.stored  # None: the master died while it was asked
            return await asyncio.wait_for(waiting, PATIENCE)

    assert "x" == asyncio.run(main())


def test_a_demoted_master_stores_nothing(watched: Watched) -> None:
    """A put over a connection that was the master's says so, and the next one finds the new."""
    with (
        RedisQueue("jobs", watched.source()) as q,
        RedisPool("pool", watched.source()) as pool,
    ):
        q.put("a")
        pool.add_item("a")
        with redis.Redis.from_url(watched.master.url) as client:
            client.replicaof("127.0.0.1", watched.servers[1].port)
            for call in (lambda: q.put("b"), lambda: pool.add_item("b")):
                with pytest.raises(QueueUnreachable, match="nothing was stored") as caught:
                    call()
                assert caught.value.stored is False


# -- the servers of these tests -------------------------------------------------------------


def test_a_server_whose_port_was_taken_is_started_at_another(
    redis_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever answers at its port meanwhile is not taken for it."""
    ports = [redis_server.port, free_port()]
    monkeypatch.setattr("guardian.free_port", lambda: ports.pop(0))
    server = start(tmp_path / "redis")
    try:
        assert server.port != redis_server.port
        server.kill()
        server.port = redis_server.port
        with pytest.raises(PortTaken):
            server.start()
    finally:
        server.kill()
