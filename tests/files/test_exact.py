"""Items that were finished behind an unfinished one are not delivered again.

``info`` names them behind its trailer.  Whatever becomes of that, nothing is lost: at the worst
a finished item comes again.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child, contents, lay_out, unsynced, watchdog
from golden_cases import GOLDEN, SERIALIZERS, write_supplement
from waiting import Interrupt

from persistqueue import Queue, QueueCorrupt, serializers
from persistqueue._core.cursor import Missing, Position, State
from persistqueue._core.finished import Finished, decode_number, numbers_without_letters
from persistqueue._files import supplement

Open = Callable[..., Any]


def items_in(q: Any) -> list[Any]:
    """Take everything out."""
    return q.get_many(10_000) if q.qsize() else []


def numbers_in(path: Path, **options: Any) -> list[int]:
    """Return the numbers of the items that a new process would get."""
    return [item[0] for item in contents(path, **options)]


def without_supplement(raw: bytes) -> bytes:
    """Return an ``info`` as a release writes it that does not know what stands behind the trailer."""
    end = raw.rfind(b"pqI") + 12
    return raw[:end].ljust(512, b"\0")


# -- a clean stop -------------------------------------------------------------------------


def test_one_long_job_and_200_finished(open_queue: Open, path: Path) -> None:
    """After a clean stop the long job comes again, and none of the others."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(201))
        for item in q.get_many(201)[1:]:
            q.task_done(item=item)
        assert 1 == q.unfinished_tasks
    with open_queue(path) as q:
        assert (1, 1) == (q.qsize(), q.unfinished_tasks)
        assert [[0]] == items_in(q)
        q.task_done()
        q.join()
    with open_queue(path) as q:
        assert q.empty()
        assert 0 == q.info["size"]


def test_process_and_iteration_are_exact(open_queue: Open, path: Path) -> None:
    """A block that ends and a loop that goes on finish their item, behind an unfinished one, too."""
    with open_queue(path, chunksize=3) as q:
        q.put_many([n] for n in range(12))
        assert [0] == q.get()
        for _ in range(4):
            with q.process():
                pass
        with pytest.raises(Interrupt), q.process():
            raise Interrupt
        for item in q:
            if item == [8]:
                break
    assert [0, 8, 9, 10, 11] == numbers_in(path)


