"""Items that cannot be loaded: what is damaged is skipped, what is whole stays until set aside."""

from __future__ import annotations

import logging
import pickle as standard_pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import cbor2 as cbor2_library
import pytest
from brokers import BROKER_FAMILIES
from families import (
    ENGINE_FAMILIES,
    FILE_FAMILIES,
    MYSQL_FAMILIES,
    REDIS_FAMILIES,
    SQL_FAMILIES,
    BlockingAsyncQueue,
    run,
)
from redis_server import shared

from persistqueue import (
    AsyncPDict,
    AsyncRedisPool,
    Empty,
    FormatError,
    PDict,
    Queue,
    QueueCorrupt,
    RedisPool,
    RedisQueue,
    SerializationError,
    SQLiteQueue,
    serializers,
)
from persistqueue.__main__ import main
from persistqueue._core.framing import marked

Open = Callable[..., Any]

ROWS = {**SQL_FAMILIES, **MYSQL_FAMILIES, **BROKER_FAMILIES}
ENGINES = {name: family for name, family in ENGINE_FAMILIES.items() if "SQLite" in name}
FAMILIES = {**ROWS, **ENGINES, **FILE_FAMILIES, **REDIS_FAMILIES}
NAMES = ("pickle", "json", "msgpack", "cbor2")


class Service:
    """What an item asks while it is loaded."""

    down = True


class Job:
    """An item that asks a service while it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_job, ()


def _load_job() -> str:
    if Service.down:
        raise RuntimeError("the service is down")
    return "a job"


class Strict(Exception):
    """An exception that pickle cannot make again: it needs a keyword."""

    def __init__(self, *, code: int) -> None:
        super().__init__(code)


class Exits:
    """An item whose loading ends the program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, ()


@pytest.fixture(autouse=True)
def service() -> Iterator[None]:
    """The service is down when a test begins."""
    yield
    Service.down = True


def in_turn(family: str, items: list[Any]) -> list[Any]:
    """Return items in the order of their puts, so that the first one is next."""
    return items[::-1] if "FILO" in family else items


def opened(family: str, path: Path, **options: Any) -> Any:
    """Open a queue of a family, with pickle unless another serializer is given."""
    options.setdefault("serializer", serializers.pickle)
    return FAMILIES[family](path, **options)


