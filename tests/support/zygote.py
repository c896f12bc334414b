"""Workers that are forked from one process that has imported everything: a kill costs little.

A process reads orders from its standard input, ``fork <worker> <arguments>`` and
``reap <pid>``, and answers with a line each.  The workers are in ``workers.py``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from crashdisk import Child

_PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import zygote
zygote.serve()
"""


class Zygote:
    """The process that forks, as a context manager."""

    def __init__(self) -> None:
        self._child = Child(_PROGRAM)

    def fork(self, worker: str, **arguments: Any) -> int:
        """Start a worker; return its process id."""
        self._child.tell(json.dumps(["fork", worker, arguments]))
        return int(self._child.lines(1)[0])

    def reap(self, pid: int) -> int:
        """Wait for a worker's end; return its exit status, or minus the signal."""
        self._child.tell(json.dumps(["reap", pid]))
        return int(self._child.lines(1)[0])

    def kill(self, pid: int) -> bool:
        """Kill a worker with SIGKILL; return whether it was alive until then."""
        os.kill(pid, signal.SIGKILL)
        return -signal.SIGKILL == self.reap(pid)

    def __enter__(self) -> Zygote:  # noqa: PYI034 - Self is Python 3.11's
        self._child.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)


def serve() -> None:
    """Do what is ordered until nobody orders any more."""
    import asyncio  # noqa: F401 - so that no worker has to

    import aiosqlite  # noqa: F401
    import workers

    import persistqueue

    for name in persistqueue.__all__:
        getattr(persistqueue, name, None)
    for line in iter(sys.stdin.readline, ""):
        verb, *what = json.loads(line)
        if verb == "reap":
            print(os.waitstatus_to_exitcode(os.waitpid(what[0], 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _live(getattr(workers, what[0]), what[1])
        print(pid, flush=True)


def _live(worker: Any, arguments: dict[str, Any]) -> None:
    status = 1
    try:
        worker(**arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must not be run twice
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
