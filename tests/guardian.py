"""A server process that ends with the tests, however those end: killed ones, too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# The shell's input ends when the tests do; it outlives them for as long as that takes.
_SCRIPT = '"$@" >&2 & echo $!; read line; kill -9 $! 2>/dev/null; wait'


class Guarded:
    """A server; started at once.

    Args:
        command: its words.
        log: what it says is added to this file.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with open(log, "a", encoding="utf-8") as said:
            self._guardian = subprocess.Popen(
                ["sh", "-c", _SCRIPT, "sh", *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
        assert self._guardian.stdout is not None
        self.pid = int(self._guardian.stdout.readline())

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash does, and wait until it is gone."""
        self._guardian.communicate(timeout=60)
