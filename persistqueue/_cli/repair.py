"""save all whole items, and put the rest aside

Deletes nothing: damaged bytes of a file queue are copied to files named *.corrupt-<time>,
damaged rows of a database are moved to the table corrupt:<table>. The order of the items
stays. Takes the queue's lock; stop the programs that use the queue first, or items that
they have in hand may come twice. Run it as the user whose queue it is: new files are its
own. Runs no item's pickle. With --dry-run it only says which damage it would put aside.

An item that is whole and cannot be loaded (its class is gone, say) is no damage and stays.
--set-aside N gets past it: it puts aside the next N items of a queue, without a look at them.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from .._core.block import Damaged
from .._core.disk import Disk
from .._core.inflight import AT_TASK_DONE
from .._core.threads import ThreadSession
from .._files import salvage
from .._files.store import ChunkFileStore
from .._sql.schema import prepare
from .._sql.sqlite import look
from .._sql.sqlite.database import Database
from .._sql.statements import DictTable, Table
from ..exceptions import SerializationError
from . import check
from .ends import in_transaction
from .places import (
    LONGEST,
    PATH,
    counting_from,
    one_queue,
    parsed,
    place_of,
    places_to_see,
    queues_in,
)
from .report import MOST, Progress, shown

if TYPE_CHECKING:
    import argparse
    import sqlite3
    from collections.abc import Callable

    from ..serializers import Serializer
    from .places import Found
    from .report import Report

_PATIENCE = 10.0  # s to wait for a queue's lock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", metavar="PATH", help=PATH)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only say it")
    parser.add_argument(
        "--set-aside",
        metavar="N",
        type=counting_from(1),
        help="only this: set the next N items aside, for those that are whole and cannot be loaded "
        "(SerializationError)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Mend the queues in a path; returns the exit status."""
    name, dry_run = parsed(arguments.path), arguments.dry_run
    found = places_to_see(name)
    if (most := arguments.set_aside) is not None:
        queue = one_queue(name, [one for one in queues_in(name.address) if one.engine is None])
        if dry_run:
            print(f"{shown(str(queue))}: would set aside the next {most:,} items; nothing was done")
            return 0
        done = _set_aside(queue, name.serializer, most)
        print(f"{shown(str(queue))}: set aside {done:,} items")
        return 0 if done == most else 1
    status = 0
    with Progress("repairing") as progress:
        how = check.Check(name, progress)
        if (path := found.directory) is not None:
            report = check.check_directory(path, how)
            status |= _repair(report, partial(_mend_directory, path, how), dry_run=dry_run)
        for path in found.databases:
            report, bad = check.check_database(path, how)
            mend = partial(_mend_database, path, bad, len(report.damage) - len(bad))
            status |= _repair(report, mend, dry_run=dry_run)
    return status


def _repair(report: Report, mend: Callable[[], int], *, dry_run: bool) -> int:
    name = shown(report.path)
    for what in report.damage[:MOST]:
        print(f"{name}: {what}")
    if report.fine:
        print(f"{name}: nothing to repair")
        return 0
    if dry_run:
        print(f"{name}: would put this aside and keep all else; nothing was done")
        return 1
    return mend()


def _mend_directory(path: str, how: check.Check) -> int:
    place = place_of(path, how.name.serializer, Disk())
    done = salvage.repair(place, how.progress)
    print(f"{shown(path)}: kept {done.kept:,} items, put aside what {done.damaged:,} were")
    return 0


def _mend_database(path: str, bad: list[check.BadRow], others: int) -> int:
    """Move rows aside, table by table, each in one transaction.

    Args:
        others: damage to the database that is not in a row.
    """
    damaged = [row for row in bad if row.damaged]
    tables = groupby(damaged, key=lambda row: row.table)  # in this order they were found
    moved = sum(
        _move_aside(path, table, partial(_still_damaged, list(rows))) for table, rows in tables
    )
    print(f"{shown(path)}: moved {moved:,} rows aside")
    if left := len(bad) - len(damaged):
        print(f"{shown(path)}: {left:,} rows are whole and cannot be read here: they stay")
    if others:
        print(
            f"{shown(path)}: other damage than rows stays; if SQLite itself finds damage, its "
            "own tool saves what can be saved (sqlite3 data.db .recover | sqlite3 new.db)"
        )
    return 0 if moved == len(bad) and not others else 1


def _move_aside(
    path: str, table: Table | DictTable, pick: Callable[[sqlite3.Connection], list[int]]
) -> int:
    """Move rows to the table for damaged ones, all or none; returns how many.

    Args:
        pick: returns their numbers, while no other process can write.
    """
    delete = table.delete_row if isinstance(table, DictTable) else table.delete

    def move(connection: sqlite3.Connection) -> int:
        prepare(connection, table, path)
        connection.execute("BEGIN IMMEDIATE")  # undone if the connection is closed before COMMIT
        numbers = pick(connection)
        for number in numbers:
            connection.execute(table.create_aside)
            connection.execute(table.set_aside, (number,))
            connection.execute(delete, (number,))
        connection.execute("COMMIT")
        return len(numbers)

    return Database(path, power=True, patience=_PATIENCE).beside(move, table.name)


def _still_damaged(rows: list[check.BadRow], connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of those rows that are still there and damaged."""
    damaged = []
    for row in rows:
        try:
            for stored in look.stored(connection, row.table, row.number):
                row.check(*stored)
        except Damaged:
            damaged.append(row.number)
        except SerializationError:
            pass
    return damaged


def _set_aside(queue: Found, serializer: Serializer | None, most: int) -> int:
    """Set the next items of a queue aside, as bytes; returns how many there were.

    Which of them cannot be loaded, only loading tells, and that runs their code.
    """
    if isinstance(table := queue.table, Table):
        return _move_aside(queue.path, table, partial(_next_rows, table, most))
    with closing(place_of(queue.path, serializer)) as place:
        framing = place.framing
    store = ChunkFileStore(queue.path, framing, skip_corrupt=True, longest=LONGEST)
    tries = (store.set_aside(unseen=True) for _ in range(most))
    with closing(ThreadSession(store, 0, AT_TASK_DONE, _PATIENCE)) as session:
        return in_transaction(session, lambda: sum(takewhile(bool, tries)))


def _next_rows(table: Table, most: int, connection: sqlite3.Connection) -> list[int]:
    return [number for number, *_ in connection.execute(table.first, (most,)).fetchall()]
