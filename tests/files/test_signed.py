"""Signed records: what is not signed is refused before it is decoded, in every class."""

from __future__ import annotations

import io
import os
import pickle as standard_pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Fault, FaultyDisk
from families import FILE_FAMILIES, SQL_FAMILIES

from persistqueue import (
    FormatError,
    PDict,
    PersistQueueError,
    Queue,
    QueueCorrupt,
    SerializationError,
    SQLiteQueue,
    UniqueQ,
    serializers,
)
from persistqueue.serializers import signed

KEY, OTHER = b"k" * 32, b"o" * 32
INNER = ("cbor2", "json", "msgpack", "pickle")
SIGNED = signed(serializers.pickle, KEY)


class RunsCode:
    """Its pickle leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def inner_of(name: str) -> Any:
    """Return a shipped serializer, if its library is there."""
    if name in ("cbor2", "msgpack"):
        pytest.importorskip(name)
    return getattr(serializers, name)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def forge(record: bytes, payload: bytes) -> bytes:
    """Return a record with another payload that fits its checksum, without the key."""
    from zlib import crc32

    from persistqueue.serializers._signed import HEAD

    start = HEAD.size + record[HEAD.size - 1] + 32
    rest = len(payload).to_bytes(4, "little") + record[12:start] + payload
    return record[:4] + crc32(rest).to_bytes(4, "little") + rest


def first_row(database: Path) -> bytes:
    with closing(sqlite3.connect(database)) as connection:
        row: bytes = connection.execute("SELECT data FROM queue_default").fetchone()[0]
        return row


def set_row(database: Path, data: Any) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE queue_default SET data = ?", (data,))


# -- what it is for -----------------------------------------------------------------------


EVERY = [*FILE_FAMILIES, *SQL_FAMILIES]
TWINS = ["AsyncQueue", "AsyncSQLiteQueue", "Queue", "SQLiteQueue"]


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *((family, "pickle") for family in EVERY),
        *((family, name) for family in TWINS for name in INNER if name != "pickle"),
    ],
)
def test_what_is_put_comes_back(path: Path, family: str, name: str) -> None:
    open_queue = {**FILE_FAMILIES, **SQL_FAMILIES}[family]
    serializer = signed(inner_of(name), KEY)
    items = [{"n": n, "text": "ü" * n} for n in range(5)]
    with open_queue(path, serializer=serializer, chunksize=2) as q:
        q.put_many(items)
    with open_queue(path, serializer=serializer, chunksize=2) as q:
        assert items[:: -1 if "FILO" in family else 1] == q.get_many(10)


def test_a_dict_of_signed_values(path: Path) -> None:
    with closing(PDict(path, "d", serializer=SIGNED)) as d:
        d["a"] = [1]
    with closing(PDict(path, "d", serializer=signed(serializers.pickle, OTHER))) as d:
        with pytest.raises(QueueCorrupt, match="signature"):
            d["a"]


def test_one_record_is_read_from_a_stream() -> None:
    """``dump`` and ``load`` are what any serializer has: one value, and the stream behind it."""
    stream = io.BytesIO()
    SIGNED.dump("one", stream)
    SIGNED.dump("two", stream)
    stream.seek(0)
    assert ["one", "two"] == [SIGNED.load(stream), SIGNED.load(stream)]
    with pytest.raises(ValueError, match="not signed"):
        SIGNED.load(stream)


def test_an_inner_serializer_may_have_streams_only() -> None:
    class Streams:
        def dump(self, value: Any, fp: Any) -> None:
            fp.write(str(value).encode())

        def load(self, fp: Any) -> Any:
            return int(fp.read())

    both = signed(Streams(), KEY)
    assert 7 == both.loads(both.dumps(7))


def test_equal_items_are_equal_bytes(path: Path) -> None:
    """A unique queue knows an equal item, whatever the order of its keys."""
    with closing(UniqueQ(path, serializer=SIGNED)) as q:
        q.put({"a": 1, "b": {"c": 2, "d": 3}})
        q.put({"b": {"d": 3, "c": 2}, "a": 1})
        assert 1 == q.size


# -- forgeries ----------------------------------------------------------------------------


def test_an_unsigned_pickle_in_a_chunk_runs_nothing(path: Path, tmp_path: Path) -> None:
    """Neither with an unsigned info, nor with the signed one and a record in the item's place."""
    mark = tmp_path / "mark"
    evil = standard_pickle.dumps(RunsCode(mark), 4)
    with Queue(path, serializer=SIGNED) as q:
        q.put("x" * 200)
    chunk = path / "q00000"
    for hostile in (evil, forge(chunk.read_bytes(), evil)):
        chunk.write_bytes(hostile.ljust(chunk.stat().st_size, b"\0"))
        with Queue(path, serializer=SIGNED) as q:
            with pytest.raises(QueueCorrupt):
                q.get_nowait()
            assert 1 == q.qsize()
        assert not mark.exists()


