"""``python -m persistqueue``: look at queues, mend them, move them, work on their jobs."""

from __future__ import annotations

import argparse
import io
import sys
from functools import partial
from typing import TYPE_CHECKING

from ._cli import check, move, peek, repair, work
from ._cli.places import NoQueue
from .exceptions import PersistQueueError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {  # by name: help, what adds its arguments, what runs it and returns the exit status
    "check": (check.__doc__, check.add_arguments, check.run),
    "repair": (repair.__doc__, repair.add_arguments, repair.run),
    "peek": (peek.__doc__, peek.add_arguments, peek.run),
    "move": (move.__doc__, move.add_arguments, partial(move.run, moves=True)),
    "work": (work.__doc__, work.add_arguments, work.run),
    "copy": (move.COPY, move.add_arguments, partial(move.run, moves=False)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status: as the epilog below says."""
    parser = argparse.ArgumentParser(
        prog="python -m persistqueue",
        description="Look at queues on disk, mend them, see what is next in them.",
        epilog="Exit status: 0 fine, 1 damage or trouble, 2 wrong arguments, 3 no such queue.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (text, add_arguments, run) in COMMANDS.items():
        title, _, rest = (text or "").partition("\n")
        sub = commands.add_parser(
            name,
            help=title,
            description=f"{title}\n{rest}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(sub)
        sub.set_defaults(run=run)
    chosen = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = chosen.run(chosen)
    except (PersistQueueError, OSError, ImportError, ValueError) as error:
        print(f"persistqueue: {error}", file=sys.stderr)  # noqa: T201 - it is a command
        if isinstance(error, NoQueue):
            return 3
        return 1 if isinstance(error, (PersistQueueError, OSError, ImportError)) else 2
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
