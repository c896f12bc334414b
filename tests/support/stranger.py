"""Another process that uses SQLite databases: one for all tests, so that it costs no start.

It opens a database, does what it is told, and closes it, as any program may; or is killed
before it closes it.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

_PROGRAM = """
import json, os, pickle, sqlite3, sys

def work(path, statement):
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    rows = connection.execute(statement).fetchall()
    return connection, rows

def contents(path):
    connection, tables = work(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    found = []
    for (table,) in tables:
        columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        if "data" in [column[1] for column in columns]:
            rows = connection.execute(f'SELECT data FROM "{table}"').fetchall()
            found += [pickle.loads(data) for (data,) in rows]
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return sorted(found), verdict

for line in sys.stdin:
    path, statement, how = json.loads(line)
    try:
        if how == "contents":
            answer = contents(path)
        elif how == "killed":
            child = os.fork()
            if not child:
                kept = work(path, statement)
                os._exit(0)
            answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            connection, answer = work(path, statement)
            connection.close()
    except sqlite3.Error as error:
        answer = f"error: {error}"
    print(json.dumps(answer), flush=True)
"""

NOTHING = "CREATE TABLE IF NOT EXISTS strangers (a)"
TOUCH = "INSERT INTO strangers VALUES (1)"
DEAD = "CREATE TABLE dead (a)"


def stranger(path: Path, statement: str = NOTHING, *, killed: bool = False) -> Any:
    """Have another process open ``data.db`` in a directory, write, and close it; or be killed."""
    return _ask(path, statement, "killed" if killed else "")


def contents(path: Path) -> list[int]:
    """Return what another process finds in all tables, sorted; the database is sound."""
    found, verdict = _ask(path, "", "contents")
    assert "ok" == verdict
    items: list[int] = found
    return items


@cache
def _process() -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    atexit.register(_end, started)
    return started


def _end(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.close()
    started.wait()
    started.stdout.close()


def _ask(path: Path, statement: str, how: str) -> Any:
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(path / "data.db"), statement, how]) + "\n")
    answer = json.loads(process.stdout.readline())
    assert not str(answer).startswith("error"), answer
    return answer


def lose_locks(path: Path) -> None:
    """Do what a backup in the process that uses a database does."""
    with (path / "data.db").open("rb") as file:
        file.read(16)
