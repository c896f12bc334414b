"""Pickled rows carry a checksum, which persist-queue 1.1.0 does not see."""

from __future__ import annotations

import ast
import json
import pickle as standard_pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from families import SQL_KINDS, open_sql
from golden_rows import GOLDEN, ITEMS, KINDS, load
from upstream import Upstream, upstream_fixture  # noqa: F401

from persistqueue import (
    Broker,
    Empty,
    PDict,
    QueueCorrupt,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
    serializers,
)
from persistqueue.__main__ import main
from persistqueue.serializers import signed

ITEM = {"name": "job"}
PICKLE = standard_pickle.dumps(ITEM, 4)
UNIQUE = [kind for kind in SQL_KINDS if "Unique" in kind]
PLAIN = [kind for kind in SQL_KINDS if kind not in UNIQUE]
MARK = b"\x80\x04C\x0cpqR1" + b"".join(
    number.to_bytes(4, "little") for number in (len(PICKLE), crc32(PICKLE))
) + b"0"  # fmt: skip

both = pytest.mark.parametrize("twin", ["", "Async"])


def ask(path: Path, statement: str, *values: object) -> list[Any]:
    """Run a statement of another program on the database."""
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def table_of(path: Path) -> str:
    """Return the name of the table of the one queue or dict of a database."""
    names = [name for (name,) in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    (table,) = (name for name in names if not name.startswith(("sqlite_", "persistqueue_")))
    return str(table)


def opened(kind: str, path: Path, **options: Any) -> Any:
    path.mkdir(exist_ok=True)
    return open_sql(kind, path, **options)


# -- what is stored ---------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", PLAIN)
def test_a_pickle_stands_behind_its_checksum(kind: str, twin: str, path: Path) -> None:
    """The 17 bytes of a chunk's record; every unpickler skips them."""
    with opened(twin + kind, path) as q:
        q.put(ITEM)
        assert [(MARK + PICKLE,)] == ask(path, f"SELECT data FROM {table_of(path)}")
        assert ITEM == standard_pickle.loads(MARK + PICKLE)
        assert ITEM == q.get()


@both
@pytest.mark.parametrize("kind", UNIQUE)
def test_a_unique_row_has_its_checksum_beside_it(kind: str, twin: str, path: Path) -> None:
    """``data`` is what it was, so that an item that 1.1.0 put is the same item."""
    with opened(twin + kind, path) as q:
        q.put(ITEM)
        expected = [(PICKLE, crc32(PICKLE))]
        assert expected == ask(path, f"SELECT data, checksum FROM {table_of(path)}")
        assert ITEM == q.get()


def test_a_dict_and_a_broker_have_them_too(path: Path) -> None:
    """A row is the same in the table in which a broker holds it."""
    with PDict(path, "d") as d, Broker(path) as broker:
        d["key"] = ITEM
        broker.queue("jobs").put(ITEM)
        expected = [(MARK + PICKLE,)]
        assert expected == ask(path, "SELECT data FROM dict_d")
        with broker.queue("jobs").process() as item:
            assert ITEM == item == d["key"]
            assert expected == ask(path, "SELECT data FROM persistqueue_held")


class Own:
    """A serializer of a user's own."""

    dumps = staticmethod(standard_pickle.dumps)
    loads = staticmethod(standard_pickle.loads)


OTHERS = {
    "json": serializers.json,
    "signed": signed(serializers.pickle, b"k" * 32),
    "own": Own(),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["SQLiteQueue", "UniqueQ"])
def test_other_serializers_rows_are_what_they_return(kind: str, name: str, path: Path) -> None:
    """Nothing is in front; a signed record has a checksum of its own."""
    serializer = OTHERS[name]
    with opened(kind, path, serializer=serializer) as q:
        q.put(ITEM)
        columns = "data, checksum" if kind == "UniqueQ" else "data, NULL"
        (row,) = ask(path, f"SELECT {columns} FROM {table_of(path)}")
        assert (serializer.dumps(ITEM), None) == row
        assert ITEM == q.get()


# -- damage -----------------------------------------------------------------------------


def flipped(data: bytes) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("kind", ["SQLiteQueue", "UniqueAckQ"])
def test_every_flipped_bit_is_noticed(kind: str, path: Path) -> None:
    """In the item, and in the checksum itself: that is not taken for a row without one."""
    data = PICKLE if kind in UNIQUE else MARK + PICKLE
    with opened(kind, path) as q:
        q.put(ITEM)
        table = table_of(path)
        if kind in UNIQUE:  # the trigger is for programs, not for a rusty disk
            ask(path, f'DROP TRIGGER "checksum:{table}"')
        for damaged in flipped(data):
            ask(path, f"UPDATE {table} SET data = ?", damaged)
            with pytest.raises(QueueCorrupt, match=f"{table}, record 1: .*checksum"):
                q.peek()
            with pytest.raises(standard_pickle.UnpicklingError):  # what 1.1.0's users catch
                q.get(timeout=0)
        ask(path, f"UPDATE {table} SET data = ?", data)
        for bit in range(32 if kind in UNIQUE else 0):
            ask(path, f"UPDATE {table} SET checksum = ?", crc32(data) ^ 1 << bit)
            with pytest.raises(QueueCorrupt, match="checksum does not fit"):
                q.peek()


@pytest.mark.parametrize("kind", [*SQL_KINDS, "AsyncPriorityQueue", "AsyncUniqueQ"])
def test_a_damaged_row_is_set_aside(kind: str, path: Path) -> None:
    """With ``on_corrupt="skip"``; the next item comes, and the bytes are kept."""
    with opened(kind, path, on_corrupt="skip") as q:
        first = q.put("good")
        q.put("evil")
        table = table_of(path)
        ((data,),) = ask(path, f"SELECT data FROM {table} WHERE _id = ?", first)
        damaged = data.replace(b"good", b"gold")
        drop = f'DROP TRIGGER IF EXISTS "checksum:{table}"'
        ask(path, drop)
        ask(path, f"UPDATE {table} SET data = ? WHERE _id = ?", damaged, first)
        assert "evil" == q.get()
        with pytest.raises(Empty):
            q.get(timeout=0)
        assert 1 == q.skipped
        assert [(damaged,)] == ask(path, f'SELECT data FROM "corrupt:{table}"')


def test_a_damaged_value_of_a_dict(path: Path) -> None:
    """It raises, each time, until the key is set or deleted."""
    with PDict(path, "d") as d:
        d["key"] = ITEM
        ask(path, "UPDATE dict_d SET data = ?", MARK + PICKLE.replace(b"job", b"jab"))
        for read in (lambda: d["key"], lambda: list(d.values()), d.popitem):
            with pytest.raises(QueueCorrupt, match=r"'key'.*checksum does not fit"):
                read()
        d["key"] = "mended"
        assert "mended" == d["key"]


# -- other programs write, too ------------------------------------------------------------


@pytest.mark.parametrize("kind", UNIQUE)
def test_data_that_another_program_changes_has_no_checksum(kind: str, path: Path) -> None:
    """A trigger takes it away: the row is read as it is."""
    with opened(kind, path) as q:
        number = q.put("old")
        table = table_of(path)
        ask(path, f"UPDATE {table} SET data = ?", standard_pickle.dumps("new", 4))
        assert [(None,)] == ask(path, f"SELECT checksum FROM {table}")
        assert "new" == q.peek()
        q.update("newest", number)
        expected = [(crc32(standard_pickle.dumps("newest", 4)),)]
        assert expected == ask(path, f"SELECT checksum FROM {table}")
        ask(path, f"UPDATE {table} SET timestamp = 1")
        assert expected == ask(path, f"SELECT checksum FROM {table}")
        assert "newest" == q.get()


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="it drops no column")
@both
@pytest.mark.parametrize("kind", UNIQUE)
def test_a_table_without_checksums_that_cannot_be_written(kind: str, twin: str, path: Path) -> None:
    """It is read as it is; when it can be written again, it gets them."""
    with opened(kind, path) as q:
        q.put_many([ITEM, "other"])
    table = table_of(path)
    ask(path, f'DROP TRIGGER "checksum:{table}"')
    ask(path, f"ALTER TABLE {table} DROP COLUMN checksum")
    flip_version(path)
    with opened(twin + kind, path) as q:
        assert 2 == q.qsize()
        assert [ITEM, "other"] == [row["data"] for row in q.queue()]
        assert ITEM == q.peek()
        for write in (lambda: q.get(block=False), lambda: q.put(1), lambda: q.update(2, 1)):
            with pytest.raises(QueueCorrupt, match="must not write to it"):
                write()
        assert 2 == q.qsize()
    flip_version(path)
    with opened(twin + kind, path) as q:
        q.put("third")
        assert [ITEM, "other", "third"] == [q.get(block=False) for _ in range(3)]


