"""``python -m persistqueue``: check, repair and peek, as a user runs them."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle as standard_pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Fault, FaultyDisk, UnsyncedDisk

from persistqueue import Broker, PDict, Queue, SQLiteAckQueue, SQLiteQueue, UniqueQ, serializers
from persistqueue.__main__ import main
from persistqueue._cli import report
from persistqueue._cli.report import Report
from persistqueue._core.framing import framing_of
from persistqueue._files.salvage import Place, repair
from persistqueue.engines import PickledListEngine, SQLiteEngine
from persistqueue.serializers import signed

ROOT = Path(__file__).resolve().parents[2]
KEY = b"k" * 32
FINISHED = {102, 103, 104, 105, 106, 107, 109}  # a whole chunk of four, and both its neighbours
WAITING = [100, 101, 108]
NAMES = ("cbor2", "json", "msgpack", "pickle")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run a command; returns its exit status, and what it printed on both streams."""
    status = main([str(argument) for argument in arguments])
    return status, "".join(capsys.readouterr())


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """Run ``check --json``; returns its exit status and its report."""
    status, text = command(capsys, "check", "--json", *arguments)
    return status, json.loads(text)[0]


def counts_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """Return how many items ``check`` counts in a file queue."""
    return checked(capsys, *arguments)[1]["parts"][0]["counts"]


def serializer_of(name: str) -> Any:
    if name in ("cbor2", "msgpack"):
        pytest.importorskip(name)
    return signed(serializers.json, KEY) if name == "signed" else getattr(serializers, name)


def fill(path: Path, serializer: Any = serializers.pickle, chunksize: int = 4) -> list[Any]:
    """Make a queue of ten items, one of which is finished; returns the others."""
    items = [{"n": n} for n in range(10)]
    with Queue(path, serializer=serializer, chunksize=chunksize, durability="process") as q:
        q.put_many(items)
        q.get()
        q.task_done()
    return items[1:]


def fill_with_gaps(path: Path, serializer: Any = serializers.pickle, chunksize: int = 4) -> None:
    """Make a queue of the items 100 to 109, of which ``FINISHED`` are finished behind another."""
    with Queue(path, serializer=serializer, chunksize=chunksize, durability="process") as q:
        q.put_many(range(100, 110))
        for item in q.get_many(10):
            if item in FINISHED:
                q.task_done(item=item)


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data)


def everything(path: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}


