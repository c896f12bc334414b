"""Files that are damaged: typed errors, no hang, nothing erased, what is intact is served."""

from __future__ import annotations

import io
import itertools
import logging
import os
import pickle
import random
import shutil
import struct
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from crashdisk import drain, erased, files_of, lay_out, watchdog
from own_serializers import serializer_of

from persistqueue import (
    Empty,
    FormatError,
    ItemTooLarge,
    PersistQueueError,
    Queue,
    QueueCorrupt,
    SerializationError,
    serializers,
)

CHUNKSIZE = 4
COUNT = 14  # items put; the first is finished
TAIL, MIDDLE, HEAD = "q00000", "q00001", "q00003"
NATIVE = ["pickle", "msgpack", "cbor2", "json"]
CHANGEABLE = ("msgpack", "cbor2")  # have no checksum, and hardly any rules to break
MARK = "persistqueue_test_mark"  # an attribute of sys that no test may find set


def item_of(number: int) -> dict[str, Any]:
    """Return an item of a length of its own."""
    return {"number": number, "text": "abcdefghijklmno"[number] * (number * 7 % 45 + 5)}


ITEMS = [item_of(number) for number in range(COUNT)]


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(30):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The directory of a queue that is not there yet."""
    return tmp_path / "queue"


def build(path: Path, name: str) -> dict[str, bytes]:
    """Make a queue of four chunks and return its files."""
    serializer = serializer_of(name)
    with Queue[Any](
        path, chunksize=CHUNKSIZE, serializer=serializer, durability="process"
    ) as queue:
        queue.put_many(ITEMS)
        queue.get()
        queue.task_done()
    return files_of(path)


def starts_of(data: bytes, name: str) -> list[int]:
    """Return the offsets at which the records of a chunk begin."""
    serializer, starts, at = serializer_of(name), [], 0
    while at < len(data):
        starts.append(at)
        if name == "pickle":
            at += 17 + struct.unpack_from("<L", data, at + 8)[0]
        elif name in ("json", "lines"):
            at = data.index(b"\n", at) + 1
        else:
            at += 4 + struct.unpack_from("<L", data, at)[0]
    assert serializer is not None
    return starts


def serve(path: Path, name: str, **options: Any) -> tuple[list[Any], Exception | None]:
    """Take everything out, up to the first error; it must be the same at the second try."""
    taken = []
    try:
        with Queue[Any](path, serializer=serializer_of(name), **options) as queue:
            try:
                while True:
                    taken.append(queue.get(timeout=0))
            except Empty:
                return taken, None
            except (PersistQueueError, OSError) as error:
                with pytest.raises(type(error)):
                    queue.get(timeout=0)
                with pytest.raises(type(error)):
                    queue.peek()
                return taken, error
    except (PersistQueueError, OSError) as error:
        return taken, error


def lost(before: dict[str, bytes], path: Path, name: str, info: bool = False) -> list[str]:
    """Return the files of which bytes are gone; the finished record does not count.

    Args:
        info: whether ``info`` is damaged: a whole one is overwritten, not kept.
    """
    if not info:
        before = {file: data for file, data in before.items() if file != "info"}
    if TAIL in before and not (path / TAIL).exists():
        data = before[TAIL]
        before = {**before, TAIL: data[starts_of(build_once(name)[TAIL], name)[1] :]}
    return erased(before, path)


_built: dict[str, dict[str, bytes]] = {}


def build_once(name: str) -> dict[str, bytes]:
    """Return the files of an undamaged queue."""
    if name not in _built:
        with tempfile.TemporaryDirectory() as place:
            _built[name] = build(Path(place) / "queue", name)
    return dict(_built[name])


def garbage(size: int) -> bytes:
    """Return bytes that mean nothing."""
    return random.Random(size).randbytes(size)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "zeroed": lambda data: bytes(len(data)),
    "zeroed in part": lambda data: data[: len(data) // 3] + bytes(len(data) - len(data) // 3),
    "a hole": lambda data: data[:40] + bytes(20) + data[60:],
    "garbage": lambda data: garbage(len(data)),
    "garbage in front": lambda data: garbage(30) + data[30:],
    "too long": lambda data: data + garbage(100),
    "empty": lambda data: b"",
    "missing": lambda data: None,
}


def damaged(name: str, target: str, damage: str) -> dict[str, bytes]:
    """Return the files of a queue of which one is damaged."""
    files = build_once(name)
    whole = files.pop(target)
    data = DAMAGES[damage](whole.rstrip(b"\0"))
    if data is not None:
        files[target] = data if damage in ("truncated", "empty") else data.ljust(len(whole), b"\0")
    return files


def intact(files: dict[str, bytes], name: str) -> list[Any]:
    """Return the items that can be found in damaged chunks: whole and in their place."""
    found = []
    for chunk, data in sorted(build_once(name).items()):
        if chunk == "info":
            continue
        starts = starts_of(data, name)
        for index, (start, end) in enumerate(itertools.pairwise([*starts, len(data)])):
            number = int(chunk[1:]) * CHUNKSIZE + index
            if number and files.get(chunk, b"")[start:end] == data[start:end]:
                found.append(item_of(number))
            elif number and name not in ("pickle", "json"):
                break  # behind damage these cannot tell where a record begins
    return found


def without_changed(items: list[Any], name: str) -> list[Any]:
    """Return items without those that changed and can be decoded all the same."""
    return [item for item in items if name not in CHANGEABLE or item in ITEMS]


def is_subsequence(some: list[Any], whole: list[Any]) -> bool:
    """Return whether ``some`` are in ``whole``, in the same order."""
    rest = iter(whole)
    return all(item in rest for item in some)


# -- chunks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NATIVE, "lines"])
@pytest.mark.parametrize("target", [TAIL, MIDDLE, HEAD])
@pytest.mark.parametrize("damage", DAMAGES)
def test_chunk(
    path: Path, name: str, target: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Items of a damaged chunk are missed with a typed error or a WARNING, and all others served."""
    files = damaged(name, target, damage)
    lay_out(files, path)
    whole = intact(files, name)

    served, error = serve(path, name)
    served = without_changed(served, name)
    assert is_subsequence(served, ITEMS[1:])
    if served != ITEMS[1:] and name not in CHANGEABLE:
        assert isinstance(error, QueueCorrupt) or caplog.records
    if isinstance(error, QueueCorrupt):
        assert (error.path, error.chunk) == (str(path), target)
    if isinstance(error, QueueCorrupt) and name not in CHANGEABLE:
        first = int(target[1:]) * CHUNKSIZE + (error.index or 0)
        assert ITEMS[1:first] == served
        assert error.offset == starts_of(build_once(name)[target], name)[error.index or 0]
    assert [] == lost(files, path, name)

    lay_out(files, path)
    with Queue[Any](path, serializer=serializer_of(name), on_corrupt="skip") as queue:
        taken = drain(queue)
        assert 0 == queue.qsize()
        served = without_changed(taken, name)
        assert is_subsequence(served, ITEMS[1:])
        assert is_subsequence(whole, served)
        if isinstance(error, QueueCorrupt):
            assert queue.skipped == COUNT - 1 - len(taken)
        assert [] == lost(files, path, name)
        if taken:
            queue.task_done(len(taken))
        queue.put("more")
        assert "more" == queue.get()
    assert (["more"], None) == serve(path, name)