@pytest.mark.parametrize("kind", UNIQUE)
def test_a_table_that_lacks_more_cannot_be_opened_for_reading(kind: str, path: Path) -> None:
    """The error says why the table cannot be made."""
    with opened("SQLiteQueue", path) as q:
        q.put(ITEM)
    flip_version(path)
    with pytest.raises(QueueCorrupt, match="must not write to it"):
        opened(kind, path).qsize()


def flip_version(path: Path) -> None:
    """Make the header say that a newer SQLite wrote the database, or take that back."""
    data = bytearray((path / "data.db").read_bytes())
    data[18] ^= 1
    (path / "data.db").write_bytes(data)


@pytest.mark.parametrize("kind", UNIQUE)
def test_a_unique_row_given_back_keeps_its_checksum(kind: str, path: Path) -> None:
    """By a block that fails; an ack queue's also where it goes behind the others."""
    with opened(kind, path) as q:
        q.put(ITEM)
        expected = [(PICKLE, crc32(PICKLE))]
        with pytest.raises(ZeroDivisionError), q.process():
            raise ZeroDivisionError
        assert expected == ask(path, f"SELECT data, checksum FROM {table_of(path)}")
        if isinstance(q, UniqueAckQ):
            q.nack(q.get(), to="back")
            assert expected == ask(path, f"SELECT data, checksum FROM {table_of(path)}")
        assert ITEM == q.get()


