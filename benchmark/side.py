"""The other end of a worker's pipe, and the folder in which persist-queue is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

PEER = "persist-queue"
PEER_VERSION = "1.1.0"
BESIDE_PEER = ("aiofiles==25.1.0", "aiosqlite==0.22.1")  # what its async queues need
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)  # where this checkout's package is
CACHE = os.path.join(HERE, ".cache")


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message can be shown to a user."""


def environment(root: str) -> dict[str, str]:
    """Return the environment in which ``import persistqueue`` finds the one in ``root``."""
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@final
class Side:
    """A worker process that measures the package found in ``root``.

    Raises:
        BenchmarkError: it does not start, or imports another package of that name.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(root),
            text=True,
            encoding="utf-8",
        )
        try:
            self.version = self._met(root)
        except BaseException:
            self.close()
            raise

    def _met(self, root: str) -> str:
        """Return the version of the worker's package, which must be the one in ``root``."""
        who = self._reply()
        found = os.path.dirname(os.path.dirname(os.path.realpath(who["file"])))
        if found != os.path.realpath(root):
            raise BenchmarkError(f"the worker found persistqueue in {found}, not in {root}")
        return str(who["version"])

    def measure(self, task: str, path: str, **arguments: Any) -> float:
        """Return the microseconds that one task of ``worker`` tells, most often per operation."""
        assert self._process.stdin is not None
        request = json.dumps({"task": task, "path": path, **arguments})
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BenchmarkError("a worker process ended early") from error
        reply = self._reply()
        if "error" in reply:
            raise BenchmarkError(f"{task}: {reply['error']}")
        microseconds: float = reply["microseconds"]
        return microseconds

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("a worker process ended early; its message is on stderr")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """Let the worker end."""
        self._process.communicate()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@final
class FreshSide:
    """Measures as ``Side`` does, each time in a process of its own."""

    def __init__(self, root: str) -> None:
        self.root = root

    def measure(self, task: str, path: str, **arguments: Any) -> float:
        """Return the microseconds that one task tells, as ``Side.measure`` does."""
        with Side(self.root) as side:
            return side.measure(task, path, **arguments)


def installed_peer(cache: str = CACHE) -> str:
    """Return the folder of persist-queue and what it needs, installed there the first time.

    Raises:
        BenchmarkError: it cannot be installed.
    """
    return installed_beside(f"{PEER}=={PEER_VERSION}", *BESIDE_PEER, cache=cache)


def installed_beside(*wanted: str, cache: str = CACHE) -> str:
    """Return a folder with these packages alone, installed there the first time.

    Raises:
        BenchmarkError: they cannot be installed.
    """
    folder = os.path.join(cache, "+".join(wanted).replace("==", "-"))
    if not os.path.isdir(folder):
        os.makedirs(cache, exist_ok=True)
        with open(os.path.join(cache, ".gitignore"), "w", encoding="ascii") as file:
            file.write("*\n")
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            new = os.path.join(temporary, "new")
            _pip_install(new, wanted)
            os.replace(new, folder)
    return folder


def _pip_install(target: str, wanted: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise BenchmarkError(
            f"pip cannot install {' '.join(wanted)}: {lines[-1] if lines else 'no message'}"
        )
