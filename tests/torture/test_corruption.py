"""Files of small queues with every bit flipped in turn, cut short, zeroed, missing.

Each mutant is opened and emptied.  What comes is what was put, or a typed error says that
it does not; it does not hang, and no byte of it is gone afterwards.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, Case, on_sqlite, tortured
from crashdisk import UnsyncedDisk, async_on_disk, erased, files_of, lay_out
from own_serializers import serializer_of

from persistqueue import Empty, FormatError, PersistQueueError, Queue, QueueCorrupt
from persistqueue._core.framing import marked
from persistqueue.serializers import pickle

COUNT = 4
Files = dict[str, bytes]


def item_of(number: int) -> Any:
    """Return an item; its text is what a flipped bit would change unnoticed."""
    return {"number": number, "text": "abcd"[number] * 9}


ITEMS = [item_of(number) for number in range(COUNT)]


def mutants(files: Files, stride: int = 1) -> Iterator[Files]:
    """Yield the files with one of them damaged, in every way.

    Args:
        stride: flip one bit in so many.
    """
    for name, data in files.items():
        for bit in range(0, len(data) * 8, stride):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            yield {**files, name: bytes(changed)}
        for length in range(0, len(data), stride):
            yield {**files, name: data[:length]}
            if data[length:].strip(b"\0"):
                yield {**files, name: data[:length].ljust(len(data), b"\0")}
        yield {other: data for other, data in files.items() if other != name}


class Tally:
    """What became of mutants."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(
            {
                "mutants": 0,
                "intact": 0,
                "error": 0,
                "missing": 0,
                "wrong": 0,
                "hang": 0,
                "erased": 0,
            }
        )
        self.bad: list[str] = []

    def add(self, what: str, detail: object) -> None:
        self.counts["mutants"] += 1
        self.counts[what] += 1
        if what in ("wrong", "hang", "erased"):
            self.bad.append(f"{what}: {detail}"[:300])


class TooLong(Exception):
    """A mutant is read without end."""


def emptied(q: Any) -> tuple[list[Any], Exception | None]:
    """Take everything out, up to the first typed error."""
    taken: list[Any] = []
    try:
        while len(taken) < 50:
            taken.append(q.get(block=False))
    except Empty:
        return taken, None
    except (PersistQueueError, OSError) as error:
        return taken, error
    raise TooLong


def opened(open_it: Callable[[], Any]) -> tuple[list[Any], Exception | None]:
    """Open and empty a queue; any error that is neither ours nor the system's is raised."""
    try:
        q = open_it()
    except (PersistQueueError, OSError) as error:
        return [], error
    try:
        return emptied(q)
    finally:
        q.close()