@pytest.mark.parametrize("target", [TAIL, MIDDLE, HEAD])
def test_put_beside_damage(path: Path, target: str) -> None:
    """A put works while the next get does not, and its item comes behind the damage."""
    lay_out(damaged("pickle", target, "zeroed"), path)
    with Queue[Any](path) as queue:
        queue.put("more")
    served, _ = serve(path, "pickle", on_corrupt="skip")
    assert "more" == served[-1]


def test_zeros_behind_the_beginning_of_a_record(path: Path) -> None:
    """No pickle, and a checksum of zero, is damage, however well they fit each other."""
    files = build_once("pickle")
    data, starts = files[MIDDLE], starts_of(files[MIDDLE], "pickle")
    for kept in range(1, starts[-1] - starts[-2]):
        place = starts[-2] + kept  # the zeros reach to the end
        lay_out({**files, MIDDLE: data[:place].ljust(len(data), b"\0")}, path)
        _, error = serve(path, "pickle")
        assert isinstance(error, QueueCorrupt), kept
        served, error = serve(path, "pickle", on_corrupt="skip")
        assert error is None
        assert ITEMS[-1] == served[-1]


@pytest.mark.parametrize("name", ["pickle", "json"])
def test_two_damaged_records(path: Path, name: str) -> None:
    """Two damaged records of a chunk are reported one after the other, where they are."""
    files = build_once(name)
    data, starts = files[MIDDLE], starts_of(files[MIDDLE], name)
    for index in (0, 2):
        place = starts[index] + 20
        data = data[:place] + b"\0" + data[place + 1 :]
    lay_out({**files, MIDDLE: data}, path)

    served, error = serve(path, name)
    assert ITEMS[1:4] == served
    assert isinstance(error, QueueCorrupt)
    assert (MIDDLE, 0, 0) == (error.chunk, error.index, error.offset)

    with Queue[Any](path, serializer=serializer_of(name), on_corrupt="skip") as queue:
        assert [*ITEMS[1:4], ITEMS[5], *ITEMS[7:]] == queue.get_many(100)
        assert 2 == queue.skipped
        assert 0 == queue.qsize()
        assert [] == lost({MIDDLE: data}, path, name)
        queue.task_done(11)
        assert 0 == queue.unfinished_tasks
    aside = [data for name, data in files_of(path).items() if ".corrupt-" in name]
    assert sorted(map(len, aside)) == sorted([starts[1] - starts[0], starts[3] - starts[2]])


