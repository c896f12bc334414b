"""Costs of a fresh process: memory, and the time of an import."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmark.side import BenchmarkError, environment

# The peak of this process' memory, in MiB.  VmHWM and not ru_maxrss on Linux, where
# the latter starts with what the parent had.
_PEAK = """
def peak():
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except OSError:
        import resource, sys
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024 ** 2
"""

_USE = """
import sys
from persistqueue import Queue
path, count = sys.argv[1], int(sys.argv[2])
with Queue(path, durability="process") as queue:
    for number in range(count):
        queue.put({"id": number})
    for number in range(count):
        queue.get()
        queue.task_done()
"""

_IMPORT = "import persistqueue; persistqueue.Queue"

#: Whether a process can be asked for the peak of its memory.
TELLS_MEMORY = sys.platform != "win32"


class Footprint:
    """Starts processes that show what using the package costs.

    They run without ``site``, whose modules would be counted, too.  Bytecode is kept in
    ``directory``, and is there before the first measurement.

    Args:
        directory: for the bytecode.
        root: where the package is.
    """

    def __init__(self, directory: str, root: str) -> None:
        self._environment = environment(root)
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._environment["PYTHONPYCACHEPREFIX"] = os.path.join(directory, "bytecode")
        self._run(_IMPORT)

    def memory_used(self, path: str, count: int) -> float:
        """Return the peak MiB of a process that opens and uses the queue at ``path``."""
        return float(self._run(_USE + _PEAK + "print(peak())", path, str(count)))

    def memory_empty(self) -> float:
        """Return the peak MiB of a process that does nothing."""
        return float(self._run(_PEAK + "print(peak())"))

    def start_with_import(self) -> float:
        """Return the milliseconds that a process takes to import ``Queue``."""
        return self._lifetime(_IMPORT)

    def start_bare(self) -> float:
        """Return the milliseconds that a process takes to do nothing."""
        return self._lifetime("")

    def _lifetime(self, program: str) -> float:
        start = time.perf_counter()
        self._run(program)
        return (time.perf_counter() - start) * 1000

    def _run(self, program: str, *arguments: str) -> str:
        """Return what a program prints.

        Raises:
            BenchmarkError: it failed, for instance since the system has no such figures.
        """
        done = subprocess.run(
            [sys.executable, "-S", "-c", program, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"a measuring process failed:\n{done.stderr.strip()}")
        return done.stdout
