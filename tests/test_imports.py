"""What importing costs, and what is there afterwards."""

from __future__ import annotations

import copy
import importlib
from typing import TYPE_CHECKING

import pytest
from interpreter import run, start

import persistqueue

if TYPE_CHECKING:
    from pathlib import Path

# Prints what a piece of code imported beyond what Python had imported anyway.
IMPORTED = """
import sys
before = set(sys.modules)
{code}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(loaded))
"""

USE = """
import persistqueue
with persistqueue.Queue(sys.argv[1]) as queue:
    queue.put_many([{"a": 1}, None])
    queue.get()
    queue.task_done()
    with queue.process() as item:
        pass
    queue.join()
    queue.sync()
"""

USE_ASYNC = """
import asyncio
import persistqueue
async def main():
    async with persistqueue.AsyncQueue(sys.argv[1]) as queue:
        await queue.put_many([{"a": 1}, None])
        await queue.get()
        await queue.task_done()
        async with queue.process() as item:
            pass
        await queue.join()
        await queue.sync()
asyncio.run(main())
"""


def imported(code: str, *arguments: object, without: tuple[str, ...] = ()) -> set[str]:
    """Return the top-level modules that ``code`` imports."""
    return set(run(IMPORTED.format(code=code), *arguments, without=without))


def test_importing_needs_the_standard_library_alone() -> None:
    """``import persistqueue`` imports nothing that pip installs, and no asyncio."""
    import sys

    loaded = imported("import persistqueue")
    assert set() == loaded - {"persistqueue"} - sys.stdlib_module_names
    assert not loaded & {"asyncio", "sqlite3", "msgpack", "cbor2"}


def test_using_a_queue_needs_the_standard_library_alone(path: Path) -> None:
    """``Queue`` with everything it does imports nothing that pip installs, no asyncio, no HMAC."""
    import sys

    loaded = imported(USE, path)
    assert set() == loaded - {"persistqueue"} - sys.stdlib_module_names
    assert not loaded & {"asyncio", "sqlite3", "msgpack", "cbor2", "concurrent", "hmac", "json"}


def test_a_queue_works_without_asyncio_and_sqlite(path: Path) -> None:
    """A Python that was built without them still has the file queue."""
    assert "persistqueue" in imported(USE, path, without=("asyncio", "sqlite3", "_sqlite3"))


def test_importing_alone_loads_no_part(path: Path) -> None:
    """Parts are loaded when they are asked for: the first import is a look-up table."""
    code = """
import sys, persistqueue
print([name for name in sys.modules if name.startswith("persistqueue.")])
"""
    assert [] == run(code)


@pytest.mark.parametrize("without", [(), ("msgpack", "cbor2"), ("aiofiles", "aiosqlite")], ids=str)
def test_a_star_import_always_works(without: tuple[str, ...]) -> None:
    """``from persistqueue import *`` gives every public name, whatever is not installed."""
    code = """
from persistqueue import *
names = set(globals())
import persistqueue
print(sorted(set(persistqueue.__all__) - names), Queue is persistqueue.Queue, sep=", ")
"""
    assert ([], True) == run(code, without=without)


