"""One side of a comparison: a process that measures the ``persistqueue`` it finds.

Answers each line of JSON on stdin, ``{"task": name, ...arguments}``, with one on
stdout: the microseconds that one operation took, or an error.  The interpreter and
the imports are there before anything is measured, and both sides run these very files.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import persistqueue

import async_tasks  # a script imports from its own folder
import queues
import sync_tasks

TASKS = {**sync_tasks.TASKS, **async_tasks.TASKS, **queues.TASKS}


def answer(line: str) -> dict[str, Any]:
    """Return what to reply to a request."""
    request = json.loads(line)
    try:
        seconds = TASKS[request.pop("task")](**request)
    except Exception as error:  # noqa: BLE001 - the other end shows any error
        return {"error": f"{type(error).__name__}: {error}"}
    return {"microseconds": seconds * 1e6}


def main() -> None:
    """Write which package was found, then serve requests until stdin ends."""
    replies, sys.stdout = sys.stdout, sys.stderr
    who = {"file": persistqueue.__file__, "version": persistqueue.__version__}
    print(json.dumps(who), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line)), file=replies, flush=True)


if __name__ == "__main__":
    main()