@pytest.fixture(autouse=True)
def alarmed() -> Iterator[None]:
    """Let a mutant hang for five seconds at the most."""

    def bark(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, bark)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def judged(open_it: Callable[[], Any], *, reverse: bool = False) -> tuple[str, Any]:
    """Open a mutant; return what became of it, and what to say of that."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 5)  # s of computing
    try:
        taken, error = opened(open_it)
    except TooLong:
        return "hang", None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    expected = ITEMS[::-1] if reverse else ITEMS
    rest = iter(expected)
    if not all(item in rest for item in taken):
        return "wrong", taken
    if taken == expected:
        return "intact", None
    return ("missing", taken) if error is None else ("error", error)


# -- file queues ----------------------------------------------------------------------


def opener(twin: bool) -> Callable[..., Any]:
    """Return what opens a file queue that syncs nothing."""
    if twin:
        return async_on_disk(UnsyncedDisk())

    class Unsynced(Queue[Any]):
        _disk = UnsyncedDisk()

    return Unsynced


@pytest.mark.parametrize(
    ("twin", "stride"),
    [
        pytest.param(False, 61, id="few"),
        pytest.param(False, 1, id="Queue", marks=pytest.mark.torture),
        pytest.param(True, 7, id="AsyncQueue", marks=pytest.mark.torture),
    ],
)
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("name", ["pickle", "msgpack", "cbor2", "json"])
def test_mutants_of_a_file_queue(
    name: str, on_corrupt: str, twin: bool, stride: int, memory: Path, figures: Any
) -> None:
    """No hang, nothing erased, no raw error; and with pickle nothing that was not put."""
    kind, serializer, tally = opener(twin), serializer_of(name), Tally()
    path = memory / "queue"
    options = {"serializer": serializer, "durability": "process"}
    with Queue[Any](path, chunksize=3, **options) as q:
        q.put_many(ITEMS)
    files = files_of(path)
    for mutant in mutants(files, stride):
        lay_out(mutant, path)
        what, detail = judged(lambda: kind(path, on_corrupt=on_corrupt, **options))
        chunks = {file: data for file, data in mutant.items() if file != "info"}
        if gone := erased(chunks, path):
            what, detail = "erased", gone
        tally.add(what, detail)
    figures(**tally.counts)
    bad = tally.bad if name == "pickle" else [line for line in tally.bad if line[:5] != "wrong"]
    assert [] == bad


FINISHED = {1, 3, 4, 7, 8, 10}  # of a dozen, in chunks of five
DOZEN = [{"number": number, "text": chr(97 + number) * 9} for number in range(12)]


def own_items(file: str, before: bytes, after: bytes) -> set[int]:
    """Return the numbers of the items of which a mutant has changed a byte."""
    if file == "info":
        return set()
    first, size = 5 * int(file[1:]), len(before) // (2 if file == "q00002" else 5)
    changed = [at for at, byte in enumerate(before) if after[at : at + 1] != bytes((byte,))]
    ends = {at // size + 1 for at in changed if before[at] == 10}  # two lines of json may be one
    return {first + number for number in {at // size for at in changed} | ends}


@pytest.mark.parametrize(
    ("twin", "stride"),
    [
        pytest.param(False, 307, id="few"),
        pytest.param(False, 1, id="Queue", marks=pytest.mark.torture),
        pytest.param(True, 7, id="AsyncQueue", marks=pytest.mark.torture),
    ],
)
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("name", ["pickle", "json"])
def test_mutants_take_no_item_beside_their_own(
    name: str, on_corrupt: str, durability: str, twin: bool, stride: int, memory: Path, figures: Any
) -> None:
    """Items were finished behind unfinished ones: of these each comes that is not damaged itself."""
    kind, path, count = opener(twin), memory / "queue", 0
    options = {"serializer": serializer_of(name), "durability": durability}
    with opener(twin=False)(path, chunksize=5, **options) as q:
        q.put_many(DOZEN)
        items = q.get_many(12)
        for number in FINISHED:
            q.task_done(item=items[number])
    files = files_of(path)
    for mutant in mutants(files, stride):
        (file,) = (one for one in files if mutant.get(one) != files[one])
        lay_out(mutant, path)
        try:
            q = kind(path, on_corrupt=on_corrupt, **options)
        except FormatError:  # a newer version; nothing was touched
            assert file == "info"
            continue
        taken: list[Any] = []
        with q:
            while q.qsize():
                try:
                    taken.append(q.get(timeout=0))
                except QueueCorrupt:
                    q.set_aside()
                except Empty:
                    break
        count += 1
        own = own_items(file, files[file], mutant.get(file, b""))
        missing = {n for n, item in enumerate(DOZEN) if item not in taken} - FINISHED
        assert missing <= own, (file, mutant.get(file))
    figures(mutants=count)


# -- SQLite ---------------------------------------------------------------------------


def database(case: Case, path: Path, in_log: bool) -> Files:
    """Return the files of a queue, with its items in the database or in the log.

    The items are copied while the queue is open: a queue that is closed has no log.
    """
    q = case.open(path)
    q.put_many(ITEMS)
    if not in_log:
        q.close()
    names = ("data.db", "data.db-wal") if in_log else ("data.db",)
    files = {name: (path / name).read_bytes() for name in names}
    if in_log:
        q.close()
    shutil.rmtree(path)
    return files


@pytest.mark.parametrize("in_log", [False, True], ids=["database", "log"])
@tortured(["SQLiteQueue-get"], 1999, 67, on_sqlite)
def test_mutants_of_a_database(
    case: Case, amount: int, in_log: bool, memory: Path, figures: Any
) -> None:
    """No hang, no raw error; what is wrong is counted, for SQLite has no checksums of pages."""
    path, tally = memory / "queue", Tally()
    files = database(case, path, in_log)
    for mutant in mutants(files, amount):
        lay_out(mutant, path)
        tally.add(*judged(lambda: case.open(path), reverse=case.newest_first))
    figures(**tally.counts)
    assert 0 == tally.counts["hang"]
    assert tally.counts["wrong"] * 50 <= tally.counts["mutants"]


_PAGE = 4096


def mutated_rows(data: bytes, stride: int) -> Iterator[bytes]:
    """Yield the database with a bit flipped that is not zero filling, in any page but the schema's.

    Args:
        stride: flip one bit in so many.
    """
    places = [
        at
        for start in range(_PAGE, len(data), _PAGE)
        for at in range(start, start + _PAGE)
        if at - start < 24 or data[at - 8 : at + 8].strip(b"\0")
    ]
    for bit in range(0, len(places) * 8, stride):
        changed = bytearray(data)
        changed[places[bit // 8]] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@tortured(
    ["SQLiteQueue-get", "UniqueQ-get", "AsyncUniqueAckQ-ack", "PDict-get", "Broker-get"],
    83, 1, on_sqlite,
)  # fmt: skip
def test_mutants_of_rows(
    case: Case, amount: int, on_corrupt: str, memory: Path, figures: Any
) -> None:
    """No item comes for ever, or with another value than was put: pickle's have a checksum."""
    if case.kind == "PDict" and on_corrupt == "skip":
        pytest.skip("a dict skips nothing")
    options = {} if case.kind == "PDict" else {"on_corrupt": on_corrupt}
    path, tally = memory / "queue", Tally()
    (data,) = database(case, path, in_log=False).values()
    expected = ITEMS[::-1] if case.newest_first else ITEMS
    for number, mutant in enumerate(mutated_rows(data, amount)):
        lay_out({"data.db": mutant}, path)
        signal.setitimer(signal.ITIMER_VIRTUAL, 5)  # s of computing
        try:
            taken, error = opened(lambda: case.open(path, **options))
        except TooLong:
            tally.add("hang", number)
            continue
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if any(item not in ITEMS for item in taken):
            what = "wrong"
        elif taken == expected:
            what = "intact"
        else:
            what = "missing" if error is None else "error"
        tally.add(what, (number, taken))
    figures(**tally.counts)
    assert [] == tally.bad


