"""save what can be read, and put the rest aside

Deletes nothing: damaged bytes of a file queue are copied to files named *.corrupt-<time>,
damaged rows of a database are moved to the table corrupt:<table>. The order of the items
stays. Takes the queue's lock; stop the programs that use the queue first, or items that
they have in hand may come twice. Run it as the user whose queue it is: new files are its
own. Runs no item's pickle. See what it would do with --dry-run.

An item that is whole and cannot be loaded (its class is gone, say) is no damage and stays.
--set-aside N gets past it: it puts aside the next N items of a queue, whatever they are.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.disk import Disk
from .._files import salvage
from .._files.info import BadInfo
from .._sql.sqlite.connection import Database
from .._sql.sqlite.dicts import DictStore
from .._sql.sqlite.errors import TRANSLATED
from .._sql.sqlite.stores import SqliteDeletingStore
from .._sql.statements import DictTable
from ..exceptions import QueueCorrupt
from . import aside, choice, databases, filequeues
from .places import places
from .progress import Progress
from .report import shown

if TYPE_CHECKING:
    import argparse

    from .report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    choice.add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    aside.listed(parser)


def run(arguments: argparse.Namespace) -> int:
    """Mend what is there; returns the exit status."""
    found = places(arguments.path)
    serializer, longest = choice.named(arguments.serializer), arguments.max_item_bytes
    if arguments.set_aside is not None:
        return aside.set_aside(
            found, serializer, arguments.table, arguments.set_aside, arguments.dry_run
        )
    status = 0
    with Progress("repairing") as progress:
        if found.directory is not None:
            report, _ = filequeues.look(found.directory, serializer, longest, progress)
            status |= _repair(
                report,
                arguments.dry_run,
                partial(_mend_directory, found.directory, serializer, progress),
            )
        for file in found.files:
            report, bad = databases.look(file, serializer, longest, progress)
            mend = partial(_mend_database, file, bad, report.damage.count - len(bad))
            status |= _repair(report, arguments.dry_run, mend)
    return status


def _repair(report: Report, dry_run: bool, mend: Any) -> int:
    name = shown(report.path)
    for what in report.damage.first:
        print(f"{name}: {what}")
    if report.fine:
        print(f"{name}: nothing to repair")
        return 0
    if dry_run:
        print(f"{name}: would put this aside and keep all else; nothing was done")
        return 1
    status: int = mend()
    return status


def _mend_directory(path: str, serializer: Any, progress: Any) -> int:
    place = filequeues.place_of(path, serializer, None, Disk())
    try:
        done = salvage.repair(place, progress)
    except BadInfo as bad:
        raise QueueCorrupt(path, "info", reason=str(bad)) from bad
    print(f"{shown(path)}: kept {done.kept:,} items, put aside what {done.damaged:,} were")
    return 0


def _mend_database(path: str, bad: list[databases.BadRow], others: int) -> int:
    """Move rows aside, table by table, each in one transaction.

    Args:
        others: things that are wrong with the database, not with a row.
    """
    moved = 0
    for found in {row.found.table.name: row.found for row in bad}.values():
        rows = [row for row in bad if row.found.table.name == found.table.name]
        moved += _move_rows(path, found, [row for row in rows if row.damaged])
    print(f"{shown(path)}: moved {moved:,} rows aside")
    left = sum(not row.damaged for row in bad)
    if left:
        print(f"{shown(path)}: {left:,} rows are whole and cannot be read here: they stay")
    if others:
        print(
            f"{shown(path)}: what is wrong beside rows stays; if SQLite itself finds damage, its "
            "own tool saves what can be saved (sqlite3 data.db .recover | sqlite3 new.db)"
        )
    return 0 if moved == len(bad) and not others else 1


def _move_rows(path: str, found: databases.Found, rows: list[databases.BadRow]) -> int:
    database = Database(path, power=True, patience=aside.PATIENCE)
    codec: Any = aside.NoCodec()
    store: Any = (
        DictStore(database, found.table, codec)
        if isinstance(found.table, DictTable)
        else SqliteDeletingStore(database, found.table, codec, skip_corrupt=True)
    )
    moved = 0
    try:
        aside.begin(store, path)
        try:
            for row in rows:
                if databases.still_bad(store.connection, row):
                    store.move_aside(row.number)
                    moved += 1
            store.commit()
        except BaseException:
            store.rollback()
            raise
    except TRANSLATED:
        raise
    except sqlite3.Error as error:
        raise database.translate(error, found.table.name) from error
    finally:
        store.close()
    return moved
