"""Directories that ours and the real persist-queue 1.1.0 write for each other.

``Ours`` has the calls of ``upstream.Theirs``, so that most tests are written once and
run in both directions.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from upstream import Theirs, Upstream, UpstreamError, upstream_fixture  # noqa: F401
from upstream_worker import Zipped

from persistqueue import FormatError, Full, ItemTooLarge, Queue, serializers
from persistqueue._core.disk import Disk

SERIALIZERS = ("pickle", "msgpack", "cbor2", "json")
BOTH_WAYS = [("theirs", "ours"), ("ours", "theirs")]

PLAIN = [
    None, "", "x", "ž 🐎 \x00 \n \r\n \u2028 \\n", 0, -1, 2**63 - 1, -(2**63), True, False, 1.5, -1e300,
    {}, {"a": {"b": {"c": {"d": None}}}, "": "", "ü": {"\n": 1}}, "pqI\x01", "chunksize", "m" * 1_000_000,
]  # fmt: skip
ITEMS: dict[str, list[Any]] = {
    "pickle": [
        *PLAIN,
        2**200,
        b"",
        b"\x80\x04.\n",
        (1, (2, [3])),
        {1: {2, 3}},
        b"\xff" * 1_000_000,
    ],
    "msgpack": [*PLAIN, 2**64 - 1, b"", b"\x80\n", (1, (2, ())), b"\xff" * 1_000_000],
    "cbor2": [*PLAIN, 2**200, b"", b"\x80\n", [1, [2, []]], {1: 2}, b"\xff" * 1_000_000],
    "json": [*PLAIN, 2**200, [1, [2, []]], [[[]]]],
    "zipped": [*PLAIN, 2**200, [1, [2, []]]],
}

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
each_serializer = pytest.mark.parametrize("name", SERIALIZERS)
both_ways = pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)


class Ours:
    """A queue of this checkout with the calls of ``Theirs``."""

    def __init__(self, path: Path, serializer: str = "pickle", **options: Any) -> None:
        self.queue: Queue[Any] = Queue(path, serializer=ours(serializer), **options)

    def put(self, *items: Any) -> None:
        for item in items:
            self.queue.put_nowait(item)

    def get(self, count: int = 1) -> list[Any]:
        return [self.queue.get_nowait() for _ in range(count)]

    def task_done(self, count: int = 1) -> None:
        for _ in range(count):
            self.queue.task_done()

    def qsize(self) -> int:
        return self.queue.qsize()

    def unfinished_tasks(self) -> int:
        return self.queue.unfinished_tasks

    def drain(self) -> list[Any]:
        items = self.get(self.qsize())
        self.task_done(len(items))
        return items

    def info(self) -> dict[str, Any]:
        return self.queue.info

    def close(self) -> None:
        self.queue.close()

    def __enter__(self) -> Ours:  # noqa: PYI034 (Self is of Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ours(serializer: str) -> Any:
    """Return what this checkout calls a serializer of that name."""
    return Zipped() if serializer == "zipped" else getattr(serializers, serializer)


class Sides:
    """Opens a directory with either package."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def open(
        self, side: str, path: Path, serializer: str = "pickle", **options: Any
    ) -> Ours | Theirs:
        if side == "ours":
            return Ours(path, serializer, **options)
        return self._upstream.queue(path, serializer, **options)


@pytest.fixture
def sides(upstream: Upstream) -> Sides:
    """Both packages."""
    return Sides(upstream)


def contents(path: Path) -> dict[str, bytes]:
    """Return what is in a queue's directory."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def without_empty(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the lock, and a chunk that upstream creates a put earlier than ours."""
    return {name: data for name, data in files.items() if data}


# -- one writes, the other reads ----------------------------------------------------