@pytest.mark.parametrize("place", range(17))
def test_damage_in_two_places(path: Path, place: int) -> None:
    """A pickled record that is damaged in front and in its text is never served as it is."""
    files = build_once("pickle")
    data = bytearray(files[MIDDLE])
    start = starts_of(files[MIDDLE], "pickle")[1]
    data[start + place] ^= 1
    data[data.index(b"fff", start)] ^= 1
    lay_out({**files, MIDDLE: bytes(data)}, path)
    served, error = serve(path, "pickle", on_corrupt="skip")
    assert error is None
    assert [item for item in ITEMS[1:] if item["number"] != 5] == served


def test_every_flipped_bit(path: Path) -> None:
    """Whichever bit of a pickled record flips, the others come, and it as it was or not at all."""
    files = build_once("pickle")
    start, end = starts_of(files[MIDDLE], "pickle")[1:3]
    problems = []
    places = [*itertools.product(range(start, start + 20), range(8))]
    places += [(place, place % 8) for place in range(start + 20, end)]
    for place, bit in places:
        data = bytearray(files[MIDDLE])
        data[place] ^= 1 << bit
        lay_out({**files, MIDDLE: bytes(data)}, path)
        served, error = serve(path, "pickle", on_corrupt="skip")
        if error or served not in (ITEMS[1:], [*ITEMS[1:5], *ITEMS[6:]]):
            problems.append((place - start, bit, len(served), repr(error)[:100]))
    assert not problems, "\n".join(map(str, problems))


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bits(path: Path, seed: int) -> None:
    """Bits that flip anywhere in the chunks make pickled items be missed, never changed."""
    chance = random.Random(seed)
    for _ in range(8):
        files = build_once("pickle")
        for _ in range(chance.randint(1, 6)):
            name = f"q{chance.randrange(4):05d}"
            data = bytearray(files[name])
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            files[name] = bytes(data)
        lay_out(files, path)
        served, error = serve(path, "pickle", on_corrupt="skip")
        assert error is None
        assert is_subsequence(served, ITEMS[1:])


def test_skip_under_autosave(path: Path) -> None:
    """With autosave, too, damage is skipped once and counted."""
    lay_out(damaged("pickle", MIDDLE, "a hole"), path)
    with Queue[Any](path, autosave=True, on_corrupt="skip") as queue:
        taken = [queue.get() for _ in range(6)]
        skipped = queue.skipped
    served, error = serve(path, "pickle", autosave=True)
    assert skipped in (1, 2)
    assert error is None
    assert [*ITEMS[1:4], *ITEMS[4 + skipped :]] == taken + served