# -- whole items --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "on_corrupt"),
    [*((family, "skip") for family in sorted(FAMILIES)), ("Queue", "raise"), ("UniqueQ", "raise")],
)
def test_a_whole_item_stays_and_says_where_it_is(family: str, path: Path, on_corrupt: str) -> None:
    """Each get raises SerializationError, whatever on_corrupt says; once it loads, it comes."""
    with opened(family, path, on_corrupt=on_corrupt) as q:
        q.put_many(in_turn(family, [Job(), "behind"]))
        for call in (q.get_nowait, q.peek, lambda: q.get_many(5, timeout=0), q.get_nowait):
            with pytest.raises(SerializationError, match="service is down") as caught:
                call()
            assert any(word in str(caught.value) for word in ("record 0", "row ", str(path)))
        assert 2 == q.qsize()
        assert 0 == q.skipped
        Service.down = False
        assert not q.set_aside()
        assert ["a job", "behind"] == [q.get(timeout=0), q.get(timeout=0)]
        assert 0 == q.skipped


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_set_aside_gets_past_the_one_item_that_blocks(
    family: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept and counted; what can be loaded stays where it is."""
    with opened(family, path) as q:
        assert not q.set_aside()
        q.put_many(in_turn(family, [Job(), Strict(code=5), "behind"]))
        for number in (1, 2):
            with pytest.raises(SerializationError):
                q.get(timeout=0)
            assert q.set_aside()
            assert number == q.skipped
        assert not q.set_aside()
        assert "behind" == q.get(timeout=0)
        assert not q.set_aside()
        with pytest.raises(Empty):
            q.get(timeout=0)
        assert 2 == q.skipped
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert any("the service is down" in text for text in told)
    assert any("Strict" in text for text in told)


def test_what_is_set_aside_is_kept(path: Path) -> None:
    """In files beside a queue's, in a table beside its own."""
    for queue_class in (Queue, SQLiteQueue):
        with queue_class(path / "q") as q:
            q.put(Job())
            q.set_aside()
        (path / "q").rename(path / queue_class.__name__)
    (kept,) = (path / "Queue").glob("*.corrupt-*")
    assert standard_pickle.dumps(Job(), 4) in kept.read_bytes()
    with closing(sqlite3.connect(path / "SQLiteQueue" / "data.db")) as connection:
        rows = connection.execute('SELECT _id, data FROM "corrupt:queue_default"').fetchall()
    assert [(1, marked(standard_pickle.dumps(Job(), 4)))] == rows
    key = str(path)
    with RedisQueue(key, shared().url, serializer=serializers.pickle) as q:
        q.put(Job())
        q.set_aside()
        (kept_value,) = q._store._link.ask(("LRANGE", q._store.keys.dead, 0, -1))
        assert [standard_pickle.dumps(Job(), 4)] == kept_value


@pytest.mark.parametrize("family", ["Queue", "SQLiteQueue", "BrokerQueue", "Queue[SQLiteEngine]"])
def test_set_aside_gets_past_an_item_that_exits(family: str, path: Path) -> None:
    """SystemExit is not the program's own here."""
    with opened(family, path) as q:
        q.put_many([Exits(), "behind"])
        assert q.set_aside()
        assert "behind" == q.get(timeout=0)


def test_set_aside_survives(path: Path) -> None:
    """An item that was set aside does not come again."""
    for family in ("Queue", "SQLiteQueue", "SQLiteAckQueue"):
        where = path.with_name(family)
        with opened(family, where) as q:
            q.put_many([Job(), "behind"])
            q.set_aside()
        with opened(family, where) as q:
            assert 1 == q.qsize()
            assert "behind" == q.get(timeout=0)


def test_set_aside_takes_what_is_damaged(path: Path) -> None:
    """With on_corrupt="raise" it is the one way on without opening the queue anew."""
    with Queue(path) as q:
        q.put_many(["one", "two"])
        chunk = path / "q00000"
        data = bytearray(chunk.read_bytes())
        data[25] ^= 0xFF
        chunk.write_bytes(data)
        with pytest.raises(QueueCorrupt):
            q.get()
        assert q.set_aside()
        assert ("two", 1) == (q.get(), q.skipped)
    with SQLiteQueue(path) as q:
        q.put_many(["one", "two"])
        q._conn.execute("UPDATE queue_default SET data = x'80' WHERE _id = 1")
        with pytest.raises(QueueCorrupt):
            q.get()
        assert q.set_aside()
        assert ("two", 1) == (q.get(), q.skipped)


def test_a_foreign_load_that_fails_takes_nobody_with_it(path: Path) -> None:
    """Where only its own load knows where an item ends, others stay; the last one can go."""

    class Own:
        @staticmethod
        def dump(value: Any, fp: IO[bytes]) -> None:
            fp.write(repr(value).encode() + b"\n")

        @staticmethod
        def load(fp: IO[bytes]) -> Any:
            line = fp.readline()
            if b"bad" in line:
                raise ImportError("no module named bad")
            return eval(line)

    with Queue(path, serializer=Own, chunksize=3) as q:
        q.put_many(["bad", "one", "two", "bad"])
        with pytest.raises(SerializationError, match="only the load of Own could tell"):
            q.set_aside()
        assert 4 == q.qsize()


@pytest.mark.parametrize("family", ["RedisPool", "AsyncRedisPool"])
def test_a_pool_gets_past_an_item_that_cannot_be_loaded(family: str, path: Path) -> None:
    """The others of its batch are due as before, not after ack_ttl."""
    pool: Any
    if family == "RedisPool":
        pool = RedisPool(str(path), shared().url, serializers.pickle)
    else:
        pool = BlockingAsyncQueue(AsyncRedisPool(str(path), shared().url, serializers.pickle))
    with pool:
        pool.add_items([Job(), "other"])
        for _ in range(2):
            with pytest.raises(SerializationError, match="service is down"):
                pool.get_items(5)
        assert pool.set_aside()
        assert not pool.set_aside()
        assert (["other"], 1) == (pool.get_items(5), pool.skipped)


# -- another serializer's -----------------------------------------------------------


@pytest.mark.parametrize("family", sorted({**ROWS, **ENGINES}))
def test_another_serializers_items_are_refused_by_name(family: str, path: Path) -> None:
    """Not one is set aside, and all are there when it is opened with its own."""
    items = [{"n": n, "text": "x" * n} for n in range(4)]
    turn = sorted({**ROWS, **ENGINES}).index(family)
    for number, name in enumerate(NAMES):
        other = NAMES[(number + 1 + (turn + number) % 3) % 4]
        where, on_corrupt = path.with_name(name), ("skip", "raise")[number % 2]
        with opened(family, where, serializer=getattr(serializers, name)) as q:
            q.put_many(items)
        with (
            pytest.raises(FormatError, match=f"written with the {name} serializer.* with {other}"),
            opened(
                family, where, serializer=getattr(serializers, other), on_corrupt=on_corrupt
            ) as q,
        ):
            q.get(timeout=0)
        with opened(family, where, serializer=getattr(serializers, name)) as q:
            assert len(items) == q.qsize()
            assert sorted(map(repr, items)) == sorted(repr(q.get(timeout=0)) for _ in items)


def test_a_backlog_that_nobody_knows_is_not_skipped(path: Path) -> None:
    """Rows of a serializer of the user's own are not set aside one after the other."""

    class Own:
        @staticmethod
        def dumps(value: Any) -> bytes:
            return b"own:" + repr(value).encode()

        @staticmethod
        def loads(data: bytes) -> Any:
            if not data.startswith(b"own:"):
                raise ValueError("not mine")
            return eval(data[4:])

    with SQLiteQueue(path, serializer=Own) as q:
        q.put_many(range(5))
    with SQLiteQueue(path, on_corrupt="skip") as q:
        with pytest.raises(FormatError, match="another serializer, or are damaged"):
            q.get(timeout=0)
        assert (5, 0) == (q.qsize(), q.skipped)
        assert q.set_aside()
        assert (4, 1) == (q.qsize(), q.skipped)
    with SQLiteQueue(path / "other") as q:
        q.put_many(range(5))
    with SQLiteQueue(path / "other", serializer=Own, on_corrupt="skip") as q:
        with pytest.raises(SerializationError, match="not mine"):
            q.get(timeout=0)
        assert (5, 0) == (q.qsize(), q.skipped)


def test_a_dict_of_another_serializers_values_is_refused(path: Path) -> None:
    """Both families; nothing is changed."""
    with PDict(path, "d") as d:
        d["a"], d["b"] = {"n": 1}, {"n": 2}
    with pytest.raises(FormatError, match="written with the pickle serializer"):
        PDict(path, "d", serializer=serializers.json)
    with pytest.raises(FormatError, match="written with the pickle serializer"):
        run(AsyncPDict.create(path, "d", serializer=serializers.cbor2))
    with PDict(path, "d") as d:
        assert {"a": {"n": 1}, "b": {"n": 2}} == dict(d.items())


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("family", ["RedisQueue", "AsyncRedisQueue"])
def test_text_on_shared_keys_is_not_skipped_as_json(
    family: str, path: Path, on_corrupt: str
) -> None:
    """serializer=None wrote it."""
    with REDIS_FAMILIES[family](path, serializer=None) as q:
        q.put_many(["one", "two"])
    with REDIS_FAMILIES[family](path, serializer=serializers.json, on_corrupt=on_corrupt) as q:
        with pytest.raises(FormatError, match="serializer=None"):
            q.get(timeout=0)
        assert (2, 0) == (q.qsize(), q.skipped)


# -- bytes behind an item -----------------------------------------------------------


class Streams:
    """A serializer with ``dump`` and ``load`` alone."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        standard_pickle.dump(value, fp)

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return standard_pickle.load(fp)


STRICT: dict[str, Any] = {
    **{name: getattr(serializers, name) for name in NAMES},
    **{
        f"signed {name}": serializers.signed(getattr(serializers, name), b"k" * 32)
        for name in NAMES
    },
    "the library cbor2": cbor2_library,
    "the library pickle": standard_pickle,
    "own streams": Streams,
}


@pytest.mark.parametrize("tail", [b"\0", b"\x82\x83rest", b".", b"\x80\x04N."])
@pytest.mark.parametrize("name", sorted(STRICT))
def test_bytes_behind_an_item_are_damage(name: str, path: Path, tail: bytes) -> None:
    """A row, or a dict's value, holds one item and nothing else."""
    serializer = STRICT[name]
    with (
        SQLiteQueue(path, serializer=serializer) as q,
        PDict(path, "d", serializer=serializer) as d,
    ):
        q.put_many([{"n": 1}, {"n": 2}])
        d["a"] = d["b"] = {"n": 1}
        q._conn.execute(
            "UPDATE queue_default SET data = CAST(data || ? AS BLOB) WHERE _id = 1", (tail,)
        )
        d._conn.execute("UPDATE dict_d SET data = CAST(data || ? AS BLOB) WHERE key = 'a'", (tail,))
        for call in (q.get_nowait, q.peek, lambda: d["a"]):
            with pytest.raises(QueueCorrupt):
                call()
        assert 2 == q.qsize()
    with SQLiteQueue(path, serializer=serializer, on_corrupt="skip") as q:
        assert ({"n": 2}, 1) == (q.get(timeout=0), q.skipped)


@pytest.mark.parametrize("depth", [1, 200, 380, 390, 395, 396, 397, 398, 399, 400])
def test_cbor_as_deep_as_it_can_be_is_loaded(depth: int) -> None:
    """The strict reading costs no level; and it is strict at every depth."""
    item: list[Any] = []
    for _ in range(depth - 1):
        item = [item]
    try:
        data = cbor2_library.dumps(item)
        cbor2_library.loads(data)
    except cbor2_library.CBORDecodeError:
        pytest.skip("this cbor2 loads nothing so deep")
    assert item == serializers.cbor2.loads(data)
    with pytest.raises(ValueError, match="behind the value"):
        serializers.cbor2.loads(data + b"\0")


# -- the commands -------------------------------------------------------------------


def test_check_says_what_cannot_be_loaded(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only when it is asked to load: that runs the code of pickles."""
    with Queue(path) as q, SQLiteQueue(path) as table:
        q.put_many(["fine", Job()])
        table.put_many(["fine", Job()])
    assert 0 == main(["check", str(path)])
    capsys.readouterr()
    assert 1 == main(["check", "--load", str(path)])
    text = capsys.readouterr().out
    assert "q00000, byte" in text
    assert "record 1: whole" in text
    assert "queue_default, row 2: whole" in text
    assert "set_aside()" in text


def test_repair_sets_the_next_items_aside(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So many as were asked for, as bytes, whatever they are; no more than there are."""
    with Queue(path / "files") as q:
        q.put_many([Job(), Job(), "behind"])
    assert 0 == main(["repair", "--set-aside", "2", "--dry-run", str(path / "files")])
    assert 0 == main(["repair", "--set-aside", "2", str(path / "files")])
    with Queue(path / "files") as q:
        assert ("behind", 0) == (q.get(), q.qsize())
    assert 2 == len(list((path / "files").glob("*.corrupt-*")))
    assert 1 == main(["repair", "--set-aside", "2", str(path / "files")])

    with SQLiteQueue(path / "rows") as rows, SQLiteQueue(path / "rows", name="other") as other:
        rows.put_many([Job(), "behind"])
        other.put("mine")
    assert 2 == main(["repair", "--set-aside", "1", str(path / "rows")])
    assert "queue_default (SQLiteQueue), queue_other (SQLiteQueue)" in capsys.readouterr().err
    assert 0 == main(["repair", "--set-aside", "1", f"sqlite:{path / 'rows'}?name=queue_default"])
    with SQLiteQueue(path / "rows") as rows, SQLiteQueue(path / "rows", name="other") as other:
        assert ("behind", "mine") == (rows.get(timeout=0), other.get(timeout=0))
