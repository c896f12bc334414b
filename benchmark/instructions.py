"""How many instructions of the processor a call takes, as valgrind's callgrind counts them.

The counts hardly depend on what else the machine does: from one run to the next they move by 2 %.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile

from benchmark.report import Report, compared
from benchmark.side import BenchmarkError, environment

KINDS = ("Queue", "SQLiteQueue", "AsyncQueue")
VERBS = ("put", "get", "task_done")
CALLS = 1000  # of each verb

# The first call of each verb imports things: it is made before those that count.  callgrind begins
# another part of its counts at each ``getpriority``, a function that nothing else calls.
_PROGRAM = """
import inspect, os, sys
import persistqueue
kind, path, count, *verbs = sys.argv[1:]
async def run():
    queue = getattr(persistqueue, kind)(path, durability="process")
    for number in (1, int(count)):
        for verb in verbs:
            call, arguments = getattr(queue, verb), ["item"] * (verb == "put")
            os.getpriority(os.PRIO_PROCESS, 0)
            if inspect.iscoroutinefunction(call):
                for _ in range(number):
                    await call(*arguments)
            else:
                for _ in range(number):
                    call(*arguments)
    os.getpriority(os.PRIO_PROCESS, 0)
    closing = queue.close()
    if closing is not None:
        await closing
if kind.startswith("Async"):
    import asyncio
    asyncio.run(run())
else:
    try:
        run().send(None)  # no call waits for a loop
    except StopIteration:
        pass
"""


def compare(before: str, after: str, directory: str, calls: int = CALLS) -> Report:
    """Return the instructions of a put, a get and a task_done in two checkouts, and the ratio.

    Args:
        before: a folder in which the package is.
        after: the other one.
        directory: for the queues.
        calls: of each verb.

    Raises:
        BenchmarkError: there is no valgrind, or a program fails under it.
    """
    if shutil.which("valgrind") is None:
        raise BenchmarkError("--instructions needs valgrind: apt-get install valgrind, or the like")
    report = Report({}, ("Instructions of a call", "Before", "After", "Ratio", ""))
    for kind in KINDS:
        counts = [_counts(root, kind, directory, calls) for root in (before, after)]
        for verb, old, new in zip(VERBS, *counts, strict=True):
            cells = f"{old:,.0f}", f"{new:,.0f}", *compared(old, new)
            report.rows.append([f"{kind}: {verb}", *cells])
    return report


def _counts(root: str, kind: str, directory: str, calls: int) -> list[float]:
    """Return the instructions that one call of each verb takes."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        path, counts = os.path.join(folder, "queue"), os.path.join(folder, "counts")
        tool = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}",
            "--combine-dumps=yes", "--dump-line=no", "--dump-before=getpriority",
        ]  # fmt: skip
        done = subprocess.run(
            [*tool, sys.executable, "-c", _PROGRAM, kind, path, str(calls), *VERBS],
            env={**environment(root), "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"valgrind failed:\n{done.stderr.strip()}")
        with open(counts, encoding="utf-8", errors="replace") as file:
            totals = [int(found) for found in re.findall(r"(?m)^totals: (\d+)", file.read())]
    # The parts are the start, a first call of each verb, then all calls of each, and the end.
    return [total / calls for total in totals[1 + len(VERBS) : -1]]
