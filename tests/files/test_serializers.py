"""The serializers: what they write, what they read, and those that users bring."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import zlib
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import pytest
from interpreter import run, start

import persistqueue
from persistqueue import FormatError, Queue, QueueCorrupt, SerializationError, serializers

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("pickle", "msgpack", "cbor2", "json")
FRAMED = ("msgpack", "cbor2")  # a 4-byte length stands in front of what dump writes
VALUES: list[Any] = [
    None, True, 0, -5, 2**40, 1.25, "", "ž 🐎\n", {}, {"a": {"b": [{}]}}, "x" * 100_000,
]  # fmt: skip

each_name = pytest.mark.parametrize("name", NAMES)


def module(name: str) -> Any:
    """Return a shipped serializer."""
    return getattr(serializers, name)


def as_read(name: str, value: Any) -> Any:
    """Return what a serializer makes of a value: msgpack's lists come back as tuples."""
    if isinstance(value, dict):
        return {key: as_read(name, inner) for key, inner in value.items()}
    if isinstance(value, list):
        inner = [as_read(name, item) for item in value]
        return tuple(inner) if name == "msgpack" else inner
    return value


# -- the shipped ones ---------------------------------------------------------------


@each_name
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_loads_returns_what_dumps_was_given(name: str, value: Any) -> None:
    """``loads(dumps(value))`` equals ``value``."""
    serializer = module(name)
    assert as_read(name, value) == serializer.loads(serializer.dumps(value))


@each_name
def test_load_reads_one_value_and_stops_behind_it(name: str, tmp_path: Path) -> None:
    """Values that ``dump`` wrote to one file come out one by one, whatever follows them."""
    serializer, file = module(name), tmp_path / "values"
    ends = []
    with open(file, "wb") as fp:
        for value in VALUES:
            serializer.dump(value, fp)
            ends.append(fp.tell())
        fp.write(b"\xffjunk")
    with open(file, "rb") as fp:
        for value, end in zip(VALUES, ends, strict=True):
            assert (as_read(name, value), end) == (serializer.load(fp), fp.tell())


@each_name
def test_dump_frames_what_dumps_returns(name: str) -> None:
    """``dump`` writes what ``dumps`` returns: bare, as a line, or behind a 4-byte length."""
    serializer, value, fp = module(name), {"key": ["value"]}, io.BytesIO()
    data = serializer.dumps(value)
    serializer.dump(value, fp)
    length = len(data).to_bytes(4, "little")
    expected = {"pickle": data, "json": data + b"\n"}.get(name, length + data)
    assert expected == fp.getvalue()


@each_name
def test_sort_keys_makes_equal_dicts_equal_bytes(name: str) -> None:
    """With ``sort_keys`` the order of a dict's keys no longer shows, in both writers."""
    serializer = module(name)
    one, other = {"b": 1, "a": 2, "c": 3}, {"c": 3, "a": 2, "b": 1}
    assert serializer.dumps(one) != serializer.dumps(other)
    assert serializer.dumps(one, sort_keys=True) == serializer.dumps(other, sort_keys=True)
    files = io.BytesIO(), io.BytesIO()
    serializer.dump(one, files[0], sort_keys=True)
    serializer.dump(other, files[1], sort_keys=True)
    assert files[0].getvalue() == files[1].getvalue()
    assert ["a", "b", "c"] == list(serializer.loads(serializer.dumps(one, sort_keys=True)))


@each_name
def test_sort_keys_sorts_the_top_level_and_json_all_levels(name: str) -> None:
    """Inner dicts keep their order, except in JSON; the caller's dict is left alone."""
    serializer, value = module(name), {"z": {"d": 1, "c": 2}, "y": 0}
    sorted_value = serializer.loads(serializer.dumps(value, sort_keys=True))
    assert ["y", "z"] == list(sorted_value)
    assert (["c", "d"] if name == "json" else ["d", "c"]) == list(sorted_value["z"])
    assert ["z", "y"] == list(value)


@each_name
def test_sort_keys_leaves_other_values_alone(name: str) -> None:
    """What is no dict is written as without ``sort_keys``."""
    serializer = module(name)
    for value in (None, "text", [3, 1, 2], 7):
        assert serializer.dumps(value) == serializer.dumps(value, sort_keys=True)


