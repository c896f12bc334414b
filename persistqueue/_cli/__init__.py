"""The commands of ``python -m persistqueue``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from . import check, move, peek, repair

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


class Command(NamedTuple):
    """One command.

    Attributes:
        help: a line, and paragraphs.
        run: returns the exit status.
    """

    help: str | None
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = {
    "check": Command(check.__doc__, check.add_arguments, check.run),
    "repair": Command(repair.__doc__, repair.add_arguments, repair.run),
    "peek": Command(peek.__doc__, peek.add_arguments, peek.run),
    "move": Command(move.__doc__, move.add_arguments, partial(move.run, moves=True)),
    "copy": Command(move.COPY, move.add_arguments, partial(move.run, moves=False)),
}
