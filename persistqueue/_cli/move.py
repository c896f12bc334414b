"""move all items of a queue into another one, of any kind

SRC and DST are paths, or file:DIRECTORY, sqlite:PATH?name=NAME, redis://HOST/DB?name=NAME or
mysql://USER@HOST/DATABASE?name=NAME; what kinds of queues they are is looked at. SRC has to be
there. A DST that is not there is made, of the kind of SRC where there is one. A URL may end with
?serializer=pickle, json, msgpack, cbor2 or module:object. A password that is not in the URL is
taken from PERSISTQUEUE_PASSWORD, of DST from PERSISTQUEUE_TARGET_PASSWORD if that is set.

An item is in DST before it leaves SRC, so at every moment it is in one of them, at least. What
was interrupted, however hard, goes on when the same command is given again, and no item is moved
twice, whatever was put into SRC or taken from DST meanwhile. Stop the consumers of SRC first.
What they hold stays there, as what has failed does: the last line says how much that is.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from .choice import counting_from
from .ends import MOST_ITEMS
from .names import PASSWORD, TARGET_PASSWORD, parsed
from .opening import open_source, open_target
from .transfer import Journal, Moved, Transfer, journal_of

if TYPE_CHECKING:
    import argparse

    from .ends import Source, Target

_BATCH = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SRC", help="where the items are")
    parser.add_argument("target", metavar="DST", help="where they shall be; made if need be")
    parser.add_argument(
        "--convert", action="store_true",
        help="let items change that the serializer of DST does not keep as they are, as JSON makes "
        "lists of tuples; else the first such item stops it",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=counting_from(1), default=_BATCH, metavar="N",
        help=f"items in one step (default: {_BATCH}, at most {MOST_ITEMS}, and never more than "
        "8 MiB of them)",
    )  # fmt: skip
    parser.add_argument(
        "--journal", metavar="FILE",
        help="where it is noted how far it is; by default beside the queue's path, or in the "
        "current directory if both are on servers",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Move the items; returns the exit status."""
    return transfer(arguments, moves=True)


def transfer(arguments: argparse.Namespace, *, moves: bool) -> int:
    """Move or copy items; returns the exit status."""
    try:
        with ExitStack() as stack:
            source = open_source(parsed(arguments.source), moves=moves)
            stack.enter_context(closing(source))
            name = parsed(arguments.target, (TARGET_PASSWORD, PASSWORD))
            target = open_target(name, source)
            stack.enter_context(closing(target))
            _refuse_one(source, target)
            source.by_age = target.kind.newest_first  # what was put last is to be taken first
            path = arguments.journal or journal_of(source, target, moves=moves)
            journal = stack.enter_context(closing(Journal(path)))
            work = Transfer(
                source, target,
                moves=moves, most=min(arguments.batch, MOST_ITEMS), converts=arguments.convert,
            )  # fmt: skip
            try:
                work.run(journal)
            except BaseException:
                _say_how_far(work.moved, moves=moves)
                raise
            _say_what_changes(source, target)
            return _say(work.moved, source.staying(), moves=moves)
    except ValueError as error:
        print(f"persistqueue: {error}", file=sys.stderr)
        return 2


def _refuse_one(source: Source, target: Target) -> None:
    if target.is_same(source):
        raise ValueError(f"{source.shown} and {target.shown} are one queue")


def _say_how_far(moved: Moved, *, moves: bool) -> None:
    if moved.count:
        done = f"{moved.count} items {'moved' if moves else 'copied'}"
        print(f"persistqueue: {done} so far; the same command goes on", file=sys.stderr)


def _say_what_changes(source: Source, target: Target) -> None:
    """Say what the target does not keep."""
    kept, lost = target.kind, []
    if source.kind.priority and not kept.priority:
        lost.append("the priorities, but for the order")
    if source.kind.unique and not kept.unique:
        lost.append("that equal items wait once")
    if source.kind.newest_first != kept.newest_first:
        lost.append("which end items are taken from")
    if lost:
        print(f"note: {target.shown} does not keep {', and '.join(lost)}", file=sys.stderr)


def _say(moved: Moved, staying: dict[str, int], *, moves: bool) -> int:
    """Print the last line; returns the exit status."""
    line = f"{moved.count} items {'moved' if moves else 'copied'}"
    if moved.known:
        line += f" ({moved.known} of them were there already)"
    stay = {word: count for word, count in staying.items() if count}
    if moves and stay:
        stays = " and ".join(f"{count} {word}" for word, count in stay.items())
        line += f"; {stays} stay where they are"
    if not moves:
        line += _of_a_copy(stay)
    print(line)
    if moved.taken:
        print(
            f"persistqueue: consumers took {moved.taken} of these items while they were moved: "
            "they may be worked on twice; stop the consumers first",
            file=sys.stderr,
        )
    return 1 if moved.taken else 0


def _of_a_copy(stay: dict[str, int]) -> str:
    held = f", {stay['held']} of them held" if stay.get("held") else ""
    failed = f"; {stay['failed']} failed ones are not" if stay.get("failed") else ""
    return f"{held}{failed}; the source keeps them all (to empty it: python -m persistqueue move)"
