"""Databases of the golden folders, as SQL: all that is in them, and how they were made.

``rows.sql`` of a release was written once by it, and stays as it is::

    PYTHONPATH=. python tests/support/golden_rows.py persistqueue-2.0/rows.sql

Of persistqueue 2.0 there are three: in ``bare-rows.sql`` no pickle has a checksum yet, in
``unfenced-rows.sql`` the ack queues do not count how often a row was handed out.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = (
    "SQLiteQueue", "FILOSQLiteQueue", "UniqueQ", "PriorityQueue", "SQLiteAckQueue",
    "FILOSQLiteAckQueue", "UniqueAckQ",
)  # fmt: skip
#: No two equal strings in one item.
ITEMS: list[Any] = [0, "ž 🐎\n", {"name": "job", "ok": True}, None]
QUEUE = "jobs"  # of the broker; the others' name is the default


def write(directory: Path) -> None:
    """Put the items into a queue of each kind, a dict and a broker's queue."""
    import persistqueue

    for kind in KINDS:
        with getattr(persistqueue, kind)(directory) as q:
            q.put_many(ITEMS)
    with persistqueue.PDict(directory, "default") as d:
        d.update({str(number): item for number, item in enumerate(ITEMS)})
    with persistqueue.Broker(directory) as broker:
        broker.queue(QUEUE).put_many(ITEMS)


def dump(directory: Path) -> str:
    """Return a database as SQL, with 0 in the place of each time."""
    with closing(sqlite3.connect(directory / "data.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            for column in {"timestamp", "oldest"} & {*columns}:
                connection.execute(f'UPDATE "{table}" SET {column} = 0')
        return "\n".join(connection.iterdump()) + "\n"


def load(sql: str, directory: Path) -> None:
    """Make the database that a dump is of."""
    directory.mkdir(exist_ok=True)
    with closing(sqlite3.connect(directory / "data.db")) as connection:
        connection.executescript(sql)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        (GOLDEN / sys.argv[1]).write_text(dump(Path(folder)), encoding="utf-8")