class RunsCode:
    """Its pickle leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


# -- check --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "signed"])
def test_check_counts_what_is_there_and_changes_nothing(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, serializer_of(name))
    before = everything(path)
    status, report = checked(capsys, path)
    assert (0, True) == (status, report["fine"])
    assert {"items": 9, "readable": 9} == report["parts"][0]["counts"]
    assert report["parts"][0]["serializer"].startswith(name)
    assert 0 <= report["parts"][0]["oldest"] < 60
    assert before == everything(path)


@pytest.mark.parametrize("name", [*NAMES, "signed"])
def test_finished_items_are_not_counted_shown_or_copied(
    path: Path, name: str, keys_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serializer = serializer_of(name)
    fill_with_gaps(path, serializer)
    queue = f"{path}?serializer={keys_module}:right" if name == "signed" else path
    before = everything(path)
    assert {"items": 3, "readable": 3} == counts_of(capsys, queue)
    assert (0, list(map(str, WAITING))) == _lines(command(capsys, "peek", queue))
    assert (0, ["100", "101"]) == _lines(command(capsys, "peek", queue, "-n", 2))
    assert 3 == len(_lines(command(capsys, "peek", queue, "--raw"))[1])
    copy = path.with_name("copy")
    assert "3 items copied" in command(capsys, "copy", queue, copy)[1]
    assert "nothing to repair" in command(capsys, "repair", queue)[1]
    assert before == everything(path)
    with Queue(copy, serializer=serializer) as q:
        assert WAITING == q.get_many(99)


@pytest.mark.parametrize("name", [*NAMES, "signed"])
def test_check_finds_a_damaged_record_and_what_is_behind_it(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, serializer_of(name))
    size = (path / "q00001").stat().st_size // 4
    damage(path / "q00001", size + size // 2 if name != "json" else size)
    status, report = checked(capsys, path)
    assert 1 == status
    assert 8 >= report["parts"][0]["counts"]["readable"] >= (8 if name == "pickle" else 6)
    assert "q00001" in report["damage"]["first"][0]


def test_check_walks_pickles_without_a_checksum_and_runs_none(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """persist-queue wrote them; one would run code."""
    mark = tmp_path / "mark"
    records = [standard_pickle.dumps(item, 4) for item in ("one", RunsCode(mark), "three")]
    path.mkdir()
    (path / "q00000").write_bytes(b"".join(records))
    head = [0, 3, sum(map(len, records))]
    info = {"chunksize": 100, "size": 3, "tail": [0, 0, 0], "head": head}
    (path / "info").write_bytes(standard_pickle.dumps(info, 4))
    assert 0 == command(capsys, "check", path)[0]
    assert 0 == command(capsys, "peek", path, "--raw")[0]
    assert 0 == command(capsys, "repair", path)[0]
    damage(path / "q00000", len(records[0]) + len(records[1]))
    assert 1 == command(capsys, "check", path)[0]
    assert 0 == command(capsys, "repair", path)[0]
    assert 0 == command(capsys, "check", path)[0]
    assert not mark.exists()


def test_check_runs_no_pickle_of_a_row(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    SQLiteQueue(path).close()
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        evil = standard_pickle.dumps(RunsCode(mark), 4)
        connection.execute("INSERT INTO queue_default (data) VALUES (?), (?)", (evil, evil[:-3]))
    assert 1 == command(capsys, "check", path)[0]
    assert 0 == command(capsys, "repair", path)[0]
    assert 0 == command(capsys, "check", path)[0]
    assert not mark.exists()


def test_check_says_what_is_in_a_database(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(SQLiteAckQueue(path, name="a")) as q:
        q.put_many(range(5))
        q.ack(q.get())
        q.ack_failed(q.get())
        q.get()
    with closing(UniqueQ(path, name="u\n", serializer=serializers.json)) as u:
        u.put({"a": 1})
    with closing(PDict(path, "d")) as d:
        d["key"] = "value"
    before = everything(path)
    status, report = checked(capsys, path)
    found = {part["what"]: part["counts"] for part in report["parts"]}
    assert 0 == status
    assert {
        "SQLiteAckQueue": {"waiting": 3, "readable": 5, "acked": 1, "failed": 1},
        "UniqueQ": {"items": 1, "readable": 1},
        "PDict": {"keys": 1, "readable": 1},
    } == {**found, "SQLiteAckQueue": _unheld(found["SQLiteAckQueue"])}
    assert sqlite3.sqlite_version == report["sqlite"]
    assert before == everything(path)
    assert "u\\n" in command(capsys, "check", path / "data.db")[1]


def _unheld(counts: dict[str, int]) -> dict[str, int]:
    """What was handed out when the queue was closed waits again, or does not."""
    held = counts.pop("handed out", 0)
    counts["waiting"] += held
    return counts


def test_check_leaves_views_and_strangers_tables_alone(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.mkdir()
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        connection.execute(
            "CREATE VIEW queue_v AS WITH RECURSIVE c(_id, data, timestamp) AS"
            " (SELECT 1, 2, 3 UNION ALL SELECT _id + 1, data, timestamp FROM c) SELECT * FROM c"
        )
        connection.execute("CREATE TABLE strangers (x)")
    status, report = checked(capsys, path)
    assert (1, []) == (status, report["parts"])  # for there is no queue
    assert 2 <= len([note for note in report["notes"] if "left alone" in note])


def test_check_knows_no_engine_and_says_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that it cannot look into is not called fine."""
    with Queue(path, engine=SQLiteEngine) as q:
        q.put("item")
    status, text = command(capsys, "check", path)
    assert (1, True) == (status, "no queue or dict is in it" in text)


