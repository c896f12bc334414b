"""A progress bar: on the standard error, on a terminal, for work that takes a while."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .._core.deadline import monotonic

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_AFTER = 0.5  # s before anything is shown
_EVERY = 0.1
_WIDTH = 30


class Progress:
    """A bar that is drawn again and again on one line, and wiped at the end.

    Args:
        title: what is being done.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = monotonic() + _AFTER if sys.stderr.isatty() else float("inf")
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is."""
        now = monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + _EVERY, True
        part = min(done / total, 1.0) if total else 1.0
        bar = ("#" * int(part * _WIDTH)).ljust(_WIDTH, ".")
        sys.stderr.write(f"\r{self._title} [{bar}] {part:4.0%} {done:,} of {total:,}")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
