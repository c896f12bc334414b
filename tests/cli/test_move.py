"""``python -m persistqueue move`` and ``copy``: nothing lost, nothing changed on the way."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import mysql_server
import pytest
import redis
from move_killer import Killer
from redis_server import Server, redis_fixture  # noqa: F401
from upstream import Upstream, upstream_fixture  # noqa: F401

from persistqueue import (
    Broker,
    Dead,
    FILOSQLiteAckQueue,
    FILOSQLiteQueue,
    JobQueue,
    MySQLAckQueue,
    MySQLQueue,
    PDict,
    PriorityQueue,
    Put,
    Queue,
    RedisPool,
    RedisQueue,
    RedisUniqueQueue,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
    engines,
    serializers,
)
from persistqueue.__main__ import main
from persistqueue._cli import ends, move, places, redisends

NO_FORK = not hasattr(os, "fork")


def command(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: its status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


class Place:
    """A kind of queue: its URL, how to open it, and what is in it.

    Args:
        kind: a key of ``KINDS``.
        folder: of its own; its name is the queue's on a server.
    """

    def __init__(self, kind: str, folder: Path, server: Server) -> None:
        self.kind, self.folder, self.name = kind, folder, folder.name
        self._server = server
        self.url, self._open = KINDS[kind](self)

    def open(self) -> Any:
        return self._open()

    def put(self, items: list[Any]) -> None:
        with closing(self.open()) as q:
            if self.kind != "gaps":
                q.put_many(items)
                return
            q.put_many([each for item in items for each in (item, FINISHED)])
            for item in q.get_many(10_000):
                if item == FINISHED:
                    q.task_done(item=item)

    def items(self) -> list[Any]:
        """Take everything that is there, in the order in which a consumer would."""
        with closing(self.open()) as q:
            items: list[Any] = q.get_many(10_000, timeout=0) if q.qsize() else []
            if isinstance(q, RedisQueue | SQLiteAckQueue | MySQLAckQueue):
                for item in items:
                    q.ack(item)
            elif items and not isinstance(q, SQLiteQueue | MySQLQueue):
                q.task_done(len(items))
            return items

    def take_one(self) -> list[Any]:
        """Take the next item, and finish it; nothing if there is none."""
        with closing(self.open()) as q:
            taken: list[Any] = q.get_many(1, timeout=0) if q.qsize() else []
            for item in taken:
                q.ack(item) if hasattr(q, "ack") else q.task_done()
            return taken

    # -- kinds ----------------------------------------------------------------------

    def file(self) -> Any:
        return f"file:{self.folder}", lambda: Queue(self.folder)

    def engine(self, cls: Any) -> Any:
        if not self.folder.exists():
            Queue(self.folder, engine=cls).close()
        return str(self.folder), lambda: Queue(self.folder, engine=cls)

    def sqlite(self, cls: Any) -> Any:
        if not self.folder.exists():
            cls(self.folder, name="jobs").close()
        return f"sqlite:{self.folder}?name=jobs", lambda: cls(self.folder, name="jobs")

    def broker(self) -> Any:
        path = self.folder.with_suffix(".db")
        if not path.exists():
            with closing(Broker(path)) as broker:  # a queue that a broker counts
                broker.queue("jobs").write("x")
                broker.queue("jobs").purge()
        return f"{path}?name=jobs", lambda: SQLiteQueue(path, "jobs")

    def redis(self, cls: Any = RedisQueue, serializer: str = "json") -> Any:
        url = f"redis://127.0.0.1:{self._server.port}/0"
        kind = getattr(serializers, serializer)
        return (
            f"{url}?name={self.name}&serializer={serializer}",
            lambda: cls(self.name, url, serializer=kind),
        )

    def mysql(self, cls: Any) -> Any:
        server = mysql_server.shared_server()
        server.run("CREATE DATABASE IF NOT EXISTS moves")
        where = server.login("moves")
        user = f"{mysql_server.USER}:{mysql_server.PASSWORD}"
        cls(**where, name=self.name).close()
        return (
            f"mysql://{user}@127.0.0.1:{server.port}/moves?ssl_disabled=1&name={self.name}",
            lambda: cls(**where, name=self.name),
        )


KINDS: dict[str, Callable[[Place], Any]] = {
    "file": Place.file,
    "gaps": Place.file,  # behind each item one that is finished
    "pickled list": lambda place: place.engine(engines.PickledListEngine),
    "dbm": lambda place: place.engine(engines.DbmEngine),
    "sqlite engine": lambda place: place.engine(engines.SQLiteEngine),
    "sqlite": lambda place: place.sqlite(SQLiteQueue),
    "filo": lambda place: place.sqlite(FILOSQLiteQueue),
    "unique": lambda place: place.sqlite(UniqueQ),
    "priority": lambda place: place.sqlite(PriorityQueue),
    "ack": lambda place: place.sqlite(SQLiteAckQueue),
    "unique ack": lambda place: place.sqlite(UniqueAckQ),
    "broker": Place.broker,
    "redis": Place.redis,
    "redis unique": lambda place: place.redis(RedisUniqueQueue),
    "redis native": lambda place: place.redis(serializer="pickle"),
    "mysql": lambda place: place.mysql(MySQLQueue),
    "mysql ack": lambda place: place.mysql(MySQLAckQueue),
}
ENGINES = ("pickled list", "dbm", "sqlite engine")
NEWEST_FIRST = ("filo",)
FINISHED = "finished out of turn"
ITEMS = [{"n": n, "text": "ü" * (n % 7)} for n in range(230)]


@pytest.fixture
def place(tmp_path: Path, redis_server: Server) -> Callable[..., Place]:
    """Makes a place of a kind; ``name`` tells several of a test apart."""
    return lambda kind, name="q": Place(kind, tmp_path / f"{name}-{tmp_path.name}", redis_server)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """Runs commands that are killed."""
    killer = Killer()
    yield killer
    killer.close()


# -- what is moved --------------------------------------------------------------------------

PAIRS = [
    *((kind, "file") for kind in KINDS),
    *(("file", kind) for kind in KINDS if kind != "file"),
    *(("mysql", "redis"), ("redis", "sqlite"), ("priority", "priority"), ("filo", "filo")),
]


def as_taken(kind: str, items: list[Any]) -> list[Any]:
    """Return items in the order in which a queue of this kind hands them out."""
    return items[::-1] if kind in NEWEST_FIRST else items


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_items_move_in_their_order(source: str, target: str, place: Callable[..., Place]) -> None:
    """From any kind into any other, behind what is there; and nothing is left behind."""
    src, dst = place(source, "src"), place(target, "dst")
    src.put(ITEMS)
    dst.put(["before"])
    status, out, _ = command("move", src.url, dst.url, "--batch", 100)
    assert (0, "230 items moved\n") == (status, out)
    assert [] == src.items()
    order = ITEMS if target in NEWEST_FIRST else as_taken(source, ITEMS)
    assert as_taken(target, ["before", *order]) == dst.items()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_leaves_the_source_as_it_is(kind: str, place: Callable[..., Place]) -> None:
    """The copy has everything."""
    src, dst = place(kind, "src"), place("file", "dst")
    src.put(ITEMS)
    status, out, _ = command("copy", src.url, dst.url, "--batch", 100)
    assert (0, True) == (status, out.startswith("230 items copied"))
    assert as_taken(kind, ITEMS) == dst.items() == src.items()


@pytest.mark.parametrize(
    ("cls", "wanted"),
    [
        (FILOSQLiteQueue, "dcba"),
        (FILOSQLiteAckQueue, "dcba"),
        (UniqueQ, "abcd"),
        (UniqueAckQ, "abcd"),
        (PriorityQueue, "cbda"),
    ],
)
def test_a_new_target_is_of_the_kind_of_the_source(cls: Any, wanted: str, tmp_path: Path) -> None:
    """Order, priorities, uniqueness and the times of the puts go with the items."""
    priorities = dict(zip("abcd", (3, 2, 1, 2), strict=True)) if cls is PriorityQueue else {}
    with closing(cls(tmp_path / "src", name="jobs")) as q:
        for item in "abc":
            q.put(item, *([priorities[item]] if priorities else ()))
        before = [(row["data"], row["timestamp"]) for row in q.queue()]
    assert 0 == command("move", tmp_path / "src", f"sqlite:{tmp_path}/dst?name=jobs")[0]
    with closing(cls(tmp_path / "dst", name="jobs")) as q:
        assert sorted(before) == sorted((row["data"], row["timestamp"]) for row in q.queue())
        if cls._KIND.unique:
            assert q.put("a") is None
        q.put("d", *([priorities["d"]] if priorities else ()))
        assert list(wanted) == q.get_many(9, timeout=0)


@pytest.mark.parametrize("name", ["json", "msgpack", "cbor2"])
@pytest.mark.parametrize(
    "cls", [engines.SQLiteEngine, engines.DbmEngine, engines.PickledListEngine]
)
def test_the_serializer_of_an_engines_file_is_recognised(
    cls: Any, name: str, tmp_path: Path
) -> None:
    """And a new target has the same one; a target that is there is written with its own."""
    serializer = getattr(serializers, name)
    for place in "src", "dst":
        with Queue(tmp_path / place, engine=cls, serializer=serializer) as q:
            q.put(place)
    assert 0 == command("move", tmp_path / "src", tmp_path / "dst")[0]
    assert 0 == command("move", tmp_path / "dst", f"file:{tmp_path}/new")[0]
    with Queue(tmp_path / "new", serializer=serializer) as q:
        assert ["dst", "src"] == q.get_many(9)


@pytest.mark.parametrize("cls", [SQLiteAckQueue, MySQLAckQueue])
def test_held_and_failed_items_stay_and_are_counted(
    cls: Any, place: Callable[..., Place], tmp_path: Path
) -> None:
    """A copy has what is held, as nobody holds it there; what has failed it has not."""
    src, dst, copy = (
        place("ack" if cls is SQLiteAckQueue else "mysql ack", "src"),
        *(place("file", name) for name in ("dst", "copy")),
    )
    src.put([1, 2, 3, 4, 5])
    with closing(src.open()) as q:  # a worker at work
        assert [1, 2] == [q.get(), q.get()]
        q.ack_failed(2)
        q.ack(q.get())
        status, out, _ = command("copy", src.url, copy.url)
        assert (0, True) == (status, out.startswith("3 items copied, 1 of them held; 1 failed"))
        status, out, _ = command("move", src.url, dst.url)
        assert (0, "2 items moved; 1 held and 1 failed stay where they are\n") == (status, out)
        assert q.ack(1) is not None
        assert [0, 1] == [q.qsize(), q.ack_failed_count()]
    assert [1, 4, 5] == copy.items()
    assert [4, 5] == dst.items()


def test_delayed_and_dead_jobs_stay_and_are_counted(
    place: Callable[..., Place], tmp_path: Path
) -> None:
    """Of a job queue what is ready goes; ``check`` names the states, too."""
    path = tmp_path / "app.db"
    with JobQueue[int](path, "jobs") as q:
        q.put_many([Put(1, delay=3600), 2, 3])
        with q.process():
            raise Dead
    src, dst, copy = f"sqlite:{path}?name=jobs", place("file", "dst"), place("file", "copy")
    status, out, _ = command("copy", src, copy.url)
    assert (0, True) == (status, out.startswith("1 items copied; 1 delayed ones are not; 1 failed"))
    status, out, _ = command("move", src, dst.url)
    assert (0, "1 items moved; 1 delayed and 1 failed stay where they are\n") == (status, out)
    _, out, _ = command("check", str(path))
    assert "1 delayed, 1 failed" in out
    with JobQueue[int](path, "jobs") as q:
        assert (0, 1, 0, 1) == q.stats()[:4]


def test_what_a_consumer_of_redis_holds_stays(place: Callable[..., Place]) -> None:
    """A copy has it, in its place: in front."""
    src, dst, copy = place("redis", "src"), place("file", "dst"), place("file", "copy")
    src.put(["a", "b", "c"])
    with src.open() as q:
        assert "a" == q.get()
        assert "3 items copied, 1 of them held" in command("copy", src.url, copy.url)[1]
        assert (0, "2 items moved; 1 held stay where they are\n") == command(
            "move", src.url, dst.url
        )[:2]
        assert q.ack("a")
    assert ["a", "b", "c"] == copy.items()
    assert ["b", "c"] == dst.items()


def test_what_a_brokers_stream_holds_stays(tmp_path: Path) -> None:
    """A copy has it, in its place; the broker's counts are right."""
    with closing(Broker(tmp_path / "app.db")) as broker:
        queue = broker.queue("jobs")
        queue.write_many(["a", "b", "c"])
        with queue.process() as item:
            assert "a" == item
            out = command("copy", tmp_path / "app.db", f"file:{tmp_path}/copy")[1]
            assert "3 items copied, 1 of them held" in out
            out = command("move", tmp_path / "app.db", f"file:{tmp_path}/dst")[1]
            assert "2 items moved; 1 held stay where they are\n" == out
        assert 0 == broker.stats().waiting
    for name, items in ("copy", "abc"), ("dst", "bc"):
        with Queue(tmp_path / name) as q:
            assert list(items) == q.get_many(9)