def test_a_flipped_bit_in_a_log_is_never_wrong(memory: Path) -> None:
    """SQLite's log has checksums: a frame that does not fit is as if it had not been written."""
    case, path, tally = CASES["SQLiteQueue-get"], memory / "queue", Tally()
    files = database(case, path, in_log=True)
    for mutant in mutants({"data.db-wal": files["data.db-wal"]}, 1009):
        lay_out({"data.db": files["data.db"], **mutant}, path)
        tally.add(*judged(lambda: case.open(path)))
    assert [] == tally.bad
    assert tally.counts["missing"] > 10


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("name", ["SQLiteAckQueue-ack", "AsyncUniqueAckQ-ack"])
def test_a_row_that_an_index_takes_for_waiting(name: str, on_corrupt: str, memory: Path) -> None:
    """A row whose own status is damaged raises QueueCorrupt; it does not come for ever."""
    case, path = CASES[name], memory / "queue"
    files = database(case, path, in_log=False)
    data = files["data.db"]
    # In the header of the record, of 7 for a time, 8 for a status of 0 and 0 for no owner.
    at = data.rindex(b"\7\x08\0", 0, data.index(pickle.dumps(ITEMS[1]))) + 1
    lay_out(flipped(files, at, 2), path)  # the status is none any more, but in the index
    what, error = judged(lambda: case.open(path, on_corrupt=on_corrupt))
    assert "error" == what
    assert isinstance(error, QueueCorrupt)
    assert "not found where it was read" in str(error)


def flipped(files: Files, at: int, bit: int) -> Files:
    """Return the files with one bit of the database flipped."""
    data = bytearray(files["data.db"])
    data[at] ^= bit
    return {**files, "data.db": bytes(data)}


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("name", ["SQLiteQueue-get", "SQLiteQueue-task_done"])
def test_a_row_that_is_not_found_where_it_was_read(
    name: str, on_corrupt: str, memory: Path
) -> None:
    """A row whose id is damaged raises QueueCorrupt; it is not handed out again and again."""
    case, path = CASES[name], memory / "queue"
    files = database(case, path, in_log=False)
    at = (
        files["data.db"].index(marked(pickle.dumps(ITEMS[1]))) - 6
    )  # behind it: the record's header
    assert 2 == files["data.db"][at]
    lay_out(flipped(files, at, 16), path)
    what, error = judged(lambda: case.open(path, on_corrupt=on_corrupt))
    assert "error" == what
    assert isinstance(error, QueueCorrupt)
    assert "not found where it was read" in str(error)


@pytest.mark.parametrize("name", ["SQLiteQueue-get", "PriorityQueue-get", "AsyncPDict-get"])
def test_names_that_are_no_text(name: str, memory: Path) -> None:
    """A damaged schema, whose names are no text any more, is a typed error."""
    case, path = CASES[name], memory / "queue"
    files = database(case, path, in_log=False)
    begin = files["data.db"].index(b"CREATE TABLE")
    for at in range(begin, begin + 90):
        lay_out(flipped(files, at, 128), path)
        what, _ = judged(lambda: case.open(path), reverse=case.newest_first)
        assert what in ("error", "intact", "missing"), (at, what)