def test_pickle_protocol_is_4() -> None:
    """The protocol of the stored format is 4, in the constant and in the bytes."""
    assert 4 == serializers.pickle.protocol == serializers.async_pickle.protocol
    assert b"\x80\x04" == serializers.pickle.dumps("item")[:2]


def test_msgpack_tells_bytes_from_text_and_returns_tuples() -> None:
    """msgpack keeps bytes bytes and str str; sequences come back as tuples."""
    value = [b"\xff", "text", [1, [2]]]
    assert (b"\xff", "text", (1, (2,))) == module("msgpack").loads(module("msgpack").dumps(value))


def test_json_is_one_line_of_ascii() -> None:
    """A JSON item is one line whatever its text, so that lines are items."""
    assert b'{"k": "\\n\\u017e"}' == module("json").dumps({"k": "\nž"})


@pytest.mark.parametrize("name", FRAMED)
@pytest.mark.parametrize("cut", [0, 3, 5])
def test_a_framed_value_cut_short_is_an_eof_error(name: str, cut: int) -> None:
    """``load`` at the end of a file, or of half a value, raises EOFError."""
    fp = io.BytesIO()
    module(name).dump("a longer text", fp)
    with pytest.raises(EOFError):
        module(name).load(io.BytesIO(fp.getvalue()[:cut]))


@each_name
def test_an_item_that_can_be_put_can_be_got(path: Path, name: str) -> None:
    """What a serializer takes, it gives back: a dict with keys of numbers too."""
    expected = {"1": "one"} if name == "json" else {1: "one"}
    with Queue[Any](path, serializer=module(name), durability="process") as queue:
        queue.put({1: "one"})
        assert expected == queue.get()


def test_async_pickle_stores_what_pickle_stores() -> None:
    """The coroutine functions write and read the same bytes as ``serializers.pickle``."""

    class AsyncFile:
        def __init__(self) -> None:
            self.data = b""

        async def write(self, data: bytes) -> None:
            self.data += data

        async def read(self) -> bytes:
            return self.data

    async def scenario() -> None:
        serializer, fp, value = serializers.async_pickle, AsyncFile(), {"b": 1, "a": 2}
        await serializer.dump(value, fp, sort_keys=True)
        assert module("pickle").dumps(value, sort_keys=True) == fp.data
        assert module("pickle").dumps(value) == await serializer.dumps(value)
        assert value == await serializer.load(fp) == serializer.loads(fp.data)

    asyncio.run(scenario())


# -- how they are reached -----------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "async_pickle"])
def test_a_plain_import_reaches_every_serializer(name: str) -> None:
    """After ``import persistqueue`` alone, ``persistqueue.serializers.<name>`` is there."""
    code = f"import persistqueue; print(repr(persistqueue.serializers.{name}.__name__))"
    assert f"persistqueue.serializers.{name}" == run(code)


@pytest.mark.parametrize("name", [*NAMES, "async_pickle"])
def test_every_way_of_importing_leads_to_one_module(name: str) -> None:
    """``import a.b``, ``from a import b`` and attribute access give the same module."""
    code = f"""
from persistqueue.serializers import {name} as first
import persistqueue.serializers.{name} as second
import persistqueue
print(first is second is persistqueue.serializers.{name})
"""
    assert True is run(code)


def test_serializers_lists_its_modules() -> None:
    """``dir`` names the serializers; an unknown name is an AttributeError that names it."""
    assert {*NAMES, "async_pickle"} <= set(dir(serializers))
    with pytest.raises(AttributeError, match="'yaml'"):
        serializers.yaml  # noqa: B018


@pytest.mark.parametrize("name", FRAMED)
@pytest.mark.parametrize(
    "code",
    [
        "import persistqueue; persistqueue.serializers.{name}",
        "from persistqueue.serializers import {name}",
        "import persistqueue.serializers.{name}",
    ],
)
def test_a_missing_library_is_an_import_error_that_names_the_extra(name: str, code: str) -> None:
    """Without its library a serializer says what to install."""
    done = start(code.format(name=name), without=(name,))
    assert 1 == done.returncode
    last = done.stderr.strip().splitlines()[-1]
    assert (
        f"ImportError: the {name} serializer needs the package {name}: "
        'pip install "persist-queue[extra]"'
    ) == last


def test_missing_libraries_are_nobody_elses_problem(path: Path) -> None:
    """Without msgpack and cbor2, queues with pickle and JSON work."""
    code = """
import sys, persistqueue
for name in ("pickle", "json"):
    with persistqueue.Queue(sys.argv[1] + name, serializer=getattr(persistqueue.serializers, name)) as queue:
        queue.put("item")
        print(repr(queue.get()), end=" ")
"""
    assert "itemitem" == run(code, path, without=FRAMED)


