"""A MariaDB server of the tests' own: on a free loopback port, with a data folder of its own.

A guardian (a session) ends the server when the process that started it dies, however it
dies.  Commits are not flushed to the disk: tests kill the server, not the machine.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from guardian import Guarded, started_at_a_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("mariadbd", "mariadb-install-db")
USER, PASSWORD = "user", "passw0rd"

_SETTINGS = {
    "bind-address": "127.0.0.1",
    "debug-no-sync": "1",
    "innodb-buffer-pool-size": "32M",
    "innodb-flush-method": "nosync",
    "innodb-log-file-size": "16M",
    "skip-name-resolve": "1",
    "sync-frm": "0",
}
_INIT = f"""
CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;
"""


class MysqlServer:
    """One server; started at once.

    Args:
        folder: for its data; created, and removed by ``stop``.
        settings: of the server, without ``--``.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder = folder
        self._settings = {**_SETTINGS, **settings}
        self._numbers = count()
        self._process: Guarded | None = None
        self.pid = 0
        folder.mkdir()
        (folder / "tmp").mkdir()  # in the machine's, two that install at once collide
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", *_AS,
                   f"--tmpdir={folder / 'tmp'}", "--auth-root-authentication-method=normal", "--skip-test-db",
                   "--innodb-log-file-size=16M", "--innodb-flush-method=nosync"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr
        (folder / "init.sql").write_text(_INIT, encoding="utf-8")
        self.port = started_at_a_free_port(self._start_at)

    def _start_at(self, port: int) -> None:
        self.port = port
        self.start()

    # -- its life -------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = {
            "datadir": self._folder / "data",
            "init-file": self._folder / "init.sql",
            "pid-file": self._folder / "pid",
            "port": self.port,
            "socket": self._folder / "socket",
            "tmpdir": self._folder / "tmp",
        }
        settings = [f"--{name}={value}" for name, value in {**self._settings, **own}.items()]
        command = ["mariadbd", "--no-defaults", *_AS, *settings]
        self._process = Guarded(command, self._folder / "log")
        self.pid = self._process.pid
        self._process.until(self._answers)

    def _answers(self) -> bool:
        import pymysql

        try:
            found = self.run("SELECT @@datadir")
        except pymysql.Error:
            return False
        return [(f"{self._folder / 'data'}/",)] == list(found)  # or it is another server

    def kill(self) -> None:
        """End it as a crash does, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        """Let it crash, and start it again."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it stand still, as a machine does that is out of reach."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return what it has logged."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    # -- its use --------------------------------------------------------------------

    def connect(self, database: str | None = None, **more: Any) -> Any:
        """Return a connection of PyMySQL, which commits each statement."""
        import pymysql

        options: dict[str, Any] = {"user": USER, "password": PASSWORD, **_QUICKLY, **more}
        return pymysql.connect(
            host="127.0.0.1", port=self.port, database=database, autocommit=True, **options
        )

    def run(self, statement: str, *values: Any, database: str | None = None) -> list[Any]:
        """Run a statement and return its rows."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def database(self) -> dict[str, Any]:
        """Create a database; return the arguments that say where it is."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.login(name)

    def minute_later(self, database: str) -> None:
        """Let it be a minute ago that the workers of a database gave signs of life."""
        self.run(
            "UPDATE persistqueue_sessions SET used = used - INTERVAL 61 SECOND", database=database
        )

    def login(self, database: str) -> dict[str, Any]:
        """Return the arguments of a queue in a database."""
        return {
            "host": "127.0.0.1",
            "user": USER,
            "passwd": PASSWORD,
            "db_name": database,
            "port": self.port,
            "connect_options": _QUICKLY,
        }


_QUICKLY = {"ssl_disabled": True}  # PyMySQL reads every certificate of the machine else
_AS = ["--user=root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def new_server(**settings: object) -> MysqlServer:
    """Start a server; skips without the programs, fails on CI."""
    missing = [program for program in PROGRAMS if _which(program) is None]
    if missing:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"no {' and no '.join(missing)}: install the Debian package mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="persistqueue-mysql-"))
    server = MysqlServer(folder / "server", **settings)
    mine = os.getpid()

    def end() -> None:
        if os.getpid() == mine:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


def _which(program: str) -> str | None:
    """Return where a program is: servers are often where only root looks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@cache
def shared_server() -> MysqlServer:
    """Return the server of the session, which every test leaves running."""
    return new_server()


@pytest.fixture
def mysql() -> MysqlServer:
    """The server of the session."""
    return shared_server()


@pytest.fixture
def where() -> dict[str, Any]:
    """The arguments of a queue in a fresh database."""
    return shared_server().database()
