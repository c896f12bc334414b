"""The real persist-queue 1.1.0, to write and read directories beside ours.

pip installs it into a folder of its own (kept in pytest's cache, one for each version of
Python), where it runs in processes of its own with that folder as ``PYTHONPATH``: the
two packages have the same name and never meet in one process.

A test module takes part with ``from upstream import upstream_fixture  # noqa: F401`` and
an argument ``upstream``.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

REQUIREMENTS = ("persist-queue==1.1.0", "msgpack", "cbor2", "aiofiles", "aiosqlite")
_WORKER = Path(__file__).with_name("upstream_worker.py")


class UpstreamError(Exception):
    """What persist-queue raised, as its type's name and its message."""


class Upstream:
    """persist-queue 1.1.0 in ``site``.

    Args:
        site: the folder that pip installed it into.
    """

    def __init__(self, site: Path) -> None:
        self.site = site
        self._keys = count()
        self._worker: subprocess.Popen[bytes] | None = None

    def queue(self, path: Path, serializer: str = "pickle", **options: Any) -> Theirs:
        """Open one of its queues; names of serializers are those of its modules."""
        key = next(self._keys)
        self.ask("open", key, {"path": str(path), "serializer": serializer, **options})
        return Theirs(self, key)

    def ask(self, verb: str, key: Any, argument: Any = None) -> Any:
        """Have the worker process do something (see ``upstream_worker.Desk``).

        Raises:
            UpstreamError: it raised something.
        """
        worker = self._worker = self._worker or self._start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(ascii((verb, key, argument)).encode() + b"\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        assert line, "the process that runs persist-queue 1.1.0 has ended"
        kind, *answer = ast.literal_eval(line.decode())
        if kind == "error":
            raise UpstreamError(*answer)
        return answer[0]

    def run(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run code in a process of its own; ``sys.argv[1:]`` are the arguments."""
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.site, env=self._environment(), timeout=60, text=True,
            capture_output=True, check=False,
        )  # fmt: skip

    def close(self) -> None:
        """End the worker process."""
        if self._worker is not None:
            self._worker.communicate()  # it ends with its input
            self._worker = None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(_WORKER)], cwd=self.site, env=self._environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.site)}


class Theirs:
    """A queue of persist-queue 1.1.0; its calls never wait."""

    def __init__(self, upstream: Upstream, key: int) -> None:
        self._upstream = upstream
        self._key = key

    def put(self, *items: Any) -> None:
        """Put items, one after another."""
        self._ask("put", list(items))

    def get(self, count: int = 1) -> list[Any]:
        """Get so many items."""
        items: list[Any] = self._ask("get", count)
        return items

    def task_done(self, count: int = 1) -> None:
        """Call task_done so many times."""
        self._ask("task_done", count)

    def qsize(self) -> int:
        """Return its qsize."""
        size: int = self._ask("qsize")
        return size

    def unfinished_tasks(self) -> int:
        """Return its attribute of that name."""
        number: int = self._ask("unfinished_tasks")
        return number

    def drain(self) -> list[Any]:
        """Get everything that is there and finish it."""
        items = self.get(self.qsize())
        self.task_done(len(items))
        return items

    def info(self) -> dict[str, Any]:
        """Return its attribute of that name, tuples as lists."""
        info: dict[str, Any] = self._ask("info")
        return info

    def close(self) -> None:
        """Let it close its files."""
        self._ask("close")

    def __enter__(self) -> Theirs:  # noqa: PYI034 (Self is of Python 3.11)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, verb: str, argument: Any = None) -> Any:
        return self._upstream.ask(verb, self._key, argument)


@pytest.fixture(scope="session", name="upstream")
def upstream_fixture(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upstream]:
    """persist-queue 1.1.0, installed; skips without a package index, fails on CI."""
    name = f"persist-queue-1.1.0-with-async-{sys.implementation.cache_tag}"
    upstream = Upstream(installed(request, tmp_path_factory, name, REQUIREMENTS))
    yield upstream
    upstream.close()


def installed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    requirements: tuple[str, ...],
) -> Path:
    """Return a folder into which pip has installed something, kept in pytest's cache."""
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp(name) if cache is None else cache.mkdir(name)
    if not (site := folder / "site").exists():
        _install(site, requirements)
    return site


def _install(site: Path, requirements: tuple[str, ...]) -> None:
    """Install into ``site`` in one step, so that what is there is whole."""
    part = site.with_name(f"part-{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1",
               "--disable-pip-version-check", "--target", str(part), *requirements]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"pip could not install {requirements[-1]} to compare with (no index?): {why}")
    try:
        part.rename(site)
    except OSError:  # another run was quicker
        shutil.rmtree(part)