@pytest.mark.parametrize("name", ["pickle", "msgpack", "cbor2"])
@pytest.mark.parametrize("lie", [0, 3, 60, 1 << 20, 0xFFFFFFFF])
def test_length_that_lies(path: Path, name: str, lie: int) -> None:
    """A record whose length is wrong is damaged; nobody allocates what it promises."""
    files = build_once(name)
    data = bytearray(files[MIDDLE])
    start = starts_of(files[MIDDLE], name)[1]
    struct.pack_into("<L", data, start + (8 if name == "pickle" else 0), lie)
    files[MIDDLE] = bytes(data)
    lay_out(files, path)
    served, error = serve(path, name)
    assert isinstance(error, QueueCorrupt | ItemTooLarge)
    assert ITEMS[1:5] == served[:4]
    assert [] == lost(files, path, name)
    lay_out(files, path)
    served, error = serve(path, name, on_corrupt="skip")
    if not isinstance(error, ItemTooLarge):
        assert is_subsequence(ITEMS[8:], served)


@pytest.mark.parametrize("name", NATIVE)
def test_too_large_to_read(path: Path, name: str) -> None:
    """An item beyond max_item_bytes is not loaded, stays, and comes with a larger bound."""
    serializer = serializer_of(name)
    with Queue[Any](path, serializer=serializer) as queue:
        queue.put_many(["a", "x" * 200_000, "b"])
    for on_corrupt in ("raise", "skip"):
        served, error = serve(path, name, max_item_bytes=1000, on_corrupt=on_corrupt)
        assert (served, type(error)) == (["a"], ItemTooLarge)
    assert (["a", "x" * 200_000, "b"], None) == serve(path, name)


