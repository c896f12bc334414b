"""copy all items of a queue into another one, of any kind, and leave the first as it is

Everything is as of move, but SRC keeps its items, and nothing is written there. What consumers
hold is copied, too: nobody holds it in DST. What has failed is not. A queue in a database is
copied as it was at one moment. (Until version 2.0 this command emptied SRC: that is move now.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import move

if TYPE_CHECKING:
    import argparse

add_arguments = move.add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Copy the items; returns the exit status."""
    return move.transfer(arguments, moves=False)