_THEIRS = """
import ast, sys
import persistqueue
path, kind, items = sys.argv[1:]
q = getattr(persistqueue, kind)(path)
for item in ast.literal_eval(items):
    q.put(item)
rows = [(row["id"], row["data"]) for row in q.queue()]
if rows:
    q.update({**rows[0][1], "by": 1} if isinstance(rows[0][1], dict) else "by 1.1.0", id=rows[0][0])
print(ascii([row["data"] for row in q.queue()]))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_taking_turns_with_upstream(kind: str, path: Path, upstream: Upstream) -> None:
    """1.1.0 reads, changes and adds; what either put twice is once in a unique queue."""
    with opened(kind, path) as q:
        q.put_many(["one", ITEM])
        done = upstream.run(_THEIRS, path, kind, ascii([ITEM, "theirs"]))
        assert done.returncode == 0, done.stderr
        again = [] if kind in UNIQUE else [ITEM]
        expected = ["by 1.1.0", ITEM, *again, "theirs"]
        assert expected == ast.literal_eval(done.stdout)
        assert expected == [row["data"] for row in q.queue()]
        q.put("theirs")
        expected += [] if kind in UNIQUE else ["theirs"]
        assert len(expected) == q.qsize()
        assert (expected[::-1] if "FILO" in kind else expected) == q.get_many(9, timeout=5)


def test_upstream_reads_a_dict(path: Path, upstream: Upstream) -> None:
    """And ours reads what it set."""
    code = (
        "import sys, persistqueue; d = persistqueue.PDict(sys.argv[1], 'd');"
        "print(d['key'] == {'name': 'job'}); d['theirs'] = d['key']"
    )
    with PDict(path, "d") as d:
        d["key"] = ITEM
        assert "True\n" == upstream.run(code, path).stdout
        assert ITEM == d["theirs"]


# -- commands -----------------------------------------------------------------------------


def damage(path: Path, kind: str) -> None:
    """Fill a queue, and change a letter of its first item."""
    with opened(kind, path) as q:
        q.put_many(["good", "evil"])
    table = table_of(path)
    ask(path, f'DROP TRIGGER IF EXISTS "checksum:{table}"')
    ((data,),) = ask(path, f"SELECT data FROM {table} WHERE _id = 1")
    ask(path, f"UPDATE {table} SET data = ? WHERE _id = 1", data.replace(b"good", b"gold"))


@pytest.mark.parametrize("kind", ["PriorityQueue", "UniqueQ", "UniqueAckQ"])
def test_commands_notice(kind: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``check`` and ``peek`` name the row, ``copy`` stops there, ``repair`` sets it aside."""
    damage(path, kind)
    assert 1 == main(["check", "--json", str(path)])
    (report,) = json.loads(capsys.readouterr().out)
    assert [True] == [
        "row 1: its checksum does not fit" in line for line in report["damage"]["first"]
    ]
    assert 1 == main(["peek", str(path)])
    assert "checksum does not fit" in capsys.readouterr().err
    assert 1 == main(["copy", str(path), f"{path}-copy"])
    assert "checksum does not fit" in capsys.readouterr().err
    assert 0 == main(["repair", str(path)])
    assert 0 == main(["check", str(path)])
    assert 0 == main(["move", str(path), f"sqlite:{path}-new?name=moved"])
    with opened(kind, Path(f"{path}-new"), name="moved") as q:
        assert ["evil"] == q.get_many(9, timeout=5)


def test_commands_on_rows_without_checksums(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of an earlier version, which has no such column, is looked at and copied."""
    load((GOLDEN / "persistqueue-2.0" / "bare-rows.sql").read_text("utf-8"), path)
    assert 0 == main(["check", str(path)])
    name = f"sqlite:{path}?name=unique_queue_default"
    assert 0 == main(["peek", name, "-n", "4"])
    assert "'job'" in capsys.readouterr().out
    assert 0 == main(["copy", name, f"sqlite:{path}-copy?name=copied"])
    assert [] == ask(
        path, "SELECT 1 FROM pragma_table_info('unique_queue_default') WHERE name = 'checksum'"
    )
    with UniqueQ(f"{path}-copy", name="copied") as q:
        assert ITEMS == q.get_many(9, timeout=5)


@pytest.mark.parametrize("item", ["1" + "x" * 94219, b"1" + b"x" * 94219], ids=["text", "bytes"])
def test_a_long_value_that_begins_much_like_a_checksum(tmp_path: Path, item: str | bytes) -> None:
    """The length of a bare pickle's text may look like the mark of a checksum; it is none."""
    with UniqueQ(tmp_path / "unique") as unique:
        unique.put(item)
        assert item == unique.get()
    with SQLiteQueue(tmp_path / "rows") as q:
        q.put("first")
        bare = standard_pickle.dumps(item, 4)  # as persist-queue 1.1.0 stores it
        insert = "INSERT INTO queue_default (data, timestamp) VALUES (?, 1)"
        ask(tmp_path / "rows", insert, bare)
        assert ["first", item] == [q.get(), q.get()]