def test_a_bare_task_done_counts(open_queue: Open, path: Path) -> None:
    """It finishes the oldest item in hand, whichever the caller means."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(6))
        q.get_many(5)
        q.task_done(2)
    assert [2, 3, 4, 5] == numbers_in(path)


@pytest.mark.parametrize("name", [*SERIALIZERS, "signed"])
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_each_serializer(path: Path, name: str, chunksize: int) -> None:
    """Over several lives of a queue exactly the unfinished items come, in order."""
    chance = random.Random(f"{name} {chunksize}")
    serializer = getattr(serializers, name, None)
    if name == "signed":
        serializer = serializers.signed(serializers.pickle, b"k" * 32)
    stored: list[int] = []
    for life in range(6):
        with Queue[Any](
            path, chunksize=chunksize, serializer=serializer, durability="process"
        ) as q:
            assert len(stored) == q.qsize() == q.unfinished_tasks
            q.put_many([n] for n in range(100 * life, 100 * life + 30))
            stored += range(100 * life, 100 * life + 30)
            taken = q.get_many(chance.randrange(1, 50))
            assert stored[: len(taken)] == [item[0] for item in taken]
            for item in chance.sample(taken, chance.randrange(len(taken) + 1)):
                q.task_done(item=item)
                stored.remove(item[0])
            assert 512 == (path / "info").stat().st_size
    assert stored == numbers_in(path, serializer=serializer)


def test_a_foreign_serializer_stores_none(path: Path) -> None:
    """Its ``load`` may read to the end of ``info``: nothing may stand behind the value."""

    class Foreign:
        @staticmethod
        def dump(value: Any, fp: Any) -> None:
            dumped.append(value)
            serializers.json.dump(value, fp)

        load = staticmethod(serializers.json.load)

    dumped: list[Any] = []
    with unsynced(path, serializer=Foreign) as q:
        q.put_many([n] for n in range(4))
        items = q.get_many(4)
        before = (path / "info").read_bytes(), len(dumped)
        q.task_done(item=items[2])
        assert before == ((path / "info").read_bytes(), len(dumped))
    assert [0, 1, 2, 3] == numbers_in(path, serializer=Foreign)


@pytest.mark.parametrize("name", SERIALIZERS)
def test_more_gaps_than_there_is_room_for(path: Path, name: str) -> None:
    """What does not fit comes again; the oldest are kept; nothing is lost."""
    serializer = getattr(serializers, name)
    with Queue[Any](path, serializer=serializer, durability="process") as q:
        q.put_many([n] for n in range(3000))
        for item in q.get_many(3000):
            if item[0] % 5:
                q.task_done(item=item)
        assert 600 == q.unfinished_tasks
    with unsynced(path, serializer=serializer) as q:
        there = [item[0] for item in items_in(q)]
        assert set(range(0, 3000, 5)) <= set(there)
        again = [n for n in there if n % 5]
        assert again == [n for n in range(again[0], 3000) if n % 5], "the oldest are kept"
        assert again[0] > 5 * 360, f"only {again[0] // 5} gaps fit"


def test_what_had_no_room_is_stored_when_there_is(path: Path) -> None:
    """The object that finished the items knows them still, when older gaps are closed."""
    with Queue[Any](path, durability="process") as q:
        q.put_many([n] for n in range(3000))
        items = q.get_many(3000)
        for item in items:
            if item[0] % 5:
                q.task_done(item=item)
        for item in items[:2000:5]:
            q.task_done(item=item)
    assert list(range(2000, 3000, 5)) == numbers_in(path)


def test_nothing_is_written_where_nothing_changes(path: Path) -> None:
    """An item that has no room in ``info`` costs no write."""
    with unsynced(path, durability="process") as q:
        q.put_many([n] for n in range(3000))
        items = q.get_many(3000)
        for item in items[1:2600:5]:
            q.task_done(item=item)
        before = os.stat(path / "info").st_mtime_ns
        q.task_done(item=items[2900])
        assert before == os.stat(path / "info").st_mtime_ns


# -- two objects --------------------------------------------------------------------------


def test_two_objects_merge_what_they_finish(open_queue: Open, path: Path) -> None:
    """Each finishes half of the items out of turn: all are finished, and the tail gets there."""
    with open_queue(path, chunksize=3) as one, open_queue(path, chunksize=3) as other:
        one.put_many([n] for n in range(20))
        hands = {one: one.get_many(20), other: other.get_many(20)}
        for n in [*range(19, -1, -2), *range(0, 20, 2)]:
            q = one if n % 2 else other
            q.task_done(item=hands[q][n])
        assert 0 == one.qsize() == other.qsize()
        assert 0 == other.info["size"]
        one.put([99])
        item = other.get()
        assert [99] == item
        other.task_done(item=item)
        assert 0 == one.qsize() == other.qsize()
        assert 0 == one.unfinished_tasks == other.unfinished_tasks


def test_an_item_that_another_object_finished_does_not_come(open_queue: Open, path: Path) -> None:
    """Neither when its turn comes, nor when it was looked at, nor when it was given back."""
    with open_queue(path) as one, open_queue(path) as other:
        one.put_many([n] for n in range(8))
        items = other.get_many(8)
        for n in (2, 3, 5):
            other.task_done(item=items[n])
        assert 5 == one.qsize() == one.unfinished_tasks
        assert [[0], [1], [4]] == one.get_many(3)
        assert [6] == one.peek()
        with suppress(Interrupt), one.process() as item:
            assert [6] == item
            other.task_done(item=items[6])
            raise Interrupt
        other.task_done(item=items[7])
        assert one.empty()


def test_a_consumer_with_autosave_steps_over_finished_items(open_queue: Open, path: Path) -> None:
    """Modes may change from one life of a queue to the next."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(8))
        for item in q.get_many(7)[2:5]:
            q.task_done(item=item)
    with open_queue(path, autosave=True) as q:
        assert 5 == q.qsize()
        assert [[0], [1]] == q.get_many(2)
    with open_queue(path, autosave=True) as q:
        assert 3 == q.qsize()
        assert [[5], [6]] == q.get_many(2)
    assert [7] == numbers_in(path)


@pytest.mark.parametrize("seed", range(20))
def test_two_objects_by_turns(path: Path, seed: int) -> None:
    """Whatever two objects finish, give back and put, each item stays until one has finished it."""
    chance, put, finished = random.Random(seed), 0, set[int]()
    options = {"chunksize": chance.choice([1, 4, 100]), "durability": "process"}
    objects = [unsynced(path, **options) for _ in range(2)]
    hands: list[list[Any]] = [[], []]
    for _ in range(150):
        at, step = chance.randrange(2), chance.random()
        q, hand = objects[at], hands[at]
        if step < 0.2:
            count = chance.randrange(1, 6)
            q.put_many([n] for n in range(put, put + count))
            put += count
        elif step < 0.5 and q.qsize():
            hand += q.get_many(chance.randrange(1, 6))
            assert len({item[0] for item in hand}) == len(hand), "twice"
        elif step < 0.8 and hand:
            item = hand.pop(chance.randrange(len(hand)))
            q.task_done(item=item)
            finished.add(item[0])
        elif step < 0.9 and q.qsize():
            with suppress(Interrupt), q.process() as item:
                assert item[0] not in finished
                raise Interrupt
        elif step > 0.95:
            q.close()
            objects[at], hands[at] = unsynced(path, **options), []
        seen = objects[chance.randrange(2)]
        seen.qsize()  # it looks what the other one has done
        assert put - len(finished) == seen.unfinished_tasks
    for q in objects:
        q.close()
    assert sorted(set(range(put)) - finished) == numbers_in(path)


# -- recovery -----------------------------------------------------------------------------