def test_a_star_import_of_serializers_needs_no_library() -> None:
    """``from persistqueue.serializers import *`` works without msgpack and cbor2."""
    code = "from persistqueue.serializers import *; print(repr(pickle.__name__))"
    assert "persistqueue.serializers.pickle" == run(code, without=FRAMED)


# -- a user's own -------------------------------------------------------------------


class Zipped:
    """Compressed pickles, each behind its length."""

    def dump(self, value: Any, fp: IO[bytes]) -> None:
        data = zlib.compress(pickle.dumps(value))
        fp.write(len(data).to_bytes(4, "big"))
        fp.write(data)

    def load(self, fp: IO[bytes]) -> Any:
        return pickle.loads(zlib.decompress(fp.read(int.from_bytes(fp.read(4), "big"))))


class Lines:
    """Text, a line each; ``info`` as JSON."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        fp.write(json.dumps(value).encode() + b"\n")

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return json.loads(fp.readline().decode())


class Seeking:
    """Looks ahead with seek and tell, as a reader of text formats does."""

    def dump(self, value: Any, fp: IO[bytes]) -> None:
        fp.write(json.dumps(value).encode() + b"\0")

    def load(self, fp: IO[bytes]) -> Any:
        start = fp.tell()
        data = fp.read()
        length = data.index(b"\0")
        fp.seek(start + length + 1)
        return json.loads(data[:length])


@pytest.mark.parametrize(
    "serializer",
    [Zipped(), Lines, Lines(), Seeking()],
    ids=["Zipped()", "Lines", "Lines()", "Seeking()"],
)
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_a_users_object_serves_as_serializer(path: Path, serializer: Any, chunksize: int) -> None:
    """Any object with ``dump`` and ``load`` works, over chunks and reopening."""
    items = ["one", None, {"a": [1, 2]}, "x" * 100_000, 5, "", "last"]
    with Queue[Any](path, serializer=serializer, chunksize=chunksize) as queue:
        queue.put_many(items[:4])
        for item in items[4:]:
            queue.put(item)
        assert items[:2] == [queue.get(), queue.get()]
        queue.task_done(2)
    with Queue[Any](path, serializer=serializer) as queue:
        assert items[2:] == queue.get_many(100)
        queue.task_done(5)
    with Queue[Any](path, serializer=serializer) as queue:
        assert queue.empty()


@pytest.mark.parametrize("trailer", [True, False], ids=["ours", "as persist-queue wrote it"])
@pytest.mark.parametrize(
    "serializer", [Zipped(), Lines, Seeking()], ids=["Zipped", "Lines", "Seeking"]
)
def test_a_users_serializer_on_a_pickled_queue(
    open_queue: Any, path: Path, serializer: Any, trailer: bool
) -> None:
    """A whole queue is not called damaged: the error says who wrote it, and nothing is touched."""
    with Queue[str](path) as queue:
        queue.put("a")
    info = path / "info"
    if not trailer:
        info.write_bytes(info.read_bytes().partition(b"pqI")[0])
    before = {file: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(FormatError, match=r"written with the pickle serializer, .* opened with"):
        open_queue(path, serializer=serializer)
    assert before == {file: file.read_bytes() for file in path.iterdir()}
    info.write_bytes(b"\x80\x04rust")
    with pytest.raises(QueueCorrupt, match=r"cannot be rebuilt for the serializer (Z|L|S)"):
        open_queue(path, serializer=serializer)


def test_a_load_that_reads_everything_sees_one_items_bytes(path: Path) -> None:
    """A serializer whose ``load`` is ``fp.read()`` gets what ``dump`` wrote, nothing else."""

    class Bytes:
        """``info`` needs a real serializer; items are bytes as they are."""

        def dump(self, value: Any, fp: IO[bytes]) -> None:
            fp.write(value if isinstance(value, bytes) else pickle.dumps(value))

        def load(self, fp: IO[bytes]) -> Any:
            data = fp.read()
            return pickle.loads(data) if data[:1] == b"\x80" else data

    with Queue[bytes](path, serializer=Bytes(), chunksize=1) as queue:
        for item in (b"first", b"second", b"\0"):
            queue.put(item)
        assert [b"first", b"second", b"\0"] == queue.get_many(3)


def test_nothing_but_the_items_bytes_is_on_disk(path: Path) -> None:
    """A user's serializer finds its own bytes in the chunk and in ``info``, and no others."""
    with Queue[Any](path, serializer=Lines) as queue:
        queue.put("a")
        queue.put("b")
        info = queue.info
    assert b'"a"\n"b"\n' == (path / "q00000").read_bytes()
    assert json.dumps(info).encode() + b"\n" == (path / "info").read_bytes()


