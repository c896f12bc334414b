"""Chunks are read in blocks: wherever a block ends, what is sound is served, damage is found.

A pickled record begins with a header of 17 bytes, which may stand across the border.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import watchdog

from persistqueue import Queue, QueueCorrupt
from persistqueue._files import chunks

REAL = chunks._BLOCK
HEADER = 17
SPLITS = range(1, HEADER + 1)  # bytes of a header that are in the block
SMALL = 100  # length of the records of which several are in one small block
COUNT = 30

Take = Callable[[Queue[str]], list[str]]


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def item_of(number: int, size: int) -> str:
    """Return an item whose record is ``size`` bytes long."""
    length = size
    while excess := HEADER + len(pickle.dumps(item := f"{number:<{length}}", 4)) - size:
        length -= excess
    return item


def stored(path: Path, sizes: list[int]) -> list[str]:
    """Store items whose records have such lengths, in one chunk, and return them."""
    items = [item_of(number, size) for number, size in enumerate(sizes)]
    with Queue[str](path, chunksize=1000, durability="process") as queue:
        queue.put_many(items)
    assert sum(sizes) == (path / "q00000").stat().st_size
    return items


def at_real_borders(path: Path, split: int) -> list[str]:
    """Store items so that a block of the real size ends ``split`` bytes into two headers.

    A block begins where the one before was of no more use: at the record across the border.
    """
    return stored(path, [REAL - split, 200, REAL - split - 200, 300, 60])


def at_small_borders(
    path: Path, split: int, monkeypatch: pytest.MonkeyPatch, block: int = 3 * SMALL
) -> list[str]:
    """Store items of one length, and make the blocks small: all end at such a place."""
    monkeypatch.setattr(chunks, "_BLOCK", block + split)
    return stored(path, [SMALL] * COUNT)


@pytest.fixture(params=["real blocks", "small blocks"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stores items in a path, with borders so many bytes into a header; returns the items."""
    if request.param == "real blocks":
        return at_real_borders
    return lambda path, split: at_small_borders(path, split, monkeypatch)


# -- what is sound ------------------------------------------------------------------


def one_by_one(queue: Queue[str]) -> list[str]:
    return [queue.get(timeout=0) for _ in range(queue.qsize())]


def looked_at_first(queue: Queue[str]) -> list[str]:
    items = []
    for _ in range(queue.qsize()):
        items.append(queue.peek())
        assert items[-1] == queue.get(timeout=0)
    return items


def all_at_once(queue: Queue[str]) -> list[str]:
    return queue.get_many(COUNT, timeout=0)


def one_and_then_the_rest(queue: Queue[str]) -> list[str]:
    return [queue.get(timeout=0), *queue.get_many(COUNT, timeout=0)]


def in_blocks(queue: Queue[str]) -> list[str]:
    items = []
    for _ in range(queue.qsize()):
        with queue.process(timeout=0) as item:
            items.append(item)
    return items


def in_a_loop(queue: Queue[str]) -> list[str]:
    queue.shutdown()
    return list(queue)


WAYS: list[Take] = [
    one_by_one, looked_at_first, all_at_once, one_and_then_the_rest, in_blocks, in_a_loop,
]  # fmt: skip
each_way = pytest.mark.parametrize("take", WAYS, ids=[take.__name__ for take in WAYS])


def check_all_there(path: Path, items: list[str], take: Take, **options: Any) -> None:
    """Take everything; compare it, and look whether anything was set aside."""
    with Queue[str](path, durability="process", **options) as queue:
        assert len(items) == queue.qsize()
        assert items == take(queue)
        assert (0, 0) == (queue.skipped, queue.qsize())
    assert [] == [file.name for file in path.iterdir() if "corrupt" in file.name]


@each_way
@pytest.mark.parametrize("autosave", [False, True])
def test_sound_records_are_served(tmp_path: Path, store: Any, take: Take, autosave: bool) -> None:
    """Wherever in a header a block ends, every item comes."""
    for split in SPLITS:
        path = tmp_path / str(split)
        check_all_there(path, store(path, split), take, autosave=autosave)