def finished_behind(path: Path, durability: str = "process") -> dict[str, bytes]:
    """Make a queue of 9 items in chunks of 4; all but 1 and 6 of the first 9 are finished."""
    with Queue[Any](path, chunksize=4, durability=durability) as q:
        q.put_many([n] for n in range(11))
        for item in q.get_many(11):
            if item[0] not in (1, 6, 10):
                q.task_done(item=item)
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("durability", ["power", "process"])
def test_new_items_behind_a_lost_head_are_not_finished(path: Path, durability: str) -> None:
    """Finished items are lost with the end of a chunk: what is put in their places comes."""
    files = finished_behind(path, durability)
    for length in range(len(files["q00002"].rstrip(b"\0"))):
        lay_out({**files, "q00002": files["q00002"][:length]}, path)
        with unsynced(path, on_corrupt="skip") as q:
            q.put_many([n] for n in range(100, 110))
        there = numbers_in(path, on_corrupt="skip")
        assert [1, 6] == [n for n in there if n < 8]
        assert list(range(100, 110)) == there[-10:]


def test_an_open_object_learns_that_the_head_was_moved_back(path: Path) -> None:
    """What it has in hand of the lost items is not taken for the new ones in their places."""
    with unsynced(path, chunksize=4, durability="process") as q:
        q.put_many([n] for n in range(11))
        items = q.get_many(11)
        q.task_done(item=items[9])
        chunk = (path / "q00002").read_bytes()
        (path / "q00002").write_bytes(chunk[: len(chunk) // 3])
        with unsynced(path, chunksize=4) as other:
            other.put([100])
        for item in (items[8], items[10]):
            q.task_done(item=item)
        assert [*range(9), 100] == [item[0] for item in items_in(q)]
    assert [*range(9), 100] == numbers_in(path)


@pytest.mark.parametrize("more", [1, 3, 10, 30])
@pytest.mark.parametrize("holds", [False, True])
def test_an_open_object_learns_that_a_head_went_back_and_past(
    open_queue: Open, path: Path, holds: bool, more: int
) -> None:
    """The head was moved back, and new items have passed the old one: none of them is finished.

    Args:
        holds: the object has items in hand; else it only puts, and knows what others finished.
        more: items that are put behind the new head.
    """
    with open_queue(path, chunksize=20, durability="process") as q:
        q.put_many([n] for n in range(10))
        consumer = q if holds else open_queue(path)
        items = consumer.get_many(10)
        for number in (7, 8):
            consumer.task_done(item=items[number])
        if not holds:
            consumer.close()
        q.put([10])  # it knows which ones are finished
        chunk = (path / "q00000").read_bytes()
        (path / "q00000").write_bytes(chunk[: len(chunk) // 2])
        with open_queue(path, durability="process") as other:
            kept = other.qsize()
            other.put_many([n] for n in range(100, 100 + more))
        if holds:  # items of places that are others' now
            for number in range(kept, 7):
                q.task_done(item=items[number])
        q.put([200])
    assert [*range(kept), *range(100, 100 + more), 200] == numbers_in(path)


def test_a_lost_first_chunk(path: Path) -> None:
    """The queue begins at the first chunk that is there, without what is finished in it."""
    files = finished_behind(path)
    del files["q00000"]
    lay_out(files, path)
    assert [6, 10] == numbers_in(path)


def test_an_info_that_is_rebuilt_knows_no_finished_items(path: Path) -> None:
    """They come again; nothing is lost."""
    files = finished_behind(path)
    lay_out({**files, "info": b""}, path)
    assert list(range(11)) == numbers_in(path)


@pytest.mark.parametrize("damaged", range(1, 10))
def test_damage_in_front_of_finished_items_swallows_no_others(path: Path, damaged: int) -> None:
    """Where it is not known how many records the damage took, finished items come again."""
    with Queue[Any](path, chunksize=100, durability="process") as q:
        q.put_many([n] for n in range(12))
        size = len((path / "q00000").read_bytes()) // 12
        for item in q.get_many(12):
            if item[0] in (3, 5, 8):
                q.task_done(item=item)
    data = bytearray((path / "q00000").read_bytes())
    for at in (damaged, damaged + 1, 11):
        data[at * size : at * size + 8] = bytes(8)
    (path / "q00000").write_bytes(data)
    with unsynced(path, on_corrupt="skip") as q:
        there = {item[0] for item in items_in(q)}
    assert {0, 1, 2, 4, 6, 7, 9, 10} - {damaged, damaged + 1} <= there


LINES: list[Any] = [1000, "a", 1002, {"b": [1]}, 1004, 1005, [1006], 1007, 1008, 1009]
LINES += [n if n % 3 else {"n": n} for n in range(1010, 1026)]


def mutants_of_lines(chunk: bytes) -> Iterator[tuple[bytes, set[int]]]:
    """Yield a chunk with one newline more or less, and the lines that this damages."""
    ends = [at for at, byte in enumerate(chunk) if byte == 10]
    for at in range(len(chunk)):
        line, byte = sum(end < at for end in ends), chunk[at : at + 1]
        front, behind = chunk[:at], chunk[at + 1 :]
        own = {line, line + 1} if byte == b"\n" else {line}
        # Of one more, the last line of a chunk may have no room: it is counted, or behind the head.
        yield front + b"\n" + byte + behind, {line, len(ends) - 1}
        yield front + b"\n" + behind, own if byte == b"\n" else {line, len(ends) - 1}
        if byte == b"\n":
            for instead in (b"", b"1", b" ", b","):
                yield front + instead + behind, own


@pytest.mark.parametrize("lives", [1, 3])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_newline_more_or_less_takes_no_item_beside_its_own(
    path: Path, tmp_path: Path, number: int, lives: int
) -> None:
    """Lines behind it have other ordinals then: no range of finished ones is meant for these."""
    options: dict[str, Any] = {"serializer": serializers.json, "durability": "process"}
    done = {1, 2, 5, 8, 9, 12, 13, 17, 20, 22, 24}
    with Queue[Any](path, chunksize=10, **options) as q:
        q.put_many(LINES)
        items = q.get_many(99)
        for n in done:
            q.task_done(item=items[n])
    unfinished = set(range(len(LINES))) - done
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    name, first, tried = f"q{number:05}", 10 * number, set[bytes]()
    chance = random.Random(number)
    for chunk, damaged in mutants_of_lines(files[name]):
        if chunk in tried or chunk == files[name]:
            continue
        tried.add(chunk)
        here = tmp_path / "mutant"
        shutil.rmtree(here, ignore_errors=True)
        lay_out({**files, name: chunk}, here)
        left: list[Any] = []
        for _ in range(lives):  # what is finished in one is known in the next
            with unsynced(here, on_corrupt="skip", **options) as q:
                items = items_in(q)
                left += items
                for item in items if lives > 1 else ():
                    if chance.random() < 0.5:
                        q.task_done(item=item)
        gone = {n for n in unfinished if LINES[n] not in left}
        assert gone <= {first + n for n in damaged}, (chunk, sorted(gone))


def damaged_in_front(path: Path, done: list[int], at: int, **options: Any) -> None:
    """Lay out a queue of 40 items, of which some are finished and one is damaged."""
    with Queue[Any](path, durability="process", **options) as q:
        q.put_many([n] for n in range(40))
        for item in q.get_many(40):
            if item[0] in done:
                q.task_done(item=item)
    data = bytearray((path / "q00000").read_bytes())
    size = len(data) // (40 if q.info["head"][0] == 0 else q.info["chunksize"])
    data[at * size + 20] ^= 0x55
    (path / "q00000").write_bytes(data)


@pytest.mark.parametrize("chunksize", [10, 40, 100])
@pytest.mark.parametrize("skip", [False, True])
def test_one_damaged_record_brings_no_finished_item_back(
    open_queue: Open, path: Path, skip: bool, chunksize: int
) -> None:
    """It is set aside in one life of the queue, and later ones take no notice."""
    done = [2, 3, *range(6, 30)]
    damaged_in_front(path, done, 5, chunksize=chunksize)
    left = [n for n in range(40) if n not in (5, *done)]
    for life in range(3):
        with open_queue(path, on_corrupt="skip" if skip or not life else "raise") as q:
            items = items_in(q)
            assert [[n] for n in left] == items
            assert q.skipped == (life == 0)
            if life == 0:  # what is finished now stays so
                q.task_done(item=next(item for item in items if item == [31]))
                left.remove(31)
    assert 1 == len(list(path.glob("*.corrupt-*")))


def test_damage_that_only_a_finished_item_has(open_queue: Open, path: Path) -> None:
    """Nothing is raised, and nothing is set aside: the item is not needed any more."""
    done = [2, 3, *range(6, 30)]
    damaged_in_front(path, done, 8)
    with open_queue(path) as q:
        assert [[n] for n in range(40) if n not in done] == items_in(q)
        q.task_done(40 - len(done))
        assert (0, 0) == (q.skipped, q.unfinished_tasks)
    assert [] == list(path.glob("*.corrupt-*"))


def test_a_place_that_cannot_be_passed_is_tried_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit behind it costs the same, however many finished items stand in front of it."""
    with unsynced(path, chunksize=2000) as q, unsynced(path, chunksize=2000) as other:
        q.put_many([n, "x" * 100] for n in range(1100))
        mine, its = q.get_many(1100), other.get_many(1100)
        for item in its[1:1050]:
            other.task_done(item=item)
        data = bytearray((path / "q00000").read_bytes())
        at = data.index(b"pqR1", len(data) // 2)
        data[at + 13] ^= 0x55
        (path / "q00000").write_bytes(data)
        q.task_done(item=mine[0])  # the tail cannot go further: it is not known how far
        calls: list[object] = []
        framing = type(q._store._framing)
        real = framing.boundary
        monkeypatch.setattr(framing, "boundary", lambda *a: calls.append(a) or real(*a))
        for n in range(1060, 1070):
            q.task_done(item=mine[n])
        assert [] == calls
    assert {*range(1050, 1060), *range(1070, 1100)} <= set(numbers_in(path))


def test_a_torn_write(path: Path) -> None:
    """An ``info`` of which any number of bytes was written is whole, or rebuilt: nothing is lost."""
    states = []
    with unsynced(path, chunksize=100, durability="process") as q:
        q.put_many([n] for n in range(40))
        items = q.get_many(40)
        for n in (*range(30, 3, -3), *range(29, 3, -3)):
            states.append(((path / "info").read_bytes(), {item[0] for item in items}))
            q.task_done(item=items.pop(next(i for i, x in enumerate(items) if x[0] == n)))
        states.append(((path / "info").read_bytes(), {item[0] for item in items}))
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    for (old, before), (new, after) in (states[1:3], states[-2:], [states[0], states[-1]]):
        for length in range(513):
            lay_out({**files, "info": new[:length] + old[length:]}, path)
            there = numbers_in(path)
            assert there == sorted(set(there))
            assert after <= set(there), length
            assert length < 512 or after == set(there)
            assert length > 0 or before == set(there)


def test_every_flipped_bit_of_what_stands_behind_the_trailer(path: Path) -> None:
    """Damage there is noticed, and is taken for nothing."""
    files = finished_behind(path, "power")
    raw = files["info"]
    start = raw.rindex(b"pqI") + 12
    for at in range(8 * start, 8 * (start + 30)):
        flipped = bytearray(raw)
        flipped[at // 8] ^= 1 << at % 8
        lay_out({**files, "info": bytes(flipped)}, path)
        assert numbers_in(path) in ([1, 6, 10], list(range(1, 11)))


# -- other releases -----------------------------------------------------------------------


def test_a_release_that_does_not_know_of_it_drops_it(path: Path) -> None:
    """The trailer is where that looks for it; without the rest finished items come again."""
    files = finished_behind(path, "power")
    raw = files["info"]
    at = raw.rfind(b"pqI")
    assert b"pqI\1" == raw[at : at + 4]
    assert at == int.from_bytes(raw[at + 4 : at + 8], "little")
    lay_out({**files, "info": without_supplement(raw)}, path)
    assert list(range(1, 11)) == numbers_in(path)


def test_an_open_object_keeps_what_another_release_dropped(path: Path) -> None:
    """It writes it again with its next commit."""
    with unsynced(path, durability="process") as q:
        q.put_many([n] for n in range(6))
        items = q.get_many(6)
        q.task_done(item=items[3])
        raw = (path / "info").read_bytes()
        with open(path / "info", "r+b") as file:
            file.write(without_supplement(raw))
        q.task_done(item=items[4])
    assert [0, 1, 2, 5] == numbers_in(path)


@pytest.mark.parametrize("name", SERIALIZERS)
def test_golden(path: Path, name: str) -> None:
    """What is written now is what was written, to the byte; and it is read."""
    golden = GOLDEN / "supplement" / name
    write_supplement(path, name)
    expected = {file.name: file.read_bytes() for file in golden.iterdir()}
    found = {file.name: file.read_bytes() for file in path.iterdir() if file.stat().st_size}
    assert expected == found
    lay_out(expected, path)
    assert [1, 4, 9, 10, 11] == contents(path, serializer=getattr(serializers, name))


@pytest.mark.parametrize("checksum", [0x4971_7000, 0x0049_7170])
def test_the_magic_of_the_trailer_stands_nowhere_else(
    checksum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a checksum either: then other bits are written that mean nothing."""
    real = supplement.crc32
    answers = iter([checksum])
    monkeypatch.setattr(supplement, "crc32", lambda *args: next(answers, real(*args)))
    made = supplement.write(State(100), None, 400, 7, flushed=True)
    assert b"pqI" not in made
    assert made[3] == 33  # the head was flushed, and never moved back


def test_what_is_missing_in_bytes() -> None:
    """How many, and in front of which record behind the tail, stands in front of the ranges."""
    state = State(100, Position(0, 40, 7), Position(2, 0, 0), missing=Missing(3, 140))
    finished = Finished()
    finished.add(41, 43)
    made = supplement.write(state, finished, 400, 7, flushed=True)
    assert b"pqF\x11\x05\x00\x83\x00\xe4\x00\x3d" == made[:-4]
    found = supplement.read(b"value" + made, 5, 7)
    assert (True, 0, Missing(3, 100), b"\x3d") == found


def test_a_checksum_that_holds_the_magic_of_the_trailer(path: Path) -> None:
    """Such an ``info`` is whole: it is read, and what stands behind the trailer as well."""
    options: dict[str, Any] = {"serializer": serializers.json, "chunksize": 15_839_491}
    with Queue(path, **options) as q:
        q.put("a")
    raw = (path / "info").read_bytes()
    assert raw.count(b"pqI") == 2  # the second one is of the checksum
    with Queue(path, **options) as q:
        assert "a" == q.get()
        assert q.skipped == 0
    assert raw == (path / "info").read_bytes()[: len(raw)]


# -- a chunk that is shorter than info says -------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 2])
def test_items_are_missing_that_were_flushed(open_queue: Open, path: Path, left: int) -> None:
    """A get says so, once, when it comes to that place; then the queue goes on."""
    with open_queue(path, chunksize=4) as q:
        q.put_many([n] for n in range(7))
    size = len((path / "q00001").read_bytes()) // 3
    os.truncate(path / "q00001", left * size + 5)
    with open_queue(path, chunksize=4) as q:
        q.put([100])
        assert 3 - left == q.skipped
        assert [[n] for n in range(4 + left)] == q.get_many(4 + left)
        missing = "1 item is" if left == 2 else f"{3 - left} items are"
        with pytest.raises(QueueCorrupt, match=f"q00001.* {missing} missing"):
            q.get(timeout=0)
        assert [100] == q.get(timeout=0)
        q.task_done(5 + left)
        assert 0 == q.unfinished_tasks
    with open_queue(path) as q:
        assert (0, 0) == (q.qsize(), q.skipped)


def test_a_get_that_waits_is_told(open_queue: Open, path: Path) -> None:
    """The queue is empty, but not because everything was delivered."""
    with open_queue(path) as q:
        q.put("lost")
    os.truncate(path / "q00000", 3)
    with open_queue(path) as q:
        with pytest.raises(QueueCorrupt, match="1 item is missing"):
            q.get(timeout=20)
        assert q.empty()


def test_skipping_counts_them(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With on_corrupt="skip" nothing is raised."""
    with open_queue(path) as q:
        q.put_many("abc")
    os.truncate(path / "q00000", 3)
    with open_queue(path, on_corrupt="skip") as q:
        assert q.empty()
        assert 3 == q.skipped
    assert "3 of its items are gone" in caplog.text


def shortened(open_queue: Open, path: Path, count: int = 3) -> None:
    """Lay out a queue of items that were flushed, of which all are gone."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(count))
    os.truncate(path / "q00000", 3)


@pytest.mark.parametrize("options", [{}, {"autosave": True}, {"durability": "process"}])
def test_a_get_of_another_object_is_told(
    open_queue: Open, path: Path, options: dict[str, Any]
) -> None:
    """A producer that mends the queue never gets: the fact stays stored until a get has said it."""
    shortened(open_queue, path)
    for n in range(2):
        with open_queue(path, **options) as producer:
            assert 3 == producer.skipped
            producer.put([100 + n])
    with open_queue(path, **options) as q, open_queue(path, **options) as other:
        with pytest.raises(QueueCorrupt, match=r"q00000.* 3 items are missing"):
            q.get(timeout=0)
        assert 3 == q.skipped
        assert [100] == q.get(timeout=0)
        assert options.get("autosave", False) is (other.get(timeout=0) == [101])
    with open_queue(path, **options) as q:
        assert 0 == q.skipped
        items_in(q)


def test_an_open_consumer_is_told(open_queue: Open, path: Path) -> None:
    """It had the queue open when another object mended it, and waits."""
    shortened(open_queue, path)
    short = (path / "q00000").read_bytes()
    with open_queue(path) as consumer:
        with pytest.raises(QueueCorrupt):
            consumer.get(timeout=0)
        consumer.put_many("abc")
        os.truncate(path / "q00000", len(short))
        with open_queue(path) as producer:
            producer.put("d")
        with pytest.raises(QueueCorrupt, match="3 items are missing"):
            consumer.get(timeout=20)
        assert 6 == consumer.skipped
        assert "d" == consumer.get(timeout=20)


def test_two_losses_are_said_together(open_queue: Open, path: Path) -> None:
    """Items that were put behind the first one are lost, too: one error says the number of all."""
    shortened(open_queue, path)
    with open_queue(path) as producer:
        producer.put_many("ab")
    size = len((path / "q00000").read_bytes().rstrip(b"\0")) // 2
    os.truncate(path / "q00000", size + 3)
    with open_queue(path) as q:
        assert 4 == q.skipped
        with pytest.raises(QueueCorrupt, match="4 items are missing"):
            q.get(timeout=0)
        assert "a" == q.get(timeout=0)
        assert q.empty()


def test_a_peek_is_told_and_a_get_as_well(open_queue: Open, path: Path) -> None:
    """A peek changes nothing, so the get that follows is told, too."""
    shortened(open_queue, path)
    with open_queue(path) as q:
        q.put("next")
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match="3 items are missing"):
                q.peek()
        with pytest.raises(QueueCorrupt, match="3 items are missing"):
            q.get(timeout=0)
        assert "next" == q.peek() == q.get(timeout=0)


def test_what_is_missing_is_said_when_its_turn_comes(open_queue: Open, path: Path) -> None:
    """It stands beside the finished items, and what is in front of it is served."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(9))
        for item in q.get_many(9)[2:4]:
            q.task_done(item=item)
    size = len((path / "q00000").read_bytes().rstrip(b"\0")) // 9
    os.truncate(path / "q00000", 6 * size + 5)
    for _ in range(3):
        with open_queue(path, durability="process") as q:
            q.put([100])
            assert [[0], [1], [4]] == q.get_many(3)
            assert 3 == q.skipped
    with open_queue(path) as q:
        assert [[0], [1], [4], [5]] == items_in(q)
        with pytest.raises(QueueCorrupt, match="3 items are missing"):
            q.get(timeout=0)
        assert [[100], [100], [100]] == items_in(q)
        assert q.empty()
    with open_queue(path) as q:
        assert 0 == q.skipped


def test_what_is_missing_behind_finished_items(open_queue: Open, path: Path) -> None:
    """The get that steps over finished items does not step over this, also where it skips damage."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(9))
        for item in q.get_many(9)[4:6]:
            q.task_done(item=item)
    size = len((path / "q00000").read_bytes().rstrip(b"\0")) // 9
    os.truncate(path / "q00000", 6 * size + 5)
    with open_queue(path) as q:
        q.put([100])
    shutil.copytree(path, path.with_name("copy"))
    with open_queue(path) as q:
        assert [[0], [1], [2], [3]] == items_in(q)
        with pytest.raises(QueueCorrupt, match="3 items are missing"):
            q.get(timeout=0)
        assert [[100]] == items_in(q)
    with open_queue(path.with_name("copy"), on_corrupt="skip") as q:
        assert [[0], [1], [2], [3], [100]] == items_in(q)
        assert 3 == q.skipped
    with open_queue(path.with_name("copy")) as q:
        assert 0 == q.skipped


def test_a_get_that_cannot_be_stored_says_it_again(
    open_queue: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fact is gone from the disk when that could be written, and not before."""
    shortened(open_queue, path)
    with open_queue(path) as q:
        q.put("next")
        with monkeypatch.context() as patch:

            def fail(*args: Any, **options: Any) -> None:
                raise OSError(5, "no")

            patch.setattr(q._store._info, "write", fail)
            with pytest.raises((OSError, QueueCorrupt)):
                q.get(timeout=0)
    with open_queue(path) as q:
        with pytest.raises(QueueCorrupt, match="3 items are missing"):
            q.get(timeout=0)
        assert "next" == q.get(timeout=0)


@pytest.mark.parametrize("count", [0x70, 0x7100, 0x49, 10**15])
def test_numbers_without_letters(count: int) -> None:
    """What is missing is stored so that the trailer's magic cannot stand there."""
    stored = numbers_without_letters(count, 0x71)
    assert not any(0 < byte < 128 for byte in stored)
    first, at = decode_number(stored, 0)
    assert (count, 0x71) == (first, decode_number(stored, at)[0])


def test_only_finished_items_are_missing(open_queue: Open, path: Path) -> None:
    """Then nothing is said, and nothing is counted."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(9))
        for item in q.get_many(9)[7:]:
            q.task_done(item=item)
    size = len((path / "q00000").read_bytes().rstrip(b"\0")) // 9
    os.truncate(path / "q00000", 7 * size + 5)
    with open_queue(path) as q:
        q.put([100])
        assert [*([n] for n in range(7)), [100]] == items_in(q)
        assert 0 == q.skipped
        assert q.empty()


@pytest.mark.parametrize("name", ["pickle", "json"])
@pytest.mark.parametrize("torn", [False, True])
def test_bytes_are_missing_in_the_middle_of_the_last_chunk(
    path: Path, name: str, torn: bool
) -> None:
    """Whole records behind them are served: it is damage there, and not the end of the queue.

    Args:
        torn: the end of the chunk is gone as well.
    """
    options: dict[str, Any] = {"serializer": getattr(serializers, name)}
    with Queue[Any](path, **options) as q:
        q.put_many([1000 + n] for n in range(9))
        for item in q.get_many(9)[4:6]:
            q.task_done(item=item)
    data = (path / "q00000").read_bytes().rstrip(b"\0")
    size = len(data) // 9
    for at in range(2 * size + 1, 3 * size - 1):
        lay_out({"info": (path / "info").read_bytes()}, path.with_name("copy"))
        there = data[: 8 * size + 3 if torn else None]
        (path.with_name("copy") / "q00000").write_bytes(there[:at] + there[at + 1 :])
        with unsynced(path.with_name("copy"), on_corrupt="skip", **options) as q:
            left = {item[0] - 1000 for item in items_in(q)}
            assert {0, 1, 3, 6, 7, *([] if torn else [8])} <= left
            assert q.skipped >= (2 not in left and name == "pickle") + torn
        shutil.rmtree(path.with_name("copy"))


def test_finished_items_are_not_missed(open_queue: Open, path: Path) -> None:
    """Of the items that are gone those count that were not finished."""
    with open_queue(path) as q:
        q.put_many([n] for n in range(9))
        for item in q.get_many(9)[3:7]:
            q.task_done(item=item)
    os.truncate(path / "q00000", 3)
    with open_queue(path) as q:
        assert 5 == q.skipped


@pytest.mark.parametrize("how", ["process", "process behind power", "release"])
def test_what_was_not_flushed_is_served_as_far_as_it_is_there(
    open_queue: Open, path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There a loss of power may do it: a WARNING says how many items are gone."""
    with open_queue(path, durability="process" if how == "process" else "power") as q:
        q.put_many([n] for n in range(3))
        if how == "process behind power":
            with open_queue(path, durability="process") as other:
                other.put([3])
    if how == "release":
        raw = (path / "info").read_bytes()
        (path / "info").write_bytes(without_supplement(raw))
    size = (path / "q00000").stat().st_size
    os.truncate(path / "q00000", 80 if size > 80 else size // 2)
    with open_queue(path) as q:
        assert 0 == q.skipped
        there = items_in(q)
        assert there == [[n] for n in range(len(there))]
        assert q.empty()
    assert "of its items are gone" in caplog.text


@pytest.mark.parametrize("behind", ["nothing", "a put_many", "an open object"])
def test_sync_and_close_store_that_the_head_was_flushed(
    open_queue: Open, path: Path, behind: str
) -> None:
    """No other commit need follow: a chunk that is short later is damage, not a loss of power."""
    with open_queue(path, durability="process") as q:
        q.put_many([n] for n in range(5))
        if behind == "a put_many":
            q.get()
            q.task_done()
        if behind == "an open object":
            with open_queue(path, durability="process") as other:
                other.put([5])
        q.sync()
        before = (path / "info").stat().st_mtime_ns
        q.sync()
        assert before == (path / "info").stat().st_mtime_ns, "a second one writes nothing"
    os.truncate(path / "q00000", 3)
    with open_queue(path) as q, pytest.raises(QueueCorrupt, match="items are missing"):
        q.get(timeout=0)


def test_a_sync_of_an_empty_queue_writes_no_info(open_queue: Open, path: Path) -> None:
    """A queue has its first ``info`` with its first put."""
    with open_queue(path, durability="process") as q:
        q.qsize()
        q.sync()
        assert not (path / "info").exists()
        q.put("a")


def test_what_is_flushed_later_counts_as_flushed(path: Path) -> None:
    """A put at "power" and ``sync`` flush what was put without; finishing an item keeps that."""
    with Queue[Any](path, durability="process") as q:
        q.put_many([n] for n in range(5))
        q.get()
        q.sync()
        q.task_done()
        assert q._store._info.supplement((path / "info").read_bytes(), q._store.state)[0]
        q.put([5])
        assert not q._store._info.supplement((path / "info").read_bytes(), q._store.state)[0]
    with Queue[Any](path) as q:
        q.put([6])
        q.get()
        q.task_done()
    with Queue[Any](path, durability="process") as q:
        q.get()
        q.task_done()
        assert q._store._info.supplement((path / "info").read_bytes(), q._store.state)[0]


# -- kill -9, and loss of power -----------------------------------------------------------

CONSUMER = """
import os, random, sys
from persistqueue import Queue

path, seed, durability = sys.argv[1:]
chance = random.Random(seed)
queue = Queue(path, durability=durability)
held = []
while True:
    held += queue.get_many(10)
    chance.shuffle(held)
    while len(held) > 3:
        item = held.pop()
        if chance.random() < 0.8:  # else it is left unfinished
            os.write(1, b"try %d\\n" % item[0])
            queue.task_done(item=item)
            os.write(1, b"did %d\\n" % item[0])
"""

ASYNC_CONSUMER = """
import asyncio, os, random, sys
from persistqueue import AsyncQueue

path, seed, durability = sys.argv[1:]
chance = random.Random(seed)

async def main():
    queue = AsyncQueue(path, durability=durability)
    held = []
    while True:
        held += await queue.get_many(10)
        chance.shuffle(held)
        while len(held) > 3:
            item = held.pop()
            if chance.random() < 0.8:
                os.write(1, b"try %d\\n" % item[0])
                await queue.task_done(item=item)
                os.write(1, b"did %d\\n" % item[0])

asyncio.run(main())
"""


def kill_loop(path: Path, rounds: int, consumer: str, durability: str) -> int:
    """Kill a consumer that leaves a fifth unfinished, in rounds; return how many it finished."""
    chance, put, tried, did = random.Random(rounds), 0, set[int](), set[int]()
    for number in range(rounds):
        with unsynced(path, durability="process") as q:
            q.put_many([n] for n in range(put, put + 120))
            put += 120
        with Child(consumer, path, number, durability) as child:
            child.lines(chance.randint(40, 150))
            said = [line.split() for line in child.kill()]
        tried.update(int(n) for word, n in said if word == "try")
        did.update(int(n) for word, n in said if word == "did")
        shutil.copytree(path, path.with_name("copy"))
        there = numbers_in(path.with_name("copy"))
        shutil.rmtree(path.with_name("copy"))
        assert there == sorted(set(there))
        assert set() == did & set(there), "finished, and comes again"
        assert set(range(put)) - tried <= set(there), "lost"
    return len(did)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("consumer", [CONSUMER, ASYNC_CONSUMER], ids=["Queue", "AsyncQueue"])
def test_kill_9_brings_no_finished_item_back(path: Path, consumer: str) -> None:
    """A fifth of the items is left unfinished: those come again, and none of the others."""
    with watchdog(600):
        assert kill_loop(path, 4, consumer, "process") > 50


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("consumer", [CONSUMER, ASYNC_CONSUMER], ids=["Queue", "AsyncQueue"])
def test_kill_9_at_length(path: Path, consumer: str, durability: str) -> None:
    """The same in many rounds."""
    with watchdog(3000):
        assert kill_loop(path, 60, consumer, durability) > 1000