@both_ways
@pytest.mark.parametrize("chunksize", [1, 4, 100])
@pytest.mark.parametrize("name", [*SERIALIZERS, "zipped"])
def test_all_that_one_writes_the_other_reads(
    sides: Sides, path: Path, name: str, chunksize: int, writer: str, reader: str
) -> None:
    """Every item that one package puts comes out of the other, equal and in order."""
    with sides.open(writer, path, name, chunksize=chunksize) as queue:
        queue.put(*ITEMS[name])
    with sides.open(reader, path, name, chunksize=7) as queue:
        assert len(ITEMS[name]) == queue.qsize() == queue.unfinished_tasks()
        assert ITEMS[name] == queue.drain()
        assert 0 == queue.qsize() == queue.unfinished_tasks()
    with sides.open(writer, path, name) as queue:
        assert 0 == queue.qsize()


@each_serializer
@pytest.mark.parametrize("chunksize", [1, 4, 100])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_upstream_reads_put_many(
    sides: Sides, path: Path, name: str, chunksize: int, durability: str
) -> None:
    """What ours puts with one commit comes out of upstream item by item."""
    with Ours(path, name, chunksize=chunksize, durability=durability) as queue:
        queue.queue.put_many(ITEMS[name])
    with sides.open("theirs", path, name) as theirs:
        assert ITEMS[name] == theirs.drain()


