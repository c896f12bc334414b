"""What the MySQL classes of both families have in common: arguments, where a queue is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.arguments import ON_CORRUPT, one_of, whole
from ..._core.codec import RowCodec
from ..._core.deadline import checked_timeout
from ..rows import Rows
from .connection import Server, check_charset
from .statements import MysqlTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..statements import Kind

POOL_NAP = 0.01  # s between two tries to get a connection when all are out
_NAMES = {"passwd": "password", "db_name": "database", "name": "table_name"}


class MysqlFace:
    """One object on a queue's table in a MySQL database."""

    _server: Server
    _rows: Rows
    _KIND: Kind

    if TYPE_CHECKING:
        _check_hooks: Callable[[], None]
        _named_kind: Callable[[], Kind]

    def _set_up(
        self,
        *,
        host: str,
        user: str,
        passwd: str | None,
        db_name: str | None,
        name: str | None,
        port: int,
        charset: str,
        serializer: Any,
        password: str | None,
        database: str | None,
        table_name: str | None,
        timeout: float,
        maxsize: int,
        on_corrupt: str,
        max_item_bytes: int,
        max_connections: int,
        connect_options: Mapping[str, Any] | None,
    ) -> tuple[Server, MysqlTable]:
        """Check the arguments; nothing is connected yet."""
        passwd = _either("passwd", passwd, password)
        db_name = _either("db_name", db_name, database)
        if passwd is None or db_name is None:
            missing = "passwd" if passwd is None else "db_name"
            raise TypeError(f"the argument {missing!r} is missing (or {_NAMES[missing]!r})")
        if name is not None and table_name is not None:
            _either("name", name, table_name)
        self._check_hooks()
        kind = self._named_kind()
        table = MysqlTable(kind, table_name or name or "sql", whole_name=bool(table_name))
        check_charset(charset, table.name)
        self.host, self.port, self.user, self.charset = host, whole("port", port, 1), user, charset
        self.passwd, self.db_name = passwd, db_name
        self.name = table_name or name or "sql"
        self.maxsize = whole("maxsize", maxsize)
        self.timeout = checked_timeout(timeout)
        self._skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._rows = Rows(RowCodec(serializer, ordered=False, longest=longest), self._KIND)
        self._server = Server(
            host=host,
            port=self.port,
            user=user,
            password=passwd,
            database=db_name,
            charset=charset,
            patience=self.timeout,
            most=whole("max_connections", max_connections, 1),
            options=dict(connect_options or {}),
        )
        self.path = self._server.path
        return self._server, table

    @property
    def durability(self) -> str:
        """What a commit survives on this server: ``"power"`` or ``"process"``."""
        return "power" if self._server.limits.power else "process"


def _either(name: str, value: str | None, other: str | None) -> str | None:
    """Return the one that is given of an argument that has two names."""
    if value is not None and other is not None:
        raise TypeError(f"give {name!r} or {_NAMES[name]!r}, not both: they mean the same")
    return other if value is None else value