def test_a_unique_queue_of_redis_is_empty_afterwards(place: Callable[..., Place]) -> None:
    """Its set goes with its list, also where the URL says nothing: its items can be put again."""
    src, dst = place("redis unique", "src"), place("redis", "dst")
    src.put(["a", "b"])
    assert 0 == command("move", src.url, dst.url)[0]
    with src.open() as q:
        assert q.put("a")
    with RedisUniqueQueue(dst.name, f"{dst.url.partition('?')[0]}") as q:
        assert not q.put("b") or dst.items()


def test_a_unique_target_says_what_it_had_already(place: Callable[..., Place]) -> None:
    src, dst = place("file", "src"), place("unique", "dst")
    dst.put(["b"])
    src.put(["a", "b", "a", "c"])
    assert "4 items moved (2 of them were there already)\n" == command("move", src.url, dst.url)[1]
    assert ["b", "a", "c"] == dst.items()


def test_a_table_of_upstreams_async_classes_is_moved(tmp_path: Path) -> None:
    """Its name has no suffix; a copy leaves that as it is."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE queue (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)"
        )
        rows = [(serializers.pickle.dumps(item), 1.5) for item in "abc"]
        connection.executemany("INSERT INTO queue (data, timestamp) VALUES (?, ?)", rows)
    before = (tmp_path / "old.db").read_bytes()
    assert 0 == command("copy", tmp_path / "old.db", f"file:{tmp_path}/copy")[0]
    assert before == (tmp_path / "old.db").read_bytes()
    assert "3 items moved\n" == command("move", tmp_path / "old.db", f"file:{tmp_path}/dst")[1]
    for name in "copy", "dst":
        with Queue(tmp_path / name) as q:
            assert list("abc") == q.get_many(9)


@pytest.mark.parametrize("kind", ["file", "sqlite", "redis", "mysql", "dbm"])
def test_a_batch_is_bounded_in_bytes(
    kind: str, place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two items of three eighths of the bound go together, and a longer one goes alone."""
    for module in ends, redisends:
        monkeypatch.setattr(module, "BATCH_BYTES", 8000)
    src = place(kind, "src")
    src.put(["x" * 3000] * 4 + ["y" * 20_000])
    sizes, behind = [], None
    with closing(move.open_source(places.parsed(src.url), moves=False)) as source:
        while (batch := source.read(500, behind)) is not None:
            sizes.append(len(batch.items))
            behind = batch
    assert [2, 2, 1] == sizes


