"""The object that a function gets which runs inside one transaction (``transact``)."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from .._core.arguments import whole
from .names import message_ids, queue_name, which_to_move

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from .._core.codec import RowCodec
    from .store import BrokerStore

# What would end the transaction, or cannot run in one.
_REFUSED = frozenset(
    {"begin", "commit", "end", "rollback", "savepoint", "release", "vacuum", "attach", "detach"}
)
# What looks; any other PRAGMA may be a setting, of the connection that all calls share.
_LOOKS = frozenset(
    {
        "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo",
        "table_info", "table_list", "table_xinfo",
    }
)  # fmt: skip
_GAP = r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*"
_FIRST_WORD = re.compile(
    rf"{_GAP}(?:explain\b{_GAP}(?:query\b{_GAP}plan\b{_GAP})?)?(\w*)", re.DOTALL | re.IGNORECASE
)
_PRAGMA = re.compile(rf"{_GAP}(?:\w+{_GAP}\.{_GAP})?(\w*)", re.DOTALL)


class Exited(Exception):
    """A function left a transaction by ``SystemExit``, say: the error of its caller alone."""


class Transaction:
    """The queues of a broker, and the tables beside them, inside one transaction.

    It is committed when the function returns, and undone when it raises.
    """

    def __init__(self, store: BrokerStore, codec: RowCodec) -> None:
        self._store = store
        self._codec = codec
        self._over = False

    def queue(self, name: str) -> TransactionQueue:
        """Return a queue, which exists from its first item on."""
        self._usable()
        return TransactionQueue(self, name)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run an SQL statement on the broker's database.

        Args:
            statement: one statement, with ``?`` where values go.
            values: one for each.

        Returns:
            every row that it gives.

        Raises:
            ValueError: it would begin or end a transaction, or change a setting.
            PersistQueueError, OSError: SQLite refuses it; says why.
        """
        store = self._usable()
        _check(statement)
        return store.rows_of_others(statement, values)

    def _usable(self) -> BrokerStore:
        if self._over:
            raise RuntimeError("the transaction is over: use it inside the function only")
        return self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        if error is not None and not isinstance(error, (Exception, KeyboardInterrupt)):
            raise Exited(error) from None


class TransactionQueue:
    """One queue, inside a transaction."""

    def __init__(self, tx: Transaction, name: str) -> None:
        self._tx = tx  # its store is asked for each time: it ends with the function
        self.name = queue_name(name)

    def write(self, item: Any) -> int:
        """Store an item and return its id."""
        return self.write_many([item])[0]

    def write_many(self, items: Iterable[Any]) -> list[int]:
        """Store items and return their ids."""
        encode, now = self._tx._codec.encode, time.time()
        records = [(self.name, encode(item), now) for item in items]
        return self._tx._usable().append(records) if records else []

    def read(self) -> Any:
        """Take the next item; None if there is none."""
        records = self._tx._usable().take(self.name, 1)
        return records[0].item if records else None

    def read_many(self, limit: int) -> list[Any]:
        """Take up to ``limit`` items."""
        most = whole("limit", limit, 1)
        return [record.item for record in self._tx._usable().take(self.name, most)]

    def move_to(self, to: str, id: int | None = None, limit: int | None = None) -> list[int]:  # noqa: A002
        """Move one item, or the ``limit`` oldest; returns their ids there."""
        ids, most = which_to_move(self.name, to, id, limit)
        return self._tx._usable().move(self.name, to, ids, most)

    def delete(self, ids: int | Iterable[int]) -> int:
        """Delete items that wait; returns how many there were."""
        return self._tx._usable().delete(self.name, message_ids(ids))

    def purge(self) -> int:
        """Delete everything that waits; returns how many items."""
        return self._tx._usable().purge(self.name)

    def size(self) -> int:
        """Return how many items wait."""
        return self._tx._usable().waiting(self.name)


def _check(statement: str) -> None:
    """Raise ``ValueError`` if a statement has no place in a transaction that others share."""
    found = _FIRST_WORD.match(statement)
    word = found[1].lower() if found else ""
    if word in _REFUSED:
        raise ValueError(
            f"{word.upper()} cannot run inside transact(): the transaction begins before "
            "the function, and ends behind it"
        )
    if found and word == "pragma":
        pragma = _PRAGMA.match(statement, found.end())
        if pragma is None or pragma[1].lower() not in _LOOKS:
            raise ValueError(
                "this PRAGMA cannot run inside transact(): the connection is shared; "
                f"those that look at tables can: {', '.join(sorted(_LOOKS))}"
            )