@pytest.mark.parametrize("name", persistqueue.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name of ``__all__`` resolves, again to the same object, and shows in ``dir``."""
    assert getattr(persistqueue, name) is getattr(persistqueue, name)
    assert name in dir(persistqueue)


@pytest.mark.parametrize("name", ["Queue", "Empty", "Full"])
def test_upstreams_import_paths_lead_here(name: str) -> None:
    """``persistqueue.queue`` has the names that code imports from there."""
    module = importlib.import_module("persistqueue.queue")
    assert getattr(persistqueue, name) is getattr(module, name)


@pytest.mark.parametrize("name", ["AsyncQueue", "Empty", "Full"])
def test_upstreams_async_import_paths_lead_here(name: str) -> None:
    """``persistqueue.async_queue`` has the names that code imports from there, and aiofiles."""
    module = importlib.import_module("persistqueue.async_queue")
    assert getattr(persistqueue, name) is getattr(module, name)
    assert module.aiofiles.os is importlib.import_module("aiofiles.os")


@pytest.mark.parametrize(
    "code",
    [
        "from persistqueue import AsyncQueue",
        "from persistqueue.async_queue import AsyncQueue, Empty, Full",
        "import persistqueue; persistqueue.AsyncQueue",
        "import persistqueue.async_queue",
    ],
)
@pytest.mark.parametrize("without", ["aiofiles", "aiofiles.os"])
def test_without_aiofiles_the_error_names_the_extra(code: str, without: str) -> None:
    """AsyncQueue without aiofiles is an ImportError that says what to install."""
    done = start(code, without=(without,))
    assert 1 == done.returncode
    assert (
        'ImportError: AsyncQueue needs the package aiofiles: pip install "persist-queue[async]"'
        == done.stderr.strip().splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("persistqueue.AsyncQueue", "aiofiles"),
        ("persistqueue.AsyncSQLiteQueue", "aiosqlite"),
        ("persistqueue.AsyncBroker", "aiosqlite"),
        ("persistqueue.RedisQueue", "redis"),
        ("persistqueue.MySQLQueue", "pymysql"),
        ("persistqueue.serializers.msgpack", "msgpack"),
        ("persistqueue.serializers.cbor2", "cbor2"),
        ("import persistqueue.compat.aiopyrq", "redis"),
    ],
)
def test_a_missing_extra_is_one_traceback(code: str, package: str) -> None:
    """What pip has to install is said once, without the error behind it."""
    done = start(f"import persistqueue\n{code}", without=(package,))
    assert 1 == done.stderr.count("Traceback")
    assert "ImportError: " in done.stderr
    assert "pip install" in done.stderr.splitlines()[-1]


def test_without_aiofiles_the_rest_is_there(path: Path) -> None:
    """The sync half and every error work without aiofiles, those of asyncio included."""
    code = """
import persistqueue, sys
from persistqueue import AsyncEmpty, AsyncFull, AsyncQueueShutDown, Queue
with Queue(sys.argv[1]) as queue:
    queue.put(1)
print(("AsyncQueue" in persistqueue.__all__, hasattr(persistqueue.serializers, "async_pickle")))
"""
    assert (False, True) == run(code, path, without=("aiofiles",))


def test_using_an_async_queue_needs_aiofiles_alone(path: Path) -> None:
    """``AsyncQueue`` with everything it does imports aiofiles and the standard library."""
    import sys

    loaded = imported(USE_ASYNC, path, without=("aiosqlite", "msgpack", "cbor2"))
    assert {"aiofiles", "persistqueue"} == loaded - sys.stdlib_module_names


@pytest.mark.parametrize("module", ["async_queue", "exceptions", "queue", "serializers"])
def test_a_plain_import_reaches_submodules(module: str) -> None:
    """``import persistqueue`` is enough for ``persistqueue.queue.Queue`` and its like."""
    code = f"import persistqueue; print(repr(persistqueue.{module}.__name__))"
    assert f"persistqueue.{module}" == run(code)


@pytest.mark.parametrize("name", ["Queu", "queues", "_Queue", "__wrapped__", "asyncio"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    """What does not exist is an AttributeError that names it, so ``hasattr`` is False."""
    with pytest.raises(AttributeError, match=f"module 'persistqueue' has no attribute '{name}'"):
        getattr(persistqueue, name)
    assert not hasattr(persistqueue, name)


def test_importing_an_unknown_name_is_an_import_error() -> None:
    """``from persistqueue import Queu`` fails as it does for any module."""
    done = start("from persistqueue import Queu")
    assert "ImportError: cannot import name 'Queu' from 'persistqueue'" in done.stderr


def test_dir_names_nothing_that_is_not_there() -> None:
    """Everything in ``dir`` can be had, so that tools which walk a module can."""
    for name in dir(persistqueue):
        getattr(persistqueue, name)


def test_the_module_has_what_every_module_has() -> None:
    """Version, licence and a docstring; tools that look at ``__path__`` or copy names work."""
    assert persistqueue.__version__[0].isdigit()
    assert isinstance(persistqueue.__license__, str)
    assert persistqueue.__doc__
    assert persistqueue.Queue is copy.copy(persistqueue.Queue)


def test_warnings_of_an_import_are_none() -> None:
    """Every module imports with warnings as errors."""
    code = """
import warnings
warnings.simplefilter("error")
import importlib, pkgutil, persistqueue
names = [info.name for info in pkgutil.walk_packages(persistqueue.__path__, "persistqueue.")]
for name in names:
    importlib.import_module(name)
print(len(names) > 10)
"""
    assert True is run(code)