@pytest.mark.parametrize("text", [False, True])
def test_an_unsigned_pickle_in_a_row_runs_nothing(path: Path, tmp_path: Path, text: bool) -> None:
    mark = tmp_path / "mark"
    evil = standard_pickle.dumps(RunsCode(mark), 0 if text else 4)
    with closing(SQLiteQueue(path, serializer=SIGNED)) as q:
        q.put(1)
    database = path / "data.db"
    for hostile in (evil.decode() if text else evil, forge(first_row(database), evil)):
        set_row(database, hostile)
        # What is whole is another serializer's; the queue is not even opened then.
        with (
            pytest.raises((FormatError, QueueCorrupt)),
            closing(SQLiteQueue(path, serializer=SIGNED)) as q,
        ):
            q.get_nowait()
        with closing(sqlite3.connect(database)) as rows:
            assert [(1,)] == rows.execute("SELECT COUNT(*) FROM queue_default").fetchall()
        assert not mark.exists()


def test_every_changed_bit_is_noticed(path: Path) -> None:
    """In a record, and never as another item; what follows it is there."""
    record = SIGNED.dumps("item")
    for bit in range(8 * len(record)):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            SIGNED.loads(bytes(changed))
    with Queue(path, serializer=SIGNED) as q:
        q.put_many(["one", "two", "three"])
    flip(path / "q00000", len(SIGNED.dumps("one")) + 20)
    with Queue(path, serializer=SIGNED, on_corrupt="skip") as q:
        assert (["one", "three"], 1) == (q.get_many(9), q.skipped)


def test_bytes_that_were_signed_as_json_are_no_pickle(path: Path) -> None:
    """Whoever may choose a JSON text cannot have it loaded as a pickle under the same key."""
    json = signed(serializers.json, KEY)
    record = json.dumps("text")
    with pytest.raises(ValueError, match="signature"):
        SIGNED.loads(record)
    with Queue(path, serializer=json) as q:
        q.put("text")
    with pytest.raises(SerializationError, match="info"):
        Queue(path, serializer=SIGNED)


def test_a_record_is_no_info_and_info_is_no_record(path: Path) -> None:
    """They are signed for different purposes."""
    with Queue(path, serializer=signed(serializers.json, KEY)) as q:
        q.put(q.info)
    info, chunk = (path / "info").read_bytes(), (path / "q00000").read_bytes()
    with pytest.raises(ValueError, match="signature"):
        signed(serializers.json, KEY).loads(info[: info.rindex(b"pqI")])
    (path / "info").write_bytes(chunk)
    with pytest.raises(SerializationError, match="signature"):
        Queue(path, serializer=signed(serializers.json, KEY))


# -- info ---------------------------------------------------------------------------------


def test_info_is_one_sector_that_is_overwritten_in_place(path: Path) -> None:
    with Queue(path, serializer=SIGNED) as q:
        q.put(1)
        before = (path / "info").stat()
        q.put(2)
        assert 512 == before.st_size
        assert before.st_ino == (path / "info").stat().st_ino


def test_a_damaged_info_is_rebuilt_from_the_signed_items(path: Path) -> None:
    with Queue(path, serializer=SIGNED) as q:
        q.put_many(range(3))
    for damage in (flip, lambda info, _: info.write_bytes(b"")):
        damage(path / "info", 90)
        with Queue(path, serializer=SIGNED) as q:
            assert 3 == q.qsize()
    assert 2 == len(list(path.glob("info.corrupt-*")))


def test_the_longest_info_fits_its_sector(path: Path) -> None:
    """With the longest id of a key and the largest numbers."""
    serializer = signed(serializers.pickle, {"i" * 64: KEY})
    with Queue(path, serializer=serializer, chunksize=2**62) as q:
        q.put(1)
        state = q._store.state
        most = state._replace(head=state.head._replace(records=2**61, offset=2**62 - 1))
        assert 512 == len(q._store._info.encode(most))


@pytest.mark.parametrize("wrong", [signed(serializers.pickle, OTHER), serializers.pickle], ids=repr)
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_a_wrong_key_touches_nothing(path: Path, wrong: Any, on_corrupt: str) -> None:
    with Queue(path, serializer=SIGNED) as q:
        q.put_many(range(3))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises((SerializationError, FormatError), match="nothing was touched"):
        Queue(path, serializer=wrong, on_corrupt=on_corrupt)
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}


