"""A progress bar on stderr, made of the standard library alone."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO, final

if TYPE_CHECKING:
    from types import TracebackType

_WIDTH = 30  # characters of the bar
_REDRAW = 0.1  # s between two drawings


@final
class Progress:
    """Draws how many of ``total`` steps are done; a context manager.

    On a terminal one line is redrawn; elsewhere (a log) a line comes at each tenth.

    Args:
        total: steps; 0 draws nothing.
        stream: where to draw; stderr when None.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._start = time.monotonic()
        self._drawn = float("-inf")  # when the last drawing was
        self._tenth = 0

    def step(self, note: str = "") -> None:
        """Count one step as done; ``note`` says which."""
        self.done += 1
        tenth = 10 * self.done // self.total if self.total else 0
        if self._terminal:
            if time.monotonic() - self._drawn >= _REDRAW or self.done == self.total:
                self._drawn = time.monotonic()
                self._stream.write("\r" + self._line(note).ljust(79)[:79])
                self._stream.flush()
        elif tenth > self._tenth:
            self._tenth = tenth
            print(self._line(note), file=self._stream, flush=True)

    def _line(self, note: str) -> str:
        share = min(self.done / self.total, 1.0)
        bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH, ".")
        spent = time.monotonic() - self._start
        left = f", about {spent / share - spent:.0f} s left" if share else ""
        return f"[{bar}] {share:4.0%} {spent:.0f} s{left}  {note}"

    def __enter__(self) -> Progress:
        if self._terminal and self.total:
            self._stream.write("\r" + self._line("").ljust(79)[:79])
            self._stream.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._terminal and self.total:
            self._stream.write("\r" + " " * 79 + "\r")
            self._stream.flush()
