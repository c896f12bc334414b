"""``python -m persistqueue copy``: nothing is lost, nothing comes twice, however it ends."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import mysql_server
import pytest
from redis_server import Server, redis_fixture  # noqa: F401

from persistqueue import MySQLQueue, Queue, RedisQueue, SQLiteQueue, serializers
from persistqueue.__main__ import main
from persistqueue._commands import copy, ends

ROOT = Path(__file__).parents[1]


def start(*arguments: object, code: str = "") -> subprocess.Popen[str]:
    """Start the command; with ``code``, after running that."""
    program = f"{code}\nimport sys\nfrom persistqueue.__main__ import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, "copy", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(*arguments: object, code: str = "") -> tuple[int, str, str]:
    """Run the command to its end: its status, output and errors."""
    process = start(*arguments, code=code)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def here(*arguments: object) -> tuple[int, str, str]:
    """Run it in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["copy", *map(str, arguments)])
    return status, out.getvalue(), err.getvalue()


class Place:
    """A kind of queue: its URL, and how to open it."""

    def __init__(self, kind: str, folder: Path, server: Server) -> None:
        name = folder.name
        if kind == "mysql":
            self._in_mysql(mysql_server.shared_server(), name)
            return
        self.url = {
            "file": f"file:{folder}",
            "sqlite": f"sqlite:{folder}?name=jobs",
            "redis": f"redis://127.0.0.1:{server.port}/0/{name}?serializer=json",
        }[kind]
        self._open: Any = {
            "file": lambda: Queue(folder),
            "sqlite": lambda: SQLiteQueue(folder, "jobs", auto_commit=False),
            "redis": lambda: RedisQueue(name, server.url, serializer=serializers.json),
        }[kind]

    def _in_mysql(self, server: mysql_server.MysqlServer, name: str) -> None:
        server.run("CREATE DATABASE IF NOT EXISTS copies")
        user = f"{mysql_server.USER}:{mysql_server.PASSWORD}"
        self.url = f"mysql://{user}@127.0.0.1:{server.port}/copies/{name}"
        where = server.login("copies")
        self._open = lambda: MySQLQueue(**where, name=name, auto_commit=False)

    def put(self, items: list[Any]) -> None:
        with self._open() as q:
            q.put_many(items)

    def items(self) -> list[Any]:
        with self._open() as q:
            items: list[Any] = q.get_many(10_000, timeout=0) if q.qsize() else []
            return items


KINDS = ("file", "redis", "sqlite")
MYSQL_PAIRS = [("file", "mysql"), ("mysql", "file"), ("mysql", "redis"), ("mysql", "mysql")]
ITEMS = [{"n": n, "text": "ü" * (n % 7)} for n in range(230)]