def test_an_unsigned_queue_is_not_taken_for_a_signed_one(path: Path) -> None:
    with Queue(path) as q:
        q.put(1)
    with pytest.raises(FormatError, match="pickle"):
        Queue(path, serializer=SIGNED)


# -- keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FILE_FAMILIES, "SQLiteQueue", "AsyncSQLiteQueue"])
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_a_key_that_is_not_known_here_is_no_damage(
    path: Path, family: str, on_corrupt: str
) -> None:
    """What it signed stays stored, skip or not, and is there when the key is given."""
    open_queue: Callable[..., Any] = {**FILE_FAMILIES, **SQL_FAMILIES}[family]
    old, both = {"old": KEY}, {"new": OTHER, "old": KEY}
    with open_queue(path, serializer=signed(serializers.json, old)) as q:
        q.put("old")
    with open_queue(path, serializer=signed(serializers.json, both)) as q:
        q.put("new")
    with open_queue(
        path, serializer=signed(serializers.json, {"new": OTHER}), on_corrupt=on_corrupt
    ) as q:
        with pytest.raises(SerializationError, match="'old'"):
            q.get(timeout=0)
        assert 2 == q.qsize()
    with open_queue(path, serializer=signed(serializers.json, both)) as q:
        assert ["old", "new"] == q.get_many(9)


def test_current_says_which_key_signs() -> None:
    both = {"new": OTHER, "old": KEY}
    assert b"new" in signed(serializers.json, both).dumps(1)
    assert b"old" in signed(serializers.json, both, current="old").dumps(1)
    with pytest.raises(ValueError, match="'none'"):
        signed(serializers.json, both, current="none")


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (b"k" * 15, ValueError),
        (b"", ValueError),
        ("k" * 32, TypeError),
        (None, TypeError),
        ({}, ValueError),
        ({1: KEY}, TypeError),
        ({"a": "k" * 32}, TypeError),
        ({"a": KEY, "b": b"short"}, ValueError),
        ({"a" * 65: KEY}, ValueError),
        ({"\udc80": KEY}, ValueError),
    ],
    ids=repr,
)
def test_a_bad_key_is_refused(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        signed(serializers.json, key)


def test_an_inner_serializer_must_be_one() -> None:
    class Coroutines:
        async def dumps(self, value: Any) -> bytes:
            return b""

        def loads(self, data: bytes) -> Any:
            return None

    with pytest.raises(AttributeError, match="serializer"):
        signed(object(), KEY)
    with pytest.raises(TypeError, match="coroutine"):
        signed(Coroutines(), KEY)


def test_keys_are_not_shown() -> None:
    assert "kkk" not in repr(SIGNED) + str(SIGNED)


def test_a_signed_item_that_cannot_be_loaded_here_stays(path: Path) -> None:
    """Its signature is good, so it is whole: that is this process's lack, not damage."""

    class Refuses:
        name = "other"

        def dumps(self, value: Any) -> bytes:
            return b"item"

        def loads(self, data: bytes) -> Any:
            raise KeyError("nothing here")

    with Queue(path, serializer=signed(Refuses(), KEY), on_corrupt="skip") as q:
        q.put(1)
        with pytest.raises(SerializationError, match="KeyError"):
            q.get_nowait()
        assert 1 == q.qsize()


def test_an_item_that_cannot_be_encoded_is_not_stored(path: Path) -> None:
    with Queue(path, serializer=signed(serializers.json, KEY)) as q:
        with pytest.raises(SerializationError, match="json"):
            q.put(object())
        assert 0 == q.qsize()


@pytest.mark.parametrize("how", ["half", "instead", "rest"])
def test_no_failing_call_to_the_disk_loses_an_acknowledged_item(tmp_path: Path, how: str) -> None:
    """Records and ``info`` are written, torn and rebuilt as those of any shipped serializer."""
    at, hit = 0, True
    while hit:
        at += 1
        here = tmp_path / str(at)
        disk = FaultyDisk(Fault(at, how))
        stored = []
        on_it = type("OnDisk", (Queue,), {"_disk": disk})
        with suppress(OSError, PersistQueueError):
            q = on_it(here, serializer=SIGNED, chunksize=2)
            try:
                for number in range(4):
                    q.put(number)
                    stored.append(number)
            finally:
                with suppress(OSError, PersistQueueError):
                    q.close()
        hit = disk.hit
        with Queue(here, serializer=SIGNED, durability="process") as q:
            left = [q.get_nowait() for _ in range(q.qsize())]
        assert left[: len(stored)] == stored, at
        assert left == list(range(len(left))), at
    assert at > 20
