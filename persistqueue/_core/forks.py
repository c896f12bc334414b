"""The one place that asks Python to tell of a fork.

A child process has the parent's memory, and shares its files, connections and locks.  So each
object that holds one of these begins anew there.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Forked(Protocol):
    """An object that begins anew in a child process."""

    def after_fork(self) -> None:
        """Forget the state of the parent process: called in the child."""


_forked: weakref.WeakSet[Forked] = weakref.WeakSet()


def follow(part: Forked) -> None:
    """Have ``part.after_fork`` called in each child process, as long as the part lives."""
    _forked.add(part)


def at_fork(
    before: Callable[[], object] | None = None,
    in_parent: Callable[[], object] | None = None,
    in_child: Callable[[], object] | None = None,
) -> None:
    """Have functions called at each fork, where the platform has forks."""
    if hasattr(os, "register_at_fork"):
        nothing = _forked.__len__
        os.register_at_fork(
            before=before or nothing,
            after_in_parent=in_parent or nothing,
            after_in_child=in_child or nothing,
        )


def _in_child() -> None:
    for part in list(_forked):
        part.after_fork()


at_fork(in_child=_in_child)