# -- which queue is meant -------------------------------------------------------------------


def test_no_queue_of_a_name_is_an_error_that_lists_what_is_there(
    place: Callable[..., Place], tmp_path: Path
) -> None:
    """Nothing is created in the source, whatever it is."""
    with (
        closing(SQLiteQueue(tmp_path / "app", "work")) as q,
        PDict(tmp_path / "app", "settings") as d,
    ):
        q.put(1)
        d["a"] = 1
    (tmp_path / "text").write_text("no queue")
    for kind in "redis", "mysql":
        place(kind, "src").put(["x"])
    url = {
        kind: place(kind, "src").url.replace("name=src", "name=nix") for kind in ("redis", "mysql")
    }
    before = sorted(os.listdir(tmp_path)), sorted(os.listdir(tmp_path / "app"))
    for source, words in {
        f"sqlite:{tmp_path}/app?name=wrok": "queue_work (SQLiteQueue)",
        f"sqlite:{tmp_path}/app?name=wrok ": "dict_settings (PDict)",
        f"file:{tmp_path}/app": "queue_work (SQLiteQueue)",
        f"{tmp_path}/nothing": "no queue at",
        f"{tmp_path}/text": "neither a queue nor",
        url["redis"]: f"src-{tmp_path.name}",
        url["mysql"]: f"queue_src-{tmp_path.name} (MySQLQueue)",
    }.items():
        for verb in "move", "copy":
            status, _, err = command(verb, source.strip(), f"file:{tmp_path}/dst")
            assert (3, True) == (status, words in err), err
    assert before == (sorted(os.listdir(tmp_path)), sorted(os.listdir(tmp_path / "app")))
    for kind in "redis", "mysql":
        assert ["x"] == place(kind, "src").items()
    with closing(sqlite3.connect(tmp_path / "app" / "data.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert {"queue_work", "dict_settings", "sqlite_sequence"} == {name for (name,) in tables}


def test_where_several_queues_are_the_name_is_asked_for(tmp_path: Path) -> None:
    """The only one needs none; two kinds of one name are told apart by their tables."""
    with closing(SQLiteQueue(tmp_path / "a", "work")) as q:
        q.put(1)
    assert "1 items copied" in command("copy", tmp_path / "a", f"file:{tmp_path}/dst")[1]
    SQLiteAckQueue(tmp_path / "a", name="work").close()
    status, _, err = command("move", f"sqlite:{tmp_path}/a?name=work", f"file:{tmp_path}/dst")
    assert (2, True) == (status, "ack_queue_work (SQLiteAckQueue), queue_work (SQLiteQueue)" in err)
    url = f"sqlite:{tmp_path}/a?name=queue_work"
    assert "1 items moved\n" == command("move", url, f"file:{tmp_path}/dst")[1]


def test_dicts_pools_and_what_has_no_order_are_refused_by_name(
    redis_server: Server, tmp_path: Path
) -> None:
    with PDict(tmp_path / "dict", "settings") as d:
        d["a"] = 1
    with closing(sqlite3.connect(tmp_path / "table")) as connection, connection:
        connection.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        connection.execute("INSERT INTO Dict VALUES ('a', 'b')")
    with RedisPool(f"pool-{tmp_path.name}", redis_server.url) as pool:
        pool.add_item("x")
    for source, words in {
        f"sqlite:{tmp_path}/dict?name=settings": "it is a dict",
        f"{tmp_path}/table": "no order",
        f"{redis_server.url}?name=pool-{tmp_path.name}": "pools are not moved",
    }.items():
        status, _, err = command("move", source, f"file:{tmp_path}/dst")
        assert (2, True) == (status, words in err), err


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_is_not_moved_onto_itself(
    kind: str, place: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever name: a link, another spelling, another URL of the server."""
    src = place(kind, "src")
    src.put(["a", "b"])
    others = [src.url]
    if "127.0.0.1" in src.url:
        others.append(src.url.replace("127.0.0.1", "localhost"))
    else:
        path = src.url.removeprefix("file:").removeprefix("sqlite:").partition("?")[0]
        (tmp_path / "link").symlink_to(path)
        monkeypatch.chdir(tmp_path)
        name = "?name=JOBS" if "name=" in src.url else ""
        paths = (str(tmp_path / "link"), f"./{os.path.basename(path)}", f"{path}/data.db")
        for file in filter(os.path.isfile, (path, f"{path}/data.db")):
            os.link(file, tmp_path / "hard.db")
            paths += (str(tmp_path / "hard.db"),)
        others += [f"{other}{name}" for other in paths if os.path.exists(other)]
    for other in others:
        for verb in "move", "copy":
            status, _, err = command(verb, src.url, other)
            assert (2, True) == (status, "are one queue" in err), (other, err)
    assert as_taken(kind, ["a", "b"]) == src.items()


@pytest.mark.parametrize(
    ("source", "target", "status", "words"),
    [
        ("file:{0}/a", "http://x/y", 2, "sqlite:PATH"),
        ("file:{0}/a", "redis://127.0.0.1:{1}/", 2, "queue's name"),
        ("file:{0}/a", "redis://127.0.0.1:{1}/jobs", 2, "path is a number"),
        ("file:{0}/a", "redis://127.0.0.1:1?name=jobs", 1, "cannot be reached"),
        ("file:{0}/a?serializer=xml", "file:{0}/b", 2, "serializer must be"),
        ("file:{0}/a?color=red", "file:{0}/b", 2, "color"),
        ("file:{0}/a?serializer=json", "file:{0}/b", 1, "pickle"),
        ("file:{0}/a", "file:{0}/b?name=x", 2, "no name beside its path"),
        ("mysql://x@127.0.0.1:1", "file:{0}/b", 2, "names no database"),
        ("mysql://x:secret@127.0.0.1:1/d?name=q", "file:{0}/b", 1, "cannot be reached"),
    ],
)
def test_wrong_ends_say_what_is_wrong(
    source: str, target: str, status: int, words: str, redis_server: Server, tmp_path: Path
) -> None:
    """And the items stay where they are; a password is not shown."""
    with Queue(tmp_path / "a") as q:
        q.put((1, 2))
    urls = [url.format(tmp_path, redis_server.port) for url in (source, target)]
    found, _, errors = command("move", *urls)
    assert status == found, errors
    assert words in errors
    assert "Traceback" not in errors
    assert "secret" not in errors
    with Queue(tmp_path / "a") as q:
        assert (1, 2) == q.get()


def test_passwords_come_from_the_environment(
    redis_server: Server,
    place: Callable[..., Place],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One for both ends, or another one for the target."""
    src = place("mysql", "src")
    src.put(["x"])
    user = f"mover{tmp_path.name[-1]}"
    admin = redis.Redis(port=redis_server.port)
    admin.execute_command("ACL", "SETUSER", user, "on", ">p@ss/w", "~*", "+@all")
    try:
        source = src.url.replace(f":{mysql_server.PASSWORD}@", "@")
        target = f"redis://{user}@127.0.0.1:{redis_server.port}/0?name=dst-{tmp_path.name}"
        assert 1 == command("move", source, target)[0]
        monkeypatch.setenv(places.PASSWORD, mysql_server.PASSWORD)
        assert 1 == command("move", source, target)[0]
        monkeypatch.setenv(places.TARGET_PASSWORD, "p@ss/w")
        assert (0, "1 items moved\n", "") == command("move", source, target)
        monkeypatch.setenv(places.PASSWORD, "p@ss/w")
        monkeypatch.setenv(places.TARGET_PASSWORD, "")  # it needs none
        open_one = f"redis://127.0.0.1:{redis_server.port}/0?name=open-{tmp_path.name}"
        assert (0, "1 items moved\n", "") == command("move", target, open_one)
        monkeypatch.delenv(places.PASSWORD)
        assert (0, "1 items moved\n", "") == command("move", open_one, f"file:{tmp_path}/dst")
    finally:
        admin.execute_command("ACL", "DELUSER", user)


# -- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "items", "changed"),
    [
        ("file:{}/dst?serializer=json", [1, (1, 2)], "item 2 would come out as [1, 2], not as (1, 2)"),
        ("file:{}/dst?serializer=json", [[{1: "a"}]], "item 1 would come out as [{'1': 'a'}]"),
        ("sqlite:{}/dst?serializer=msgpack", ["x", (True,), [True]], "item 3 would"),
        ("file:{}/dst?serializer=cbor2", [{"a": (1,)}], "item 1 would"),
        ("sqlite:{}/dst?serializer=json", [1, {1, 2}], "item 2: persistqueue.serializers.json cannot"),
    ],
)  # fmt: skip
def test_an_item_that_would_change_stops_it(
    target: str, items: list[Any], changed: str, tmp_path: Path
) -> None:
    """The first one is named; with --convert it goes over as the serializer makes it."""
    with Queue(tmp_path / "src") as q:
        q.put_many(items)
    status, _, err = command("move", f"file:{tmp_path}/src", target.format(tmp_path))
    would = "would" in changed
    assert (2 if would else 1, True) == (status, changed in err), err
    with Queue(tmp_path / "src") as q:
        assert len(items) == q.qsize()
    again = command("move", f"file:{tmp_path}/src", target.format(tmp_path), "--convert")[0]
    assert (0 if would else 1) == again


def test_equal_items_of_other_types_are_not_the_same() -> None:
    """1, 1.0 and True are equal; NaN is not equal to itself."""
    nan = float("nan")
    for one, other in [
        (1, True),
        (1, 1.0),
        ([1], (1,)),
        ({1: 2}, {True: 2}),
        ("a", b"a"),
        (nan, 1.0),
    ]:
        assert not move.same(one, other)
    for item in [nan, [nan, {"a": (1, None)}], {"b": 1, "a": [2]}, {1, 2}, b"x"]:
        assert move.same(item, eval(repr(item), {"nan": nan}))
    assert move.same({"a": 1, "b": 2}, {"b": 2, "a": 1})


# -- killed ---------------------------------------------------------------------------------

KILLED = [
    *(("file", "redis"), ("gaps", "file"), ("redis", "sqlite"), ("sqlite", "mysql")),
    ("mysql", "file"),
]
ALL_KILLED = [
    *KILLED,
    *(("file", kind) for kind in KINDS if kind not in ("file", "redis")),
    *((kind, "file") for kind in KINDS if kind not in ("file", "gaps", "mysql")),
    *(("redis", "redis"), ("mysql", "mysql"), ("sqlite", "sqlite"), ("priority", "priority")),
]


BATCH = 3
IN_DOUBT = (2, 3, 6, 7)  # steps between the end of a batch's put and the end of its finish


def killed_at(step: int, places: tuple[Place, Place], killer: Killer, items: list[Any]) -> bool:
    """Kill a move at a step; use both queues; give the command again: all is there, in order.

    A producer puts into the source, and a consumer takes from the target (if it is no engine's).
    Only what was put and not finished may be there twice.

    Returns:
        whether it was killed: else there are no more steps.
    """
    src, dst = places
    src.put(items)
    arguments = ("move", src.url, dst.url, "--batch", BATCH)
    killed = killer.run(step, *arguments)
    src.put(["new", "newer"])
    taken = [] if dst.kind in ENGINES else dst.take_one()
    assert 0 == command(*arguments)[0], step
    there, everything = [*taken, *dst.items()], [*items, "new", "newer"]
    assert [] == src.items(), step
    twice = Counter(there)
    twice.subtract(everything)
    assert min(twice.values()) >= 0, (step, twice)
    assert twice.total() <= (BATCH if step in IN_DOUBT else 0), (step, twice)
    assert not +Counter({new: twice[new] for new in ("new", "newer")}), step
    if not {"filo"} & {src.kind, dst.kind}:  # what is newest goes first, also what comes meanwhile
        assert list(dict.fromkeys(everything)) == list(dict.fromkeys(there)), step
    return killed


@pytest.mark.skipif(NO_FORK, reason="it kills forks of a process")
@pytest.mark.parametrize(("pair", "step"), [*product(KILLED, [1, 2, 4, 6])])
def test_it_may_be_killed(
    pair: tuple[str, str], step: int, place: Callable[..., Place], killer: Killer
) -> None:
    """In front of the first put, and behind it, behind the first finish, and the second put."""
    places = place(pair[0], "src"), place(pair[1], "dst")
    assert killed_at(step, places, killer, [f"item {n}" for n in range(5)])


@pytest.mark.slow
@pytest.mark.skipif(NO_FORK, reason="it kills forks of a process")
@pytest.mark.parametrize("pair", ALL_KILLED, ids=" ".join)
@pytest.mark.parametrize("same", [False, True], ids=["different", "equal"])
def test_it_may_be_killed_at_every_step(
    same: bool, pair: tuple[str, str], place: Callable[..., Place], killer: Killer
) -> None:
    """Of two batches, the second of which is short; with engines at the ends, too."""
    items = ["x"] * 5 if same else [f"item {n}" for n in range(5)]
    if same and any("unique" in kind for kind in pair):
        pytest.skip("equal items wait once there")
    for step in range(1, 99):
        places = place(pair[0], f"src{step}"), place(pair[1], f"dst{step}")
        if not killed_at(step, places, killer, items):
            break
    assert 9 == step


@pytest.mark.skipif(NO_FORK, reason="it kills forks of a process")
@pytest.mark.parametrize("kind", ["file", "sqlite", "redis", "mysql"])
def test_a_killed_copy_begins_anew(kind: str, place: Callable[..., Place], killer: Killer) -> None:
    """Its source is as it was, and nothing is beside it; its target is emptied first."""
    src, dst = place(kind, "src"), place("file", "dst")
    src.put(list("abcde"))
    beside = sorted(os.listdir(src.folder.parent))
    assert killer.run(2, "copy", src.url, dst.url, "--batch", 3)
    assert sorted({*beside, dst.folder.name}) == sorted(os.listdir(src.folder.parent))
    assert list("abc") == dst.items()
    assert 0 == command("copy", src.url, dst.url)[0]
    assert list("abcde") == dst.items() == src.items()


def test_consumers_of_the_source_are_noticed(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one took between the reading of a batch and its end is there twice: status 1."""
    for kind in "file", "sqlite", "ack", "redis", "mysql", "dbm":
        src, dst = place(kind, f"src {kind}"), place("file", f"dst {kind}")
        src.put(list("abcd"))
        carry = move._encoded

        def encoded(*args: Any, src: Place = src, carry: Any = carry, **options: Any) -> Any:
            if src.kind != "dbm":  # nobody else can open that
                assert ["a"] == src.take_one()
            return carry(*args, **options)

        monkeypatch.setattr(move, "_encoded", encoded)
        status, out, err = command("move", src.url, dst.url)
        assert "4 items moved\n" == out
        monkeypatch.undo()
        assert [] == src.items()
        if kind != "dbm":
            assert (1, True) == (status, "took 1 of these items" in err), kind


def test_a_consumer_that_finishes_out_of_turn_is_noticed(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind an item that stays; what was finished before does not count."""
    src, dst = place("gaps", "src"), place("file", "dst")
    src.put(list("abcd"))
    carry = move._encoded

    def encoded(*args: Any, **options: Any) -> Any:
        with closing(src.open()) as q:
            for item in q.get_many(4)[1:3]:
                q.task_done(item=item)
        return carry(*args, **options)

    monkeypatch.setattr(move, "_encoded", encoded)
    status, out, err = command("move", src.url, dst.url)
    assert (1, "4 items moved\n", True) == (status, out, "took 2 of these items" in err)
    assert ([], list("abcd")) == (src.items(), dst.items())


def test_a_servers_url_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue's name stands behind ?name=; a password is not shown."""
    for url, address, queue, shown in [
        ("redis://u:p@h:1/2?name=a%20b&serializer=json", "redis://u:p@h:1/2", "a b",
         "redis://u@h:1/2?name=a%20b&serializer=json"),
        ("redis://h/0", "redis://h/0", None, None),
        ("rediss://h/0?name=a/b&ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none", "a/b", None),
        ("unix:///run/redis.sock?db=2&name=jobs", "unix:///run/redis.sock?db=2", "jobs", None),
        ("mysql://u@h/d?name=q", "mysql://u@h/d", "q", None),
    ]:  # fmt: skip
        found = places.parsed(url)
        assert (address, queue, shown or url) == (found.address, found.queue, found.shown)
    monkeypatch.setenv(places.PASSWORD, "s/@:")
    assert "redis://:s%2F%40%3A@h/0" == places.parsed("redis://h/0").address
    assert "mysql://u:p@h/d" == places.parsed("mysql://u:p@h/d").address