@pytest.mark.parametrize("take", [one_by_one, all_at_once])
@pytest.mark.parametrize("autosave", [False, True])
def test_sound_records_are_not_skipped(
    tmp_path: Path, store: Any, take: Take, autosave: bool
) -> None:
    """Wherever in a header a block ends, nothing is set aside as damaged."""
    for split in SPLITS:
        path = tmp_path / str(split)
        items = store(path, split)
        check_all_there(path, items, take, autosave=autosave, on_corrupt="skip")


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_a_missing_info_is_rebuilt(tmp_path: Path, store: Any, on_corrupt: str) -> None:
    """Wherever in a header a block ends, the rebuilt info counts all records as sound."""
    for split in SPLITS:
        path = tmp_path / str(split)
        items = store(path, split)
        (path / "info").unlink()
        check_all_there(path, items, one_by_one, on_corrupt=on_corrupt)


@pytest.mark.parametrize("autosave", [False, True])
def test_what_is_put_meanwhile_is_read(tmp_path: Path, store: Any, autosave: bool) -> None:
    """Puts between takes, which make the chunk longer than its block says, spoil nothing."""
    for split in SPLITS:
        path = tmp_path / str(split)
        items, taken = store(path, split), []
        with Queue[str](path, autosave=autosave, durability="process") as queue:
            for number in range(3):
                items.append(item_of(number, SMALL))
                queue.put(items[-1])
                taken.append(queue.get(timeout=0))
            assert items == taken + one_by_one(queue)


def test_bare_pickles_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """persist-queue's records, which have no header and may be shorter than one, come too."""
    items = [None, 1, "text" * 9, True, {"n": [2]}, "", None]
    data = b"".join(pickle.dumps(item, 4) for item in items)
    for block in (*range(1, 20), len(data) - 1, len(data), len(data) + 1):
        monkeypatch.setattr(chunks, "_BLOCK", block)
        path = tmp_path / str(block)
        with Queue[Any](path, durability="process", chunksize=100) as queue:
            queue.put_many(items)
        (path / "q00000").write_bytes(data)
        (path / "info").unlink()
        with Queue[Any](path, durability="process", autosave=True) as queue:
            assert items == [queue.get(timeout=0) for _ in items]


# -- what is damaged ----------------------------------------------------------------


def flip(path: Path, record: int, at: int) -> None:
    """Flip a bit of the byte ``at`` of a record."""
    chunk = path / "q00000"
    data, start = bytearray(chunk.read_bytes()), 0
    for _ in range(record):
        start += HEADER + struct.unpack_from("<L", data, start + 8)[0]
    data[start + at] ^= 1
    chunk.write_bytes(data)


def check_found(path: Path, items: list[str], record: int, autosave: bool) -> None:
    """Take all in front of a damaged record; it is named, and skipped when that is asked for."""
    with Queue[str](path, autosave=autosave, durability="process") as queue:
        assert items[:record] == [queue.get(timeout=0) for _ in range(record)]
        with pytest.raises(QueueCorrupt, match=f"record {record}"):
            queue.get(timeout=0)
        with pytest.raises(QueueCorrupt, match=f"record {record}"):
            queue.peek()
        with pytest.raises(QueueCorrupt, match=f"record {record}"):
            queue.get_many(9, timeout=0)
    rest = items[record + 1 :] if autosave else items[:record] + items[record + 1 :]
    with Queue[str](path, on_corrupt="skip", durability="process") as queue:
        assert rest == [queue.get(timeout=0) for _ in rest]
        assert (1, 0) == (queue.skipped, queue.qsize())


@pytest.mark.parametrize("autosave", [False, True])
def test_a_flipped_byte_at_a_real_border_is_found(tmp_path: Path, autosave: bool) -> None:
    """A record across the border whose payload or magic has a flipped byte is never served."""
    for split in SPLITS:
        for at in (1, 6, HEADER + 60):
            path = tmp_path / f"{split}-{at}"
            items = at_real_borders(path, split)
            flip(path, 1, at)
            check_found(path, items, 1, autosave)


@pytest.mark.parametrize("autosave", [False, True])
def test_a_flipped_byte_at_a_small_border_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autosave: bool
) -> None:
    """The same in blocks of two records, for lengths and checksums, too."""
    for split in SPLITS:
        for at in (0, 7, 8, 11, 12, HEADER + 60):
            path = tmp_path / f"{split}-{at}"
            monkeypatch.setattr(chunks, "_BLOCK", 2 * SMALL + split)
            items = stored(path, [SMALL] * 5)
            flip(path, 2, at)
            check_found(path, items, 2, autosave)