def test_the_standard_librarys_pickle_counts_as_ours(path: Path) -> None:
    """``import pickle`` given as serializer writes what ``serializers.pickle`` writes."""
    with Queue[Any](path / "std", serializer=pickle) as queue:
        queue.put({"a": 1})
    with Queue[Any](path / "ours", serializer=serializers.pickle) as queue:
        queue.put({"a": 1})
    for name in ("q00000", "info"):
        assert (path / "ours" / name).read_bytes() == (path / "std" / name).read_bytes()
    with Queue[Any](path / "std") as queue:
        assert {"a": 1} == queue.get()


def test_pickle_is_the_default(path: Path) -> None:
    """A queue that is given no serializer pickles: any object of Python's goes through."""
    with Queue[Any](path) as queue:
        assert serializers.pickle is queue.serializer
        queue.put({1, 2, (3, b"\xff")})
        assert {1, 2, (3, b"\xff")} == queue.get()


class NoLoad:
    """Half a serializer."""

    dump = Lines.dump


class NotCallable:
    """A serializer in name only."""

    dump = "dump"
    load = Lines.load


@pytest.mark.parametrize(
    ("serializer", "missing"), [(None, "dump"), (object(), "dump"), (NoLoad(), "load"), (NotCallable, "dump")]
)  # fmt: skip
def test_a_bad_serializer_is_an_attribute_error(path: Path, serializer: Any, missing: str) -> None:
    """What has no ``dump`` or no ``load`` is refused by name, before anything is created."""
    with pytest.raises(AttributeError, match=f"has no {missing}$"):
        Queue(path, serializer=serializer)
    assert not path.exists()


class Broken(Lines):
    """Raises in the middle of writing, or when reading."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        if value == "bad":
            fp.write(b"half of it")
            raise RuntimeError("cannot write this")
        Lines.dump(value, fp)

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        value = Lines.load(fp)
        if value == "unreadable":
            raise RuntimeError("cannot read this")
        return value


def test_a_users_dump_that_raises_stores_nothing(path: Path) -> None:
    """What a failing ``dump`` wrote before it failed is nowhere, and the cause is told."""
    with Queue[Any](path, serializer=Broken) as queue:
        queue.put("a")
        with pytest.raises(SerializationError, match="cannot write this") as caught:
            queue.put("bad")
        assert isinstance(caught.value.__cause__, RuntimeError)
        queue.put("b")
        assert b'"a"\n"b"\n' == (path / "q00000").read_bytes()
        assert ["a", "b"] == queue.get_many(5)


def test_a_users_load_that_raises_is_not_emptiness(path: Path) -> None:
    """What a failing ``load`` could not read stays stored, and is reported each time."""
    with Queue[Any](path, serializer=Broken) as queue:
        queue.put("unreadable")
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match="cannot read this"):
                queue.get(timeout=1)
        assert 1 == queue.qsize()
    with Queue[Any](path, serializer=Lines) as queue:
        assert "unreadable" == queue.get()


def test_a_load_that_calls_the_queue_is_no_damage(path: Path) -> None:
    """Nor is one that another queue refuses: the item stays, skip or not."""

    class Calls(Lines):
        @staticmethod
        def load(fp: Any) -> Any:
            call()
            return Lines.load(fp)

    with Queue[Any](path, serializer=Calls, on_corrupt="skip") as queue:
        call = queue.qsize
        queue.put("a")
        with pytest.raises(SerializationError, match="in the middle of another call"):
            queue.get(timeout=1)
        call = partial(Queue(path.parent / "other").get, block=False)
        with pytest.raises(SerializationError, match="empty"):
            queue.get(timeout=1)
        call = int
        assert "a" == queue.get(timeout=1)
        assert 0 == queue.skipped


def test_package_and_attribute_are_the_same_object() -> None:
    """``persistqueue.serializers`` is the subpackage."""
    assert serializers is persistqueue.serializers
