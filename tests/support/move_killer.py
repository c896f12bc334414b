"""Runs ``move`` and ``copy`` in forks of one process, each killed at one of its steps.

Started as a program: a line of JSON on standard input says the step and the arguments, a line
on standard output what the fork's end was.  A step is a call that changes anything; it has two
numbers, one for its beginning and one for its end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Killer:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, step: int, *arguments: object) -> bool:
        """Run a command up to a step; returns whether it was killed there: else it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([step, [str(one) for one in arguments]]) + "\n")
        self._process.stdin.flush()
        ended: int = json.loads(self._process.stdout.readline())
        assert ended in (-signal.SIGKILL, 0), ended
        return ended != 0

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    for line in sys.stdin:
        step, arguments = json.loads(line)
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os._exit(_killed_at(step, arguments))
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def _killed_at(step: int, arguments: list[str]) -> int:
    from persistqueue.__main__ import main
    from persistqueue._cli import move

    left = [step]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepped(function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            count()
            result = function(*args, **kwargs)
            count()
            return result

        return run

    def of(opened: Any) -> Any:
        def open_end(*args: Any, **kwargs: Any) -> Any:
            end = opened(*args, **kwargs)
            for verb in ("put", "finish"):
                if hasattr(end, verb):
                    setattr(end, verb, stepped(getattr(end, verb)))
            return end

        return open_end

    move.open_source, move.open_target = of(move.open_source), of(move.open_target)
    return main(arguments)


if __name__ == "__main__":
    # Once, for all forks.
    from persistqueue import __main__  # noqa: F401
    from persistqueue._cli import mysqlends, redisends  # noqa: F401

    _serve()
