"""Names that persist-queue 1.1.0's ``PDict`` inherits from its queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from ..._core.arguments import MAX_ITEM_BYTES
from ..._core.inflight import AT_TAKE
from ..._core.threads import ThreadSession
from ...serializers import pickle
from .names import SqliteNames

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from ..._core.store import Store

_SET = "Override __setitem__, update and setdefault."
_READ = "Override __getitem__, __contains__, keys, values and items."


class DictNames(SqliteNames):
    """Names of queues that a dict in an SQLite database has, too; it has no order to take from."""

    _TABLE_NAME = "dict"
    _KEY_COLUMN = "key"
    _HOOKS: ClassVar = {
        **{name: advice for name, advice in SqliteNames._HOOKS.items() if "ack" not in name},
        "_select": _READ,
        "_insert_into": _SET,
        "_update": _SET,
        "_delete": "Override __delitem__, pop, popitem and clear.",
        "_count": "Override __len__.",
    }
    auto_commit = True

    _set_up: Any
    _pairs: Any

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        multithreading: bool = False,
        timeout: float = 10.0,
        auto_commit: bool = True,  # noqa: ARG002 - always true
        serializer: Any = pickle,
        db_file_name: str | None = None,
        *,
        durability: str = "power",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        """Open a dict with the arguments of a queue, as subclasses for persist-queue do."""
        self._check_hooks()
        self.multithreading = multithreading
        self.db_file_name = db_file_name or "data.db"
        self._set_up(
            path,
            name,
            timeout=timeout,
            serializer=serializer,
            db_file_name=db_file_name,
            durability=durability,
            max_item_bytes=max_item_bytes,
            makes_directory=True,
        )
        self.memory_sql = self.path == self._MEMORY
        # The session of a dict is never asked for a verb of queues.
        self._session = ThreadSession(cast("Store", self._store), 0, AT_TAKE, self.timeout)
        self._init()

    def qsize(self) -> int:
        """Alias of ``len``."""
        return len(self)  # type: ignore[arg-type]  # a mapping's

    @property
    def size(self) -> int:
        """Alias of ``len``."""
        return self.qsize()

    def empty(self) -> bool:
        """Return whether there is no key."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return False: a dict has no bound."""
        return False

    def task_done(self) -> None:
        """Do nothing: each call is committed when it returns."""

    def get_nowait(self, id: Any = None, raw: bool = False) -> NoReturn:  # noqa: A002
        """Raise TypeError: nothing can be taken without its key."""
        del id, raw
        raise TypeError("a dict has no next item; use get(key), pop(key) or popitem()")

    def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, as dicts of ``id`` (the key) and ``data``."""
        pairs: Iterable[tuple[Any, Any]] = self._pairs()
        return [{"id": key, "data": value} for key, value in pairs]