@pytest.mark.parametrize("bare", [False, True], ids=["checksum", "bare"])
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_unimportable_class(
    path: Path, on_corrupt: str, bare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item whose class is gone raises SerializationError, stays, and comes when it is back."""
    module = types.ModuleType("gone_tomorrow")
    kind = type("Job", (), {"__module__": "gone_tomorrow"})
    module.Job = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gone_tomorrow", module)
    items = ["before", kind(), "after"]
    with Queue[Any](path, serializer=Bare() if bare else serializers.pickle) as queue:
        queue.put_many(items)
    monkeypatch.delitem(sys.modules, "gone_tomorrow")
    for _ in range(2):
        served, error = serve(path, "pickle", on_corrupt=on_corrupt)
        assert ["before"] == served
        assert isinstance(error, SerializationError)
        assert "gone_tomorrow" in str(error)
    monkeypatch.setitem(sys.modules, "gone_tomorrow", module)
    served, error = serve(path, "pickle", on_corrupt=on_corrupt)
    assert error is None
    assert [type(item) for item in served] == [str, kind, str]


class Bare:
    """Pickles as persist-queue writes them."""

    dump = staticmethod(lambda value, fp: pickle.dump(value, fp, 4))
    load = staticmethod(pickle.load)


# -- info ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("damage", DAMAGES)
def test_info(path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged info is kept beside a new one; all items come, finished ones of a chunk again."""
    files = damaged(name, "info", damage)
    lay_out(files, path)
    served, error = serve(path, name)
    assert error is None
    if damage == "too long":  # what follows the trailer is nobody's
        assert ITEMS[1:] == served
        return
    assert ITEMS == served
    assert "rebuilt" in caplog.text
    assert [] == lost(files, path, name, info=True)
    caplog.clear()
    assert (ITEMS, None) == serve(path, name)
    assert not caplog.records


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("target", [TAIL, MIDDLE, HEAD])
@pytest.mark.parametrize("damage", DAMAGES)
def test_info_and_chunk(path: Path, name: str, target: str, damage: str) -> None:
    """Without info and with a damaged chunk, what is intact in the others is served in order."""
    files = damaged(name, target, damage)
    del files["info"]
    lay_out(files, path)
    whole = [item for item in ITEMS if f"q{item['number'] // CHUNKSIZE:05d}" != target]
    whole += [item for item in intact(files, name) if item not in whole and target != HEAD]
    whole.sort(key=lambda item: item["number"])
    for on_corrupt in ("raise", "skip"):
        served, error = serve(path, name, on_corrupt=on_corrupt)
        served = without_changed(served, name)
        assert is_subsequence(served, ITEMS)
        assert error is None or (isinstance(error, QueueCorrupt) and on_corrupt == "raise")
        assert [] == lost(files, path, name)
    assert is_subsequence(whole[target == TAIL :], served)


@pytest.mark.parametrize("name", NATIVE)
def test_info_and_short_chunk(path: Path, name: str) -> None:
    """A chunk that ends early between two records does not pass for a full one."""
    files = build_once(name)
    files[TAIL] = files[TAIL][: starts_of(files[TAIL], name)[2]]
    del files["info"]
    lay_out(files, path)
    assert ([*ITEMS[:2], *ITEMS[4:]], None) == serve(path, name, on_corrupt="skip")


@pytest.mark.parametrize("name", NATIVE)
def test_info_and_empty_chunks(path: Path, name: str) -> None:
    """Empty chunks behind the last item, which a failed put_many may leave, hold no items."""
    files = build_once(name)
    del files["info"]
    lay_out({**files, "q00004": b"", "q00005": b""}, path)
    assert (ITEMS, None) == serve(path, name)


@pytest.mark.parametrize("name", NATIVE)
def test_every_flipped_byte_of_info(path: Path, name: str) -> None:
    """Whichever byte of info changes, it is noticed, or makes no difference."""
    files = build_once(name)
    for place in range(files["info"].rindex(b"pqI") + 20):
        data = bytearray(files["info"])
        data[place] ^= 1 << place % 8
        lay_out({**files, "info": bytes(data)}, path)
        served, error = serve(path, name)
        assert served in (ITEMS[1:], ITEMS) or isinstance(error, FormatError), place


@pytest.mark.parametrize("damage", DAMAGES)
def test_info_of_own_serializer(path: Path, damage: str) -> None:
    """A damaged info of a user's serializer is refused, as nobody can rebuild it, and untouched."""
    files = damaged("lines", "info", damage)
    lay_out(files, path)
    served, error = serve(path, "lines")
    if damage == "too long":
        assert (ITEMS[1:], None) == (served, error)
    else:
        assert isinstance(error, QueueCorrupt)
        assert (error.path, error.chunk) == (str(path), "info")
        assert files == files_of(path)
        lay_out(build_once("lines"), path)
        assert (ITEMS[1:], None) == serve(path, "lines")


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("other", [*NATIVE, "lines"])
def test_other_serializer(path: Path, name: str, other: str) -> None:
    """A queue opened with another serializer is refused by name, and untouched."""
    if name == other:
        pytest.skip("the same serializer")
    files = build_once(other)
    lay_out(files, path)
    served, error = serve(path, name, on_corrupt="skip")
    assert [] == served
    assert isinstance(error, FormatError | QueueCorrupt)
    if other != "lines":
        assert isinstance(error, FormatError)
        assert other in str(error)
        assert name in str(error)
    assert files == files_of(path)
    assert (ITEMS[1:], None) == serve(path, other)


@pytest.mark.parametrize("name", NATIVE)
def test_newer_format(path: Path, name: str) -> None:
    """A newer version's info is refused with both versions named, and untouched."""
    files = build_once(name)
    at = files["info"].rindex(b"pqI") + 3
    files["info"] = files["info"][:at] + b"\x07" + files["info"][at + 1 :]
    lay_out(files, path)
    _, error = serve(path, name, on_corrupt="skip")
    assert isinstance(error, FormatError)
    assert "7" in str(error)
    assert "1" in str(error)
    assert files == files_of(path)


class RunsCode:
    """Pickled as a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call = call, arguments

    def __reduce__(self) -> Any:
        return self._call


def laughs() -> Any:
    """Return a small nest whose repr would fill any memory."""
    nest: Any = ["ha"] * 10
    for _ in range(40):
        nest = [nest] * 10
    return nest


def with_trailer(value: bytes) -> bytes:
    """Return an ``info`` that looks whole."""
    trailer = struct.pack("<3sBLL", b"pqI", 1, len(value), crc32(value))
    return (value + trailer).ljust(512, b"\0")


PICKLES = {
    "a call": pickle.dumps({"chunksize": RunsCode(exec, f"import sys; sys.{MARK} = 1")}, 4),
    "a call in place of all": pickle.dumps(RunsCode(os._exit, 3), 4),
    "laughs": pickle.dumps(
        {"chunksize": laughs(), "size": 1, "tail": laughs(), "head": [0, 0, 0]}, 4
    ),
    "endless opcodes": b"\x80\x04" + b"(" * 400,
    "a huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "a huge string": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00x.",
    "no dict": pickle.dumps(["chunksize"], 4),
}


@pytest.mark.parametrize("trailer", [False, True], ids=["bare", "trailer"])
@pytest.mark.parametrize("kind", PICKLES)
def test_hostile_info(path: Path, kind: str, trailer: bool) -> None:
    """A pickle in info that would run code or fill memory does neither, and is set aside."""
    files = build_once("pickle")
    files["info"] = with_trailer(PICKLES[kind]) if trailer else PICKLES[kind]
    lay_out(files, path)
    assert (ITEMS, None) == serve(path, "pickle")
    assert not hasattr(sys, MARK)
    assert [] == lost(files, path, "pickle", info=True)


GOOD = {"chunksize": 4, "size": 13, "tail": [0, 1, 50], "head": [3, 2, 100]}
FIELDS: dict[str, dict[str, Any]] = {
    "huge chunksize": {"chunksize": 1 << 62},
    "no chunksize": {"chunksize": None},
    "chunksize zero": {"chunksize": 0},
    "negative chunksize": {"chunksize": -4},
    "float chunksize": {"chunksize": 4.0},
    "true": {"chunksize": True},
    "text": {"chunksize": "4"},
    "wrong size": {"size": 12},
    "float size": {"size": 13.0},
    "huge size": {"size": 10**15},
    "negative tail": {"tail": [0, -1, 50]},
    "float tail": {"tail": [0, 1.0, 50]},
    "true tail": {"tail": [False, True, 50]},
    "short tail": {"tail": [0, 1]},
    "no list": {"tail": 7},
    "tail beyond head": {"tail": [3, 3, 100], "size": -1},
    "tail beyond head, size fits": {"tail": [4, 0, 0], "size": 0},
    "count beyond chunksize": {"head": [3, 4, 100], "size": 15},
    "head of no list": {"head": {"a": 1}},
    "huge head": {"head": [1 << 62, 2, 100]},
}


@pytest.mark.parametrize("trailer", [False, True], ids=["bare", "trailer"])
@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("kind", FIELDS)
def test_impossible_info(path: Path, name: str, kind: str, trailer: bool) -> None:
    """A field of info that no queue can have written makes it be rebuilt."""
    files = build_once(name)
    frame = files_of_info({**GOOD, **FIELDS[kind]}, name)
    files["info"] = with_trailer(frame) if trailer else frame
    lay_out(files, path)
    assert (ITEMS, None) == serve(path, name)
    assert [] == lost(files, path, name, info=True)


def files_of_info(value: dict[str, Any], name: str) -> bytes:
    """Return the bytes of an ``info`` without a trailer, as persist-queue writes it."""
    buffer = io.BytesIO()
    serializer_of(name).dump(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", NATIVE)
def test_offset_that_lies(path: Path, name: str) -> None:
    """An info whose tail points into a record is noticed at the next get, and skipped."""
    files = build_once(name)
    value = serializer_of(name).loads(info_value(files["info"], name))
    value = {**value, "tail": [0, 1, value["tail"][2] + 5]}
    files["info"] = with_trailer(files_of_info(value, name))
    lay_out(files, path)
    served, error = serve(path, name)
    assert (served, type(error)) == ([], QueueCorrupt)
    lay_out(files, path)
    served, error = serve(path, name, on_corrupt="skip")
    assert error is None
    assert is_subsequence(ITEMS[4:], served)
    assert is_subsequence(served, ITEMS[1:])


def info_value(raw: bytes, name: str) -> bytes:
    """Return the payload of an ``info``, without frame and trailer."""
    value = raw[: raw.rindex(b"pqI")]
    return value[4:] if name in ("msgpack", "cbor2") else value


@pytest.mark.parametrize("chunk", [1000, 10**7, 10**15])
def test_head_far_away(path: Path, chunk: int, caplog: pytest.LogCaptureFixture) -> None:
    """An info whose head is a million chunks away costs an error or a skip, not a day."""
    files = build_once("pickle")
    tail = serializers.pickle.loads(files["info"])["tail"]
    value = {"chunksize": 4, "size": chunk * 4 - 1, "tail": tail, "head": [chunk, 0, 0]}
    files["info"] = with_trailer(files_of_info(value, "pickle"))
    lay_out(files, path)
    served, error = serve(path, "pickle")
    assert ITEMS[1:] == served
    assert isinstance(error, QueueCorrupt) or caplog.records
    with Queue[Any](path, on_corrupt="skip") as queue:
        queue.put("more")
        queue.sync()
        assert [*ITEMS[1:], "more"] == queue.get_many(100)
        queue.task_done(14)
        queue.sync()
    assert ([], None) == serve(path, "pickle")


# -- what is no file ----------------------------------------------------------------


def make_directory(place: Path, data: bytes, outside: Path) -> None:
    """Put a directory in a file's place."""
    place.mkdir()
    (place / "inside").write_bytes(data)


def make_link(place: Path, data: bytes, outside: Path) -> None:
    """Put a symbolic link in a file's place, to the same bytes somewhere else."""
    outside.write_bytes(data)
    try:
        place.symlink_to(outside)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")


def make_fifo(place: Path, data: bytes, outside: Path) -> None:
    """Put a named pipe in a file's place."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(place)


@pytest.mark.parametrize("name", ["pickle", "json", "lines"])
@pytest.mark.parametrize("target", ["info", TAIL, MIDDLE, HEAD])
@pytest.mark.parametrize("make", [make_directory, make_link, make_fifo])
def test_no_file(
    path: Path, name: str, target: str, make: Callable[[Path, bytes, Path], None]
) -> None:
    """A directory, link or pipe in a file's place is an error, is not followed, and stays."""
    files = build_once(name)
    lay_out(files, path)
    outside = path.with_name("outside")
    (path / target).unlink()
    make(path / target, files[target], outside)
    kind = (path / target).lstat().st_mode
    for on_corrupt in ("raise", "skip"):
        served, error = serve(path, name, on_corrupt=on_corrupt)
        assert isinstance(error, PersistQueueError | OSError)
        assert ITEMS[1 : 1 + len(served)] == served
        assert (path / target).lstat().st_mode == kind
        if outside.exists():
            assert files[target] == outside.read_bytes()
    if make is make_directory:
        shutil.rmtree(path / target)
    else:
        (path / target).unlink()
    (path / target).write_bytes(files[target])
    assert (ITEMS[1:], None) == serve(path, name)


@pytest.mark.parametrize("target", [".lock", ".info.tmp"])
@pytest.mark.parametrize("make", [make_directory, make_link, make_fifo])
def test_no_file_of_our_own(
    path: Path, target: str, make: Callable[[Path, bytes, Path], None]
) -> None:
    """What stands in the place of a lock or temporary file is not followed or written to."""
    path.mkdir()
    outside = path.with_name("outside")
    make(path / target, b"precious", outside)
    try:
        with Queue[Any](path) as queue:
            queue.put("item")
            assert "item" == queue.get()
    except (PersistQueueError, OSError):
        pass
    if outside.exists():
        assert b"precious" == outside.read_bytes()


def test_path_is_a_file(tmp_path: Path) -> None:
    """A regular file in the place of the directory is an OSError, and stays."""
    place = tmp_path / "queue"
    place.write_bytes(b"precious")
    with pytest.raises(NotADirectoryError):
        Queue(place)
    assert b"precious" == place.read_bytes()


# -- while it is open ---------------------------------------------------------------


def test_info_is_damaged_while_open(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An info that is damaged under an open queue is QueueCorrupt once; the next call rebuilds it."""
    lay_out(build_once("pickle"), path)
    with Queue[Any](path) as queue:
        assert ITEMS[1] == queue.get()
        with open(path / "info", "r+b") as file:
            file.write(garbage(100))
        with pytest.raises(QueueCorrupt, match="the next call reopens the queue"):
            queue.put("more")
        queue.put("more")
        queue.task_done()  # its place is the same
        assert [*ITEMS[2:], "more"] == queue.get_many(100)  # and what was finished stays so
    caplog.set_level(logging.ERROR)
    assert ([*ITEMS[2:], "more"], None) == serve(path, "pickle")


def test_chunk_is_damaged_while_open(path: Path) -> None:
    """A chunk that is damaged under an open queue raises QueueCorrupt when it is reached."""
    lay_out(build_once("pickle"), path)
    with Queue[Any](path) as queue:
        assert ITEMS[1] == queue.get()
        (path / "q00002").write_bytes(b"")
        assert [queue.get() for _ in range(6)] == ITEMS[2:8]
        with pytest.raises(QueueCorrupt) as caught:
            queue.get(timeout=0)
    assert ("q00002", 0, 0) == (caught.value.chunk, caught.value.index, caught.value.offset)