@pytest.mark.parametrize(("source", "target"), [*product(KINDS, KINDS), *MYSQL_PAIRS])
def test_items_move_in_their_order(
    source: str,
    target: str,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """From any kind into any other, behind what is there."""
    src = Place(source, tmp_path / f"{tmp_path.name}-src", redis_server)
    dst = Place(target, tmp_path / f"{tmp_path.name}-dst", redis_server)
    src.put(ITEMS)
    dst.put(["before"])
    journal = tmp_path / "journal"
    assert (0, "230 items moved\n", "") == here(
        src.url, dst.url, "--batch", 100, "--journal", journal
    )
    assert [] == src.items()
    assert ["before", *ITEMS] == dst.items()
    assert not journal.exists()
    assert (0, "0 items moved\n", "") == here(src.url, dst.url, "--journal", journal)


# Kills the process at the n-th of the steps that change anything: before it, or after.
KILL = """
import os, persistqueue._commands.copy as copy
left = [{n}]
def step(function):
    def stepped(*args, **kwargs):
        for after in (False, True):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), 9)
            if not after:
                result = function(*args, **kwargs)
        return result
    return stepped
made = copy.open_end
def open_end(url, *, create):
    end = made(url, create=create)
    end.queue.put_many = step(end.queue.put_many)
    end.queue.task_done = step(end.queue.task_done)
    end.queue.get_many = step(end.queue.get_many)
    return end
copy.open_end = open_end
copy.Journal.write = step(copy.Journal.write)
"""


PAIRS = [("file", "redis"), ("redis", "sqlite"), ("sqlite", "file"), ("redis", "redis")]
PAIRS += MYSQL_PAIRS


def kill_at(n: int, pair: tuple[str, str], items: list[Any], server: Server, folder: Path) -> None:
    """Kill a copy at its n-th step and give the command again: all is there, once, in order."""
    src = Place(pair[0], folder / f"{folder.name}-src{n}", server)
    dst = Place(pair[1], folder / f"{folder.name}-dst{n}", server)
    src.put(items)
    arguments = (src.url, dst.url, "--batch", 3, "--journal", folder / f"journal{n}")
    assert -9 == run(*arguments, code=KILL.format(n=n))[0]
    status, _, errors = here(*arguments)
    assert (0, "") == (status, errors)
    assert items == dst.items()
    assert [] == src.items()


@pytest.mark.parametrize("pair", [*PAIRS[:2], *MYSQL_PAIRS[:2]])
@pytest.mark.parametrize("n", [8, 10], ids=["after put_many", "after task_done"])
def test_a_killed_copy_goes_on(
    pair: tuple[str, str], n: int, redis_server: Server, tmp_path: Path
) -> None:
    """Nothing lost, nothing twice, also where all items are equal."""
    kill_at(n, pair, ["x"] * 9, redis_server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("same", [False, True], ids=["different", "equal"])
def test_a_copy_may_be_killed_anywhere(
    pair: tuple[str, str], same: bool, redis_server: Server, tmp_path: Path
) -> None:
    """Before and after each step of the first two batches."""
    for n in range(1, 20):
        items = ["x"] * 9 if same else [f"item {n}" for n in range(9)]
        kill_at(n, pair, items, redis_server, tmp_path)


def test_where_others_have_used_the_target_nothing_is_lost(tmp_path: Path) -> None:
    """It cannot be told whether the batch is there: it comes again."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    with Queue(src) as q:
        q.put_many("abc")
    arguments = (f"file:{src}", f"file:{dst}", "--journal", tmp_path / "journal")
    assert -9 == run(*arguments, code=KILL.format(n=8))[0]  # after put_many
    with Queue(dst) as q:
        assert "a" == q.get()
        q.task_done()
    assert 0 == here(*arguments)[0]
    with Queue(dst) as q:
        assert list("bcabc") == q.get_many(9)


@pytest.mark.parametrize(
    ("source", "target", "status", "words"),
    [
        ("file:{0}/none", "file:{0}/b", 1, "no queue at"),
        ("file:{0}/a", "http://x/y", 2, "sqlite:PATH"),
        ("file:{0}/a", "redis://127.0.0.1:{1}/", 2, "queue's name"),
        ("file:{0}/a", "redis://127.0.0.1:{1}/jobs", 2, "serializer=json"),
        ("file:{0}/a", "redis://127.0.0.1:1/jobs", 1, "cannot be reached"),
        ("file:{0}/a?serializer=xml", "file:{0}/b", 2, "serializer must be"),
        ("file:{0}/a?color=red", "file:{0}/b", 2, "color"),
        ("file:{0}/a?serializer=json", "file:{0}/b", 1, "pickle"),
    ],
)
def test_wrong_ends_say_what_is_wrong(
    source: str,
    target: str,
    status: int,
    words: str,
    redis_server: Server,
    tmp_path: Path,
) -> None:
    """And the items stay where they are."""
    with Queue(tmp_path / "a") as q:
        q.put((1, 2))
    urls = [url.format(tmp_path, redis_server.port) for url in (source, target)]
    found, _, errors = here(*urls)
    assert status == found, errors
    assert words in errors
    assert "Traceback" not in errors
    with Queue(tmp_path / "a") as q:
        assert (1, 2) == q.get()


def test_two_copies_at_once_are_refused(tmp_path: Path) -> None:
    """The journal is locked."""
    journal = copy.Journal(str(tmp_path / "journal"))
    with Queue(tmp_path / "a") as q:
        q.put("x")
    arguments = (f"file:{tmp_path}/a", f"file:{tmp_path}/b", "--journal", tmp_path / "journal")
    status, _, errors = here(*arguments)
    assert (1, True) == (status, "under way" in errors)
    journal.close()


def test_a_torn_journal_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b'{"digest": "ab')
    journal = copy.Journal(str(tmp_path / "journal"))
    assert {} == journal.read()
    journal.close()


def test_a_servers_url_is_taken_apart() -> None:
    """The last part is the queue's name; what is before it is the server's."""
    assert ("redis://u:p@h:1/2", "a b") == ends._of_server(
        "redis://u:p@h:1/2/a%20b?serializer=json"
    )
    assert ("redis://h", "jobs") == ends._of_server("redis://h/jobs")