@pytest.mark.parametrize("name", ["check", "repair", "peek"])
def test_an_engines_file_is_named(
    name: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Queue(path, engine=PickledListEngine) as q:
        q.put("item")
    status, text = command(capsys, name, path)
    assert (1, True) == (status, "it is a file of PickledListEngine" in text)


@pytest.mark.parametrize("name", ["check", "repair", "peek"])
def test_a_database_of_a_newer_version_is_left_alone(
    name: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows may mean something else."""
    with SQLiteQueue(path) as q:
        q.put("item")
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        connection.execute("CREATE TABLE persistqueue_format (version)")
        connection.execute("INSERT INTO persistqueue_format VALUES (2)")
        connection.execute("UPDATE queue_default SET data = x'80'")
    before = everything(path)
    status, text = command(capsys, name, path)
    assert (1, True, False) == (status, "newer version" in text, "row 1" in text)
    assert before == everything(path)


def test_check_of_an_endless_age(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time that no clock has shown is no age, and never makes JSON that is none."""
    with SQLiteQueue(path) as q:
        q.put("item")
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        connection.execute("UPDATE queue_default SET timestamp = -9e999")
    status, report = checked(capsys, path)
    assert (0, None) == (status, report["parts"][0]["oldest"])


def test_check_counts_what_a_broker_holds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An item in a process block is in no queue's table, and is not forgotten."""
    with Broker(path) as broker:
        broker.queue("jobs").write_many("ab")
        with broker.queue("jobs").process():
            status, report = checked(capsys, path)
    assert (0, {"items": 1, "readable": 1}) == (status, report["parts"][0]["counts"])
    assert [] != [note for note in report["notes"] if note.startswith("1 more items are held")]
    assert [] == [note for note in report["notes"] if "left alone" in note]


def test_check_while_a_writer_is_at_work(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is consumed, added or being written meanwhile is no damage."""
    ended = threading.Event()

    def work() -> None:
        with (
            Queue(path, chunksize=3, durability="process") as q,
            closing(SQLiteQueue(path, durability="process")) as rows,
        ):
            number = 0
            while not ended.is_set():
                number += 1
                q.put(number)
                rows.put(number)
                if number > 20:
                    q.get()
                    q.task_done()
                    rows.get()

    with Queue(path, chunksize=3):
        worker = threading.Thread(target=work)
        worker.start()
        try:
            outcomes = [command(capsys, "check", path) for _ in range(30)]
        finally:
            ended.set()
            worker.join()
    assert [] == [text for status, text in outcomes if status != 0]
    assert 0 == command(capsys, "check", path)[0]


def test_check_while_the_first_items_are_put(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A queue that comes into being at this moment is no damage either."""
    outcomes = []
    for number in range(40):
        path = tmp_path / str(number)

        def begin(path: Path = path) -> None:
            with Queue(path, durability="process") as q:
                q.put("a")

        with Queue(path):
            worker = threading.Thread(target=begin)
            worker.start()
            outcomes += [command(capsys, "check", path) for _ in range(4)]
            worker.join()
    assert [] == [text for status, text in outcomes if "DAMAGE" in text or status == 1]


NOBODY = """
import locale, os, shutil, sys
import persistqueue.__main__, persistqueue.serializers.pickle, pickletools
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(persistqueue.__main__.main(sys.argv[1:]))
"""


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who may not write in the queue's directory."""
    return subprocess.run(
        [sys.executable, "-c", NOBODY, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("writing", [False, True])
def test_check_and_peek_of_a_folder_that_may_only_be_read(writing: bool) -> None:
    """Of a database, too, whether or not somebody has it open."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "queue"
        fill(path)
        q = SQLiteQueue(path)
        q.put("row")
        if not writing:
            q.close()
        for file in path.iterdir():
            file.chmod(0o444)
        path.chmod(0o555)
        Path(directory).chmod(0o755)
        try:
            done = as_nobody("check", str(path))
            assert (0, "") == (done.returncode, done.stderr), done.stdout
            done = as_nobody("peek", str(path), "-n", "1")
            assert ("{'n': 1}", "'row'") == tuple(done.stdout.splitlines()[::2])
        finally:
            path.chmod(0o755)
            q.close()


@pytest.mark.parametrize("case", ["nothing", "empty", "strange", "info", "noise"])
def test_what_is_no_queue_is_said(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "place"
    if case != "nothing":
        path.mkdir()
    if case == "strange":
        (path / "file").write_text("text")
    if case == "info":
        path = path / "info"
        path.write_text("text")
    if case == "noise":
        path = path / "data.db"
        path.write_bytes(os.urandom(5000))
    for name in ("check", "repair", "peek"):
        status, text = command(capsys, name, path)
        assert 3 == status
        assert str(path) in text


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
def test_a_pipe_is_no_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert 1 == command(capsys, "check", tmp_path / "pipe")[0]
    fill(tmp_path / "q")
    (tmp_path / "q" / "q00001").unlink()
    os.mkfifo(tmp_path / "q" / "q00001")
    assert 1 == command(capsys, "check", tmp_path / "q")[0]


@pytest.mark.parametrize("name", ["info", "q00001", "q00000"])
def test_check_says_what_is_missing(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    (path / name).unlink()
    status, text = command(capsys, "check", path)
    assert 1 == status
    assert name in text
    assert "missing" in text


def test_an_unknown_serializer_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    (path / "info").write_bytes(b"something else")
    for chunk in path.glob("q*"):
        chunk.write_bytes(b"something else")
    assert "?serializer=" in command(capsys, "check", path)[1]
    status, text = command(capsys, "check", f"{path}?serializer=no_such_module:x")
    assert (1, True) == (status, "no_such_module" in text)
    status, text = command(capsys, "check", f"{path}?serializer=json:nothing")
    assert (2, True) == (status, "nothing" in text)


@pytest.fixture
def keys_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a signed serializer, as a user has one."""
    (tmp_path / "their_keys.py").write_text(
        "from persistqueue import serializers\n"
        "right = serializers.signed(serializers.json, b'k' * 32)\n"
        "wrong = serializers.signed(serializers.json, b'w' * 32)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "their_keys"


def test_signatures_are_checked_with_the_key(
    path: Path, keys_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    items = fill(path, signed(serializers.json, KEY))
    with closing(SQLiteQueue(path, serializer=signed(serializers.json, KEY))) as q:
        q.put("row")
    text = command(capsys, "check", path)[1]
    assert 2 == text.count("signatures were not checked")
    right, wrong = (f"{path}?serializer={keys_module}:{key}" for key in ("right", "wrong"))
    assert 0 == command(capsys, "check", right)[0]
    status, text = command(capsys, "check", wrong)
    assert 1 == status
    assert 2 == text.count("DAMAGE")
    status, text = command(capsys, "peek", right, "-n", 1)
    assert (0, [repr(items[0]), "default (SQLiteQueue)", "'row'"]) == (status, text.splitlines())
    status, text = command(capsys, "peek", path)
    assert (1, True) == (status, "?serializer=" in text)


def test_damage_is_counted_and_the_first_is_listed() -> None:
    report = Report("jobs", "file queue", damage=[str(number) for number in range(1000)])
    found: Any = report.as_json()["damage"]
    assert (1000, "0", 20) == (found["count"], found["first"][0], len(found["first"]))
    assert "980 more" in report.as_text()


# -- repair -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "signed"])
@pytest.mark.parametrize("chunk", ["q00000", "q00001", "q00002"])
def test_repair_keeps_every_whole_record_and_the_damage(
    path: Path, name: str, chunk: str, keys_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serializer = serializer_of(name)
    items = fill(path, serializer)
    original = (path / chunk).read_bytes()
    size = len(serializer.dumps(items[0])) + 17 * (name == "pickle") + 1 * (name == "json")
    size += 4 * (name in ("cbor2", "msgpack"))
    place = size * (1 if chunk == "q00000" else 0) + size - 2
    damage(path / chunk, place)
    queue = f"{path}?serializer={keys_module}:right" if name == "signed" else path
    before = everything(path)
    status, _text = command(capsys, "check", queue)
    if status == 0:
        pytest.skip("this serializer does not notice that byte")
    assert 1 == command(capsys, "repair", queue, "--dry-run")[0]
    assert before == everything(path)
    assert 0 == command(capsys, "repair", queue)[0]
    assert 0 == command(capsys, "check", queue)[0]
    with Queue(path, serializer=serializer) as q:
        left = q.get_many(99)
    assert [item for item in items if item in left] == left
    # Without a mark of their own, records behind the damage in its chunk cannot be found.
    assert len(left) >= (5 if name in ("cbor2", "msgpack") else 8)
    aside = b"".join(file.read_bytes() for file in path.glob("*.corrupt-*"))
    damaged = bytearray(original)
    damaged[place] ^= 0xFF
    assert bytes(damaged[place - size + 2 : place + 2]) in aside


@pytest.mark.parametrize(
    ("chunk", "records", "left", "lost"),
    [
        ("q00000", [0], [101, 108], 1),
        ("q00000", [1], [100, 108], 1),
        ("q00000", [0, 1], [102, 103, 108], 2),  # how many it took is a guess
        ("q00000", [1, 2], [100, 103, 108], 1),  # one of these was finished
        ("q00002", [0], [100, 101], 1),
        ("q00002", [1], [100, 101, 108], 0),  # it was finished
    ],
)
def test_finished_items_come_again_behind_damage_of_several_records_only(
    path: Path,
    chunk: str,
    records: list[int],
    left: list[int],
    lost: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A repair gives those back that stand in the damage's chunk, where their number is a guess."""
    fill_with_gaps(path)
    for record in records:
        damage(path / chunk, record * 22 + 20)
    status, report = checked(capsys, path)
    assert {"items": len(left) + lost, "readable": len(left)} == report["parts"][0]["counts"]
    assert (1, True) == (status, f"(takes {lost} items)" in report["damage"]["first"][0])
    text = command(capsys, "repair", path)[1]
    assert f"kept {len(left)} items, put aside what {lost} were" in text
    assert {"items": len(left), "readable": len(left)} == counts_of(capsys, path)
    with Queue(path) as q:
        assert left == q.get_many(99)


def test_damage_that_only_finished_items_have_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No ``get`` comes by a chunk, or the rest of one, in which all are finished."""
    fill_with_gaps(path)
    for chunk, record in (("q00000", 2), ("q00000", 3), ("q00001", 0), ("q00001", 3)):
        damage(path / chunk, record * 22 + 20)
    assert {"items": 3, "readable": 3} == counts_of(capsys, path)
    assert "nothing to repair" in command(capsys, "repair", path)[1]
    with Queue(path) as q:
        assert WAITING == q.get_many(99)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_takes_no_item_beside_its_own(path: Path, name: str, tmp_path: Path) -> None:
    """Also where it makes one line of two, or two of one, which shifts all that are behind it."""
    serializer = serializer_of(name)
    fill_with_gaps(path, serializer, chunksize=100)
    chunk = (path / "q00000").read_bytes()
    size, framing = len(chunk) // 10, framing_of(serializer)
    for at in range(len(chunk)):
        for mask in (0x3B, 0x01, 0xFF):  # the first makes a digit of a newline, and back
            here = tmp_path / f"{at} {mask}"
            shutil.copytree(path, here)
            changed = bytearray(chunk)
            changed[at] ^= mask
            (here / "q00000").write_bytes(changed)
            repair(Place(UnsyncedDisk(), str(here), framing, None), lambda done, total: None)
            with Queue(here, serializer=serializer, on_corrupt="skip") as q:
                left = q.get_many(99) if q.qsize() else []
            shutil.rmtree(here)
            first = 100 + at // size
            gone = {first}
            if name == "json" and at % size == size - 1:
                gone.add(first + 1)
            if name in ("cbor2", "msgpack"):  # no record can be found behind damage
                gone.update(range(first, 110))
            assert set(WAITING) - gone <= set(left), (at, mask)


@pytest.mark.parametrize("target", ["info", "q00000", "q00001", "q00002"])
@pytest.mark.parametrize("how", ["removed", "emptied", "zeroed", "halved"])
def test_repair_makes_a_queue_fit_whatever_happened(
    path: Path, target: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    items = fill(path)
    file = path / target
    data = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        kept = {"emptied": b"", "zeroed": bytes(len(data)), "halved": data[: len(data) // 2]}
        file.write_bytes(kept[how])
    assert 0 == command(capsys, "repair", path)[0]
    assert 0 == command(capsys, "check", path)[0]
    with Queue(path) as q:
        left = q.get_many(99)
    assert [item for item in [{"n": 0}, *items] if item in left] == left
    assert len(left) >= (9 if target == "info" else 5)


def test_items_that_a_producer_found_missing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check says so until a get has; repair says so, and then no get need."""
    with Queue(path) as q:
        q.put_many("abc")
    os.truncate(path / "q00000", 3)
    with Queue(path) as q:
        q.put("d")
    assert main(["check", str(path)]) == 1
    assert "3 items are missing" in capsys.readouterr().out
    assert main(["repair", str(path)]) == 0
    assert "kept 1 items, put aside what 3 were" in capsys.readouterr().out
    assert main(["check", str(path)]) == 0
    with Queue(path) as q:
        assert q.get(timeout=0) == "d"
        assert q.skipped == 0


def test_repair_of_what_is_whole_does_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    SQLiteQueue(path).close()
    before = everything(path)
    status, text = command(capsys, "repair", path)
    assert (0, 2) == (status, text.count("nothing to repair"))
    assert before == everything(path)


@pytest.mark.parametrize("how", ["instead", "behind", "half", "rest"])
def test_a_repair_that_fails_loses_nothing(path: Path, how: str, tmp_path: Path) -> None:
    """Whichever call to the disk fails: what was whole is there, and a second repair works."""
    framing = framing_of(serializers.pickle)
    at, hit = 0, True
    while hit:
        at += 1
        here = tmp_path / f"queue{at}"
        items = fill(here, chunksize=3)
        damage(here / "q00001", 30)
        disk = FaultyDisk(Fault(at, how, errno.ENOSPC))
        with suppress(OSError):
            repair(Place(disk, str(here), framing, None), lambda done, total: None)
        hit = disk.hit
        repair(Place(UnsyncedDisk(), str(here), framing, None), lambda done, total: None)
        with Queue(here, on_corrupt="skip") as q:
            left = q.get_many(99)
        assert [item for item in items if item != {"n": 3}] == left, (at, how)
        assert any(file.stat().st_size >= 38 for file in here.glob("*.corrupt-*"))
    assert at > 30


def test_repair_moves_rows_aside(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(SQLiteAckQueue(path)) as q, closing(PDict(path, "d")) as d:
        q.put_many(range(300))
        d.update({str(number): number for number in range(3)})
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        connection.execute("UPDATE ack_queue_default SET data = x'80' WHERE _id IN (7, 290)")
        connection.execute("UPDATE dict_d SET data = 'text', type = 9 WHERE key = '1'")
    assert 1 == command(capsys, "repair", path, "--dry-run")[0]
    assert 0 == command(capsys, "repair", path)[0]
    status, report = checked(capsys, path)
    assert (0, [1, 2]) == (status, sorted(report["set_aside"].values()))
    with closing(SQLiteAckQueue(path)) as q, closing(PDict(path, "d")) as d:
        assert (298, ["0", "2"]) == (q.size, list(d))
    with closing(sqlite3.connect(path / "data.db")) as connection:
        aside = connection.execute('SELECT _id, data FROM "corrupt:ack_queue_default"').fetchall()
    assert [(7, b"\x80"), (290, b"\x80")] == aside


def test_repair_does_not_claim_what_it_cannot_do(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What SQLite finds wrong, and rows that this process cannot read, stay as they are."""
    with closing(SQLiteQueue(path, serializer=serializers.json)) as q:
        q.put_many(range(3000))
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        connection.execute("UPDATE queue_default SET data = ? WHERE _id = 5", (b"[" * 200_000,))
    before = (path / "data.db").read_bytes()
    assert "stay" in command(capsys, "repair", path)[1]
    assert 1 == command(capsys, "repair", path)[0]
    assert before == (path / "data.db").read_bytes()
    (path / "data.db").write_bytes(before[:8192] + bytes(8192) + before[16384:])
    assert 1 == command(capsys, "check", path)[0]
    assert 1 == command(capsys, "repair", path)[0]


def test_repair_waits_for_the_lock_and_gives_up(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from persistqueue._cli import repair
    from persistqueue._files import salvage

    monkeypatch.setattr(salvage, "_PATIENCE", 0.0)
    monkeypatch.setattr(repair, "_PATIENCE", 0.0)
    fill(path)
    damage(path / "q00001", 30)
    with closing(SQLiteQueue(path)) as q:
        q.put(1)
    with closing(sqlite3.connect(path / "data.db", isolation_level=None)) as connection:
        connection.execute("UPDATE queue_default SET data = x'80'")
        before = everything(path)
        connection.execute("BEGIN IMMEDIATE")
        assert "lock" in command(capsys, "repair", path / "data.db")[1]
    with Queue(path) as other:
        assert other._store.begin(True)
        status, text = command(capsys, "repair", path)
        assert (1, True) == (status, "lock" in text)
        other._store.rollback()
    assert before["q00001"] == everything(path)["q00001"]


# -- peek ---------------------------------------------------------------------------------


def test_peek_shows_the_next_items_and_takes_none(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = fill(path)
    for _ in range(2):
        assert (0, list(map(repr, items[:5]))) == _lines(command(capsys, "peek", path))
    assert (0, list(map(repr, items))) == _lines(command(capsys, "peek", path, "-n", 99))
    raw = _lines(command(capsys, "peek", path, "-n", 1, "--raw"))[1]
    assert [repr((path / "q00000").read_bytes()[38:76])] == raw


def _lines(outcome: tuple[int, str]) -> tuple[int, list[str]]:
    return outcome[0], outcome[1].splitlines()


def test_peek_stops_at_damage(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    damage(path / "q00001", 30)
    status, text = command(capsys, "peek", path, "-n", 99)
    assert (1, True) == (status, "q00001, byte 0" in text)


def test_peek_says_that_info_is_missing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items without it are no empty queue."""
    fill(path)
    (path / "info").unlink()
    status, text = command(capsys, "peek", path)
    assert (1, True) == (status, "info: it is missing" in text)


def test_peek_of_a_database_that_is_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What SQLite says is said, with no traceback."""
    with SQLiteQueue(path) as q:
        q.put_many(range(99))
    data = (path / "data.db").read_bytes()
    for begin in (16, 4096):
        (path / "data.db").write_bytes(data[:begin] + b"\xa5" * 4096 + data[begin + 4096 :])
        for more in ([], ["--raw"]):
            status, text = command(capsys, "peek", path, *more)
            assert (1, True) == (status, "SQLite says: " in text)


class Unshowable:
    def __repr__(self) -> str:
        raise LookupError


def test_peek_of_an_item_that_cannot_be_shown(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Queue(path) as q:
        q.put_many([Unshowable(), "behind"])
    shown = "<Unshowable, which cannot be shown: LookupError>"
    assert (0, [shown, "'behind'"]) == _lines(command(capsys, "peek", path))


@pytest.mark.parametrize("name", ["", ".json", "a..b:c", ":dumps", "os:path", "os:sep", "signed:"])
@pytest.mark.parametrize("what", ["check", "peek", "repair"])
def test_what_is_no_serializer_is_said(
    path: Path, what: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    status, text = command(capsys, what, f"{path}?serializer={name}")
    assert (1 if name == "signed:" else 2, 1, True) == (
        status,
        len(text.splitlines()),
        text.startswith("persistqueue: "),
    )


# -- all of them --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["unknown"], ["check"], ["peek", "p", "-n", "x"], ["peek", "p", "-n", "-1"],
        ["repair", "p", "--set-aside", "0"], ["check", "p", "--no"],
    ],
)  # fmt: skip
def test_a_wrong_call_has_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert 2 == end.value.code
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["check", "peek", "repair"])
def test_help_says_what_a_command_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert 0 == end.value.code
    assert "PATH" in text
    assert len(text.splitlines()) > 12


class Terminal(io.StringIO):
    """What says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_shown_on_a_terminal_and_wiped(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_AFTER", 0.0)
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with report.Progress("checking") as bar:
        bar(500, 1000)
    shown = screen.getvalue()
    assert terminal == ("50% 500 of 1,000" in shown)
    assert terminal == shown.endswith("\r\033[K")


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"jobs\xff\n")
    fill(path)
    damage(path / "q00001", 30)
    for arguments in (["check"], ["repair"]):
        done = subprocess.run(
            [sys.executable, "-m", "persistqueue", *arguments, str(path)],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr
        assert b"jobs" in done.stdout


def test_the_module_is_a_program(path: Path) -> None:
    """It needs the standard library alone, and shows no bar where there is no terminal."""
    fill(path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "persistqueue", "check", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "9 readable" in done.stdout