@each_serializer
@both_ways
def test_sizes_around_a_block_of_reading_pass(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """Items whose sizes lie around the powers of two at which buffers end are read whole."""
    items = ["i" * (size + more) for size in (255, 4096, 8192, 65536) for more in range(-24, 3)]
    with sides.open(writer, path, name) as queue:
        queue.put(*items)
    with sides.open(reader, path, name) as queue:
        assert items == queue.drain()


@each_serializer
def test_encoded_bytes_equal_upstreams(upstream: Upstream, name: str) -> None:
    """``dumps`` with sorted keys returns the bytes that upstream's returns."""
    values = [*ITEMS[name], {"b": {"z": 1, "y": 2}, "a": [{"d": 1, "c": 2}]}]
    expected = upstream.ask("dumps", name, values)
    serializer = getattr(serializers, name)
    assert expected == [serializer.dumps(value, sort_keys=True) for value in values]


# With durability="power" ours reserves space behind the head.
SAME_CHUNKS: dict[str, dict[str, Any]] = {"ours": {"durability": "process"}, "theirs": {}}


@pytest.mark.parametrize("name", ["msgpack", "cbor2", "json", "zipped"])
def test_chunks_equal_upstreams_byte_for_byte(sides: Sides, tmp_path: Path, name: str) -> None:
    """Without checksums of ours, both packages write the same chunks and the same ``info``."""
    written = {}
    for side, options in SAME_CHUNKS.items():
        with sides.open(side, tmp_path / side, name, chunksize=4, **options) as queue:
            queue.put(*ITEMS[name])
            queue.get(6)
            queue.task_done(6)
        written[side] = contents(tmp_path / side)
    info = written["theirs"].pop("info")
    assert info == written["ours"].pop("info")[: len(info)]
    assert without_empty(written["theirs"]) == without_empty(written["ours"])


def test_pickled_items_stand_behind_a_checksum(sides: Sides, tmp_path: Path) -> None:
    """A pickled item of ours is upstream's behind 17 bytes that every unpickler skips."""
    for side, options in SAME_CHUNKS.items():
        with sides.open(side, tmp_path / side, **options) as queue:
            queue.put({"a": [1, 2]})
    theirs = (tmp_path / "theirs" / "q00000").read_bytes()
    chunk = (tmp_path / "ours" / "q00000").read_bytes()
    assert (theirs, b"\x80\x04\x43\x0cpqR1", b"0") == (chunk[17:], chunk[:8], chunk[16:17])


# -- info ---------------------------------------------------------------------------


@each_serializer
@both_ways
def test_info_says_the_same_to_both(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """The other package's ``info`` attribute equals that of the one that wrote the file."""
    with sides.open(writer, path, name, chunksize=5) as queue:
        queue.put(*range(13))
        queue.get(7)
        queue.task_done(7)
        expected = queue.info()
    with sides.open(reader, path, name) as queue:
        assert expected == queue.info()
    assert (5, 6, 1, 2) == (
        expected["chunksize"], expected["size"], expected["tail"][0], expected["head"][0]
    )  # fmt: skip


@each_serializer
def test_info_is_512_bytes_from_birth(sides: Sides, path: Path, name: str) -> None:
    """Ours writes 512 bytes, the first time, in place, and again after upstream wrote."""
    info = path / "info"
    with Ours(path, name) as queue:
        queue.put(1)
        assert 512 == info.stat().st_size
        inode = info.stat().st_ino
        queue.put(2)
        assert (512, inode) == (info.stat().st_size, info.stat().st_ino)
    with sides.open("theirs", path, name) as theirs:
        theirs.put(3)
        assert info.stat().st_size < 512
    with Ours(path, name) as queue:
        queue.put(4)
        assert 512 == info.stat().st_size
        assert [1, 2, 3, 4] == queue.drain()


@both_ways
def test_the_stored_chunk_size_wins(sides: Sides, path: Path, writer: str, reader: str) -> None:
    """The chunk size of a directory stays what its first writer made it."""
    with sides.open(writer, path, chunksize=3) as queue:
        queue.put(0, 1)
    with sides.open(reader, path, chunksize=50) as queue:
        queue.put(2, 3, 4, 5, 6)
        assert (3, [2, 1]) == (queue.info()["chunksize"], queue.info()["head"][:2])
    with sides.open(writer, path, chunksize=50) as queue:
        assert list(range(7)) == queue.drain()


@both_ways
@each_serializer
def test_one_chunk_may_hold_everything(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """``chunksize=sys.maxsize``, as for "never rotate", works with both."""
    with sides.open(writer, path, name, chunksize=sys.maxsize) as queue:
        queue.put(0, 1, 2, 3)
        queue.get(2)
        queue.task_done(2)
    with sides.open(reader, path, name) as queue:
        assert sys.maxsize == queue.info()["chunksize"]
        assert [2, 3] == queue.drain()


@both_ways
@each_serializer
def test_a_directory_that_never_held_anything_is_empty(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """Opened and closed by one, a new directory is an empty queue to the other."""
    sides.open(writer, path, name).close()
    with sides.open(reader, path, name) as queue:
        assert 0 == queue.qsize()
        queue.put("first")
    with sides.open(writer, path, name) as queue:
        assert ["first"] == queue.drain()


# -- positions ----------------------------------------------------------------------


@both_ways
@each_serializer
@pytest.mark.parametrize("done", [0, 1, 2, 3, 4, 6, 9, 10])
def test_finished_items_stay_finished(
    sides: Sides, path: Path, name: str, done: int, writer: str, reader: str
) -> None:
    """What ``task_done`` finished is gone for the other, what was only taken comes again."""
    with sides.open(writer, path, name, chunksize=3) as queue:
        queue.put(*range(10))
        queue.get(done)
        queue.task_done(done)
        queue.get(10 - done)
    with sides.open(reader, path, name) as queue:
        queue.put("more")
        assert [*range(done, 10), "more"] == queue.drain()
    with sides.open(writer, path, name) as queue:
        queue.put("again")
        assert ["again"] == queue.drain()


@both_ways
@each_serializer
def test_autosaved_gets_stay_finished(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """What was taken under ``autosave`` is gone for the other, with no ``task_done``."""
    with sides.open(writer, path, name, chunksize=3, autosave=True) as queue:
        queue.put(*range(8))
        queue.get(4)
    with sides.open(reader, path, name, autosave=True) as queue:
        assert [4, 5, 6] == queue.get(3)
    with sides.open(writer, path, name) as queue:
        assert [7] == queue.drain()


def test_items_finished_out_of_turn_come_again_to_upstream(sides: Sides, path: Path) -> None:
    """The stored tail is the oldest unfinished item: upstream gets everything from there on."""
    with Ours(path, chunksize=2) as ours:
        ours.put("a", "b", "c", "d")
        first, second, _ = ours.get(3)
        ours.queue.task_done(item=second)
        assert [0, 0, 0] == ours.info()["tail"]
    with sides.open("theirs", path) as theirs:
        assert ["a", "b", "c", "d"] == theirs.get(4)
    with Ours(path) as ours:
        first, third, _ = items = ours.get(3)
        assert ["a", "c", "d"] == items
        ours.queue.task_done(item=third)
        ours.queue.task_done(item=first)
    with sides.open("theirs", path) as theirs:
        assert ["d"] == theirs.drain()


def test_upstream_drops_what_was_finished_out_of_turn(sides: Sides, path: Path) -> None:
    """It writes ``info`` without: those items come again to this package, too; none is lost."""
    with Ours(path, chunksize=2) as ours:
        ours.put("a", "b", "c", "d")
        items = ours.get(4)
        for item in items[1:3]:
            ours.queue.task_done(item=item)
    with sides.open("theirs", path) as theirs:
        assert 4 == theirs.qsize()
        theirs.put("e")
    with Ours(path) as ours:
        assert ["a", "b", "c", "d", "e"] == ours.drain()


@both_ways
def test_consumed_chunks_are_removed(sides: Sides, path: Path, writer: str, reader: str) -> None:
    """A chunk that one package filled and the other finished is gone from the directory."""
    with sides.open(writer, path, chunksize=2) as queue:
        queue.put(*range(7))
    with sides.open(reader, path) as queue:
        queue.get(5)
        queue.task_done(5)
    assert ["q00002", "q00003"] == [name for name in contents(path) if name.startswith("q")]


@each_serializer
@pytest.mark.parametrize("chunksize", [1, 3, 10])
def test_alternating_writers_agree_over_many_rounds(
    sides: Sides, path: Path, name: str, chunksize: int
) -> None:
    """Whoever opens the directory next finds exactly what is not finished, in order."""
    chance, numbers, stored = random.Random(f"{name} {chunksize}"), count(), deque[int]()
    for turn in range(24):
        side = chance.choice(("ours", "theirs"))
        with sides.open(side, path, name, chunksize=chunksize) as queue:
            assert (turn, len(stored)) == (turn, queue.qsize())
            for _ in range(chance.randrange(12)):
                if chance.random() < 0.55 or not stored:
                    stored.append(next(numbers))
                    queue.put(stored[-1])
                else:
                    assert [stored.popleft()] == queue.get()
                    queue.task_done()
            unfinished = chance.randint(0, len(stored))
            assert list(stored)[:unfinished] == queue.get(unfinished)
    with sides.open("ours", path, name) as queue:
        assert list(stored) == queue.drain()


def test_an_open_queue_of_ours_goes_on_after_upstream(sides: Sides, path: Path) -> None:
    """An object of ours that stayed open sees what upstream did meanwhile, and goes on."""
    with Ours(path, chunksize=2) as queue:
        queue.put(0, 1, 2)
        for turn in range(3, 8):
            with sides.open("theirs", path) as theirs:
                assert [turn - 3] == theirs.get()
                theirs.task_done()
                theirs.put(turn)
            time.sleep(0.011)  # the promise is for transactions at least 10 ms apart
            assert 3 == queue.qsize()
        queue.put(8)
        assert [5, 6, 7, 8] == queue.drain()
    with sides.open("theirs", path) as theirs:
        assert 0 == theirs.qsize()


# -- bounds and refusals ------------------------------------------------------------


@both_ways
def test_maxsize_counts_what_the_other_put(
    sides: Sides, path: Path, writer: str, reader: str
) -> None:
    """A bound is an object's own: items of another package take up its room."""
    with sides.open(writer, path) as queue:
        queue.put(0, 1, 2)
    with sides.open(reader, path, maxsize=3) as queue:
        with pytest.raises((Full, UpstreamError)):
            queue.put(3)
        assert [0] == queue.get()
        queue.put(3)
        assert [1, 2, 3] == queue.get(3)


def test_more_than_maxsize_may_be_there_already(sides: Sides, path: Path) -> None:
    """A queue that upstream filled beyond our bound is full, and empties as any other."""
    with sides.open("theirs", path) as theirs:
        theirs.put(*range(5))
    with Ours(path, maxsize=2) as ours:
        assert ours.queue.full()
        with pytest.raises(Full):
            ours.put("no room")
        assert [0, 1, 2, 3, 4] == ours.drain()
        assert not ours.queue.full()


@each_serializer
def test_an_item_of_upstream_may_be_too_large(sides: Sides, path: Path, name: str) -> None:
    """An item of upstream above ``max_item_bytes`` is refused and stays, until the bound allows."""
    with sides.open("theirs", path, name) as theirs:
        theirs.put("small", "l" * 300_000)
    with Ours(path, name, max_item_bytes=200_000) as ours:
        assert ["small"] == ours.get()
        ours.task_done()
        with pytest.raises(ItemTooLarge, match="max_item_bytes=200000"):
            ours.get()
    with Ours(path, name) as ours:
        assert ["l" * 300_000] == ours.drain()


@pytest.mark.parametrize(
    ("written", "opened"), [(w, o) for w in SERIALIZERS for o in SERIALIZERS if w != o]
)
def test_the_wrong_serializer_is_refused_by_name(
    sides: Sides, path: Path, written: str, opened: str
) -> None:
    """Upstream's directory opened with another serializer raises and is left as it was."""
    with sides.open("theirs", path, written) as theirs:
        theirs.put("item")
    before = contents(path)
    with pytest.raises(FormatError, match=f"{written} serializer.*opened with {opened}"):
        Ours(path, opened)
    after = contents(path)
    after.pop(".lock", None)
    assert before == after


# -- stray bytes --------------------------------------------------------------------

JUNK = [b"\0" * 40, b"\x80\x04junk", b'{"half": ', b"\xff\xff\xff\xff", b"\n\n\n"]


@both_ways
@each_serializer
@pytest.mark.parametrize("junk", JUNK, ids=["zeros", "pickle", "json", "length", "lines"])
def test_bytes_behind_the_head_are_nobodys(
    sides: Sides, path: Path, name: str, junk: bytes, writer: str, reader: str
) -> None:
    """What a put that never finished left behind the head is not delivered by the other."""
    with sides.open(writer, path, name) as queue:
        queue.put(1, 2)
        head = queue.info()["head"][2]
    with open(path / "q00000", "r+b") as chunk:
        chunk.seek(head)
        chunk.write(junk)
    with sides.open(reader, path, name) as queue:
        queue.put(3)
    with sides.open(writer, path, name) as queue:
        queue.put(4)
    with sides.open(reader, path, name) as queue:
        assert [1, 2, 3, 4] == queue.drain()


@both_ways
@each_serializer
def test_bytes_behind_a_full_chunk_are_nobodys(
    sides: Sides, path: Path, name: str, writer: str, reader: str
) -> None:
    """Reading goes by count: what stands behind the last record of a full chunk is ignored."""
    with sides.open(writer, path, name, chunksize=2) as queue:
        queue.put(1, 2, 3)
    with open(path / "q00000", "ab") as chunk:
        chunk.write(b"junk")
    with sides.open(reader, path, name) as queue:
        assert [1, 2, 3] == queue.drain()


# -- kill -9 ------------------------------------------------------------------------


class Witness(Disk):
    """Copies a queue's directory before each change: what kill -9 would leave there."""

    def __init__(self, path: Path, copies: Path) -> None:
        self._path, self._copies = path, copies
        self._last: dict[str, bytes] = {}
        self.progress: Any = (0, 0)  # what the queue had acknowledged, or whatever a test notes
        self.seen: list[tuple[Path, Any]] = []  # a copy, and the progress at that time

    def look(self) -> None:
        if self._path.exists() and (now := contents(self._path)) != self._last:
            self._last = now
            shutil.copytree(self._path, copy := self._copies / str(len(self.seen)))
            self.seen.append((copy, self.progress))


def _watched_call(name: str) -> Callable[..., Any]:
    real = getattr(Disk, name)

    def call(self: Witness, *args: Any, **options: Any) -> Any:
        self.look()
        return real(self, *args, **options)

    return call


for _name in [name for name in vars(Disk) if not name.startswith("_")]:
    setattr(Witness, _name, _watched_call(_name))


def watched(path: Path, name: str, durability: str = "power") -> tuple[Queue[Any], Witness]:
    """Return a queue and the witness of all that it does."""
    witness = Witness(path, path.parent / "copies")
    kind = type("Watched", (Queue,), {"_disk": witness})
    serializer = getattr(serializers, name)
    return kind(path, serializer=serializer, chunksize=3, durability=durability), witness


def fates(put: int, done: int) -> list[list[int]]:
    """Return what may be stored when the next put or task_done was cut short."""
    return [list(range(done, put)), list(range(done, put + 1)), list(range(done + 1, put))]


@each_serializer
@pytest.mark.parametrize("durability", ["power", "process"])
def test_upstream_opens_what_ours_left_at_any_kill(
    sides: Sides, path: Path, name: str, durability: str
) -> None:
    """Killed between any two changes to the disk, ours leaves upstream all that it acknowledged."""
    queue, witness = watched(path, name, durability)
    put = done = 0
    with queue:
        for _ in range(7):
            witness.progress = put, done
            queue.put(put)
            put += 1
            if put in (2, 4, 5, 6):
                witness.progress = put, done
                assert done == queue.get()
                queue.task_done()
                done += 1
    assert len(witness.seen) > 20
    for copy, (acknowledged, finished) in witness.seen:
        with sides.open("theirs", copy, name, chunksize=3) as theirs:
            theirs.put("more")
            *items, more = theirs.drain()
        assert "more" == more
        assert items in fates(acknowledged, finished), copy


@each_serializer
def test_ours_and_then_upstream_open_a_killed_put_many(sides: Sides, path: Path, name: str) -> None:
    """After a ``put_many`` over chunk borders was killed, ours leaves upstream a clean queue."""
    queue, witness = watched(path, name)
    with queue:
        queue.put(0)
        witness.progress = "flying"
        queue.put_many(range(1, 12))
    copies = [copy for copy, progress in witness.seen if progress == "flying"]
    assert len(copies) >= 4
    for copy in copies:
        with Ours(copy, name) as ours:
            stored = ours.qsize()
        assert stored in (1, 12)
        with sides.open("theirs", copy, name) as theirs:
            theirs.put(*range(100, 110))
            assert [*range(stored), *range(100, 110)] == theirs.drain()


@each_serializer
def test_ours_goes_on_after_a_killed_put_many(path: Path, name: str) -> None:
    """Ours never delivers what a killed ``put_many`` left in chunks behind the head."""
    queue, witness = watched(path, name)
    with queue:
        witness.progress = "flying"
        queue.put_many("stray" for _ in range(12))
    for copy in [copy for copy, progress in witness.seen if progress == "flying"][:-1]:
        with Ours(copy, name, chunksize=3) as ours:
            ours.put(*range(12))
        with Ours(copy, name) as ours:
            assert list(range(12)) == ours.drain()


@pytest.mark.xfail(
    reason="upstream appends to whatever a later chunk holds: open with this release first",
    strict=True,
)
@each_serializer
def test_upstream_opens_a_killed_put_many(sides: Sides, path: Path, name: str) -> None:
    """A ``put_many`` over chunk borders that was killed is all there or not at all, to upstream."""
    queue, witness = watched(path, name)
    with queue:
        queue.put(0)
        witness.progress = "flying"
        queue.put_many(range(1, 12))
    for copy in [copy for copy, progress in witness.seen if progress == "flying"]:
        with sides.open("theirs", copy, name) as theirs:
            stored = theirs.qsize()
            assert stored in (1, 12)
            theirs.put(*range(100, 110))
            assert [*range(stored), *range(100, 110)] == theirs.drain()


# Runs under persist-queue: copies the directory before each change, as ``Witness`` does.
THEIR_WITNESS = """
import importlib, os, shutil, sys
from persistqueue import Queue

path, copies, name = sys.argv[1:]
put = done = 0
seen, busy = [], False

def look(event, args):
    global busy
    if busy or event not in ("open", "os.rename", "os.remove"):
        return
    if event == "open" and not str(args[0]).startswith(path):
        return
    busy = True
    copy = os.path.join(copies, str(len(seen)))
    shutil.copytree(path, copy)
    seen.append((copy, put, done))
    busy = False

queue = Queue(path, chunksize=3, serializer=importlib.import_module("persistqueue.serializers." + name))
sys.addaudithook(look)
for _ in range(7):
    queue.put(put)
    put += 1
    if put in (2, 4, 5, 6):
        assert done == queue.get()
        queue.task_done()
        done += 1
busy = True
print(seen)
"""


@each_serializer
def test_ours_opens_what_upstream_left_at_any_kill(
    upstream: Upstream, path: Path, name: str
) -> None:
    """Killed between any two changes to the disk, upstream leaves ours all that it acknowledged."""
    ran = upstream.run(THEIR_WITNESS, path, path.parent / "copies", name)
    assert 0 == ran.returncode, ran.stderr
    seen = ast.literal_eval(ran.stdout)
    assert len(seen) > 10
    for copy, acknowledged, finished in seen:
        with Ours(copy, name, chunksize=3) as ours:
            ours.put("more")
            *items, more = ours.drain()
        assert "more" == more
        assert items in fates(acknowledged, finished), copy
        with upstream.queue(copy, name) as theirs:
            theirs.put("last")
            assert ["last"] == theirs.drain()


# Both packages understand this: puts for ever, and says how many were acknowledged.
WRITER = """
import importlib, sys
from persistqueue import Queue

path, name, first = sys.argv[1:]
number = int(first)
queue = Queue(path, chunksize=3, serializer=importlib.import_module("persistqueue.serializers." + name))
while True:
    queue.put(number)
    number += 1
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def put_until_killed(command: list[str], environment: dict[str, str], acknowledged: int) -> int:
    """Kill a writer when it has said so much; return how many it had acknowledged in the end."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=environment["PYTHONPATH"]
    ) as writer:
        assert writer.stdout is not None
        said = 0
        while said < acknowledged:
            said = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        whole = [
            line for line in writer.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return int(whole[-1]) if whole else said


@needs_kill
@each_serializer
def test_writers_that_are_killed_in_turns_lose_nothing(
    upstream: Upstream, path: Path, name: str
) -> None:
    """Ours and upstream are killed with SIGKILL in turns; every acknowledged put is there once."""
    import persistqueue

    homes = {
        "ours": str(Path(persistqueue.__file__).parents[1]), "theirs": str(upstream.site)
    }  # fmt: skip
    stored = 0
    for turn, side in enumerate(["ours", "theirs", "theirs", "ours", "ours", "theirs"]):
        command = [sys.executable, "-c", WRITER, str(path), name, str(stored)]
        environment = {**os.environ, "PYTHONPATH": homes[side]}
        acknowledged = put_until_killed(command, environment, stored + 5 + turn)
        with Sides(upstream).open(("theirs", "ours")[turn % 2], path, name) as queue:
            found = queue.get(queue.qsize())
        assert list(range(len(found))) == found
        assert len(found) - acknowledged in (0, 1)  # a put may be stored and not acknowledged
        stored = len(found)
