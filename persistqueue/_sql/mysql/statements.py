"""Tables of a MySQL or MariaDB database, as SQL.

Pure: nothing here opens or runs anything.  Rules:

- Tables and their columns are persist-queue's; added columns stand behind them.
- A name is quoted as an identifier.  Values are bound, never pasted.
- Rows that are about to be handed out are locked, and passed by while another consumer has
  locked them, so each goes to one consumer and none waits for another.
- Reads in a transaction that writes lock what they read: nothing else keeps others out.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from ..statements import ACKED, FENCE, HELD, Table

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..statements import Kind

# Of the ack queues: columns behind persist-queue's kind of columns, and indexes.  A row
# that waits has a 1 in ``live``, which keeps a get as quick behind a million acked rows.
_ADDED = {
    "owner": "VARCHAR(64) CHARACTER SET ascii",
    "live": "TINYINT AS (CASE WHEN status < 2 THEN 1 END) VIRTUAL",
    **FENCE,
}
_KEYS = {"waiting": "live, _id", "held": "status, owner"}

LONGEST_NAME = 64  # characters of an identifier
SESSIONS = "persistqueue_sessions"  # who commits: see ``connection``
CREATE_SESSIONS = (
    f"CREATE TABLE IF NOT EXISTS {SESSIONS} (id VARCHAR(64) CHARACTER SET ascii PRIMARY KEY,"
    " number BIGINT NOT NULL,"
    " used TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,"
    " KEY (used)) ENGINE=InnoDB"
)
# Stands between the work of a transaction and its commit, in one trip with it.
COMMIT = (
    f"INSERT INTO {SESSIONS} (id, number) VALUES ('%s', %d)"
    " ON DUPLICATE KEY UPDATE number = %d; COMMIT"
)
COMMITTED = f"SELECT number FROM {SESSIONS} WHERE id = %s FOR UPDATE"
LEAVE = f"DELETE FROM {SESSIONS} WHERE id = %s"
# Whether a session is alive: it has a connection, or was about a moment ago (see ``owners``).
SIGNS = ".2"  # ends the name of a session that has two locks
LINE = ".line"  # ends the name of the second one
SIGN = f"UPDATE {SESSIONS} SET used = CURRENT_TIMESTAMP WHERE id = %s"
LIFE = (
    "SELECT IS_FREE_LOCK(%s), EXISTS (SELECT 1 FROM"
    f" {SESSIONS} WHERE id = %s AND UNIX_TIMESTAMP(used) > UNIX_TIMESTAMP() - %s)"
)
LINE_LIFE = "SELECT IS_FREE_LOCK(%s) AND IS_FREE_LOCK(%s)"
SWEEP = f"DELETE FROM {SESSIONS} WHERE used < NOW() - INTERVAL 30 DAY LIMIT 100"
# Held until the end of the transaction by a put that counts first.
ONE_AT_A_TIME = (
    f"INSERT INTO {SESSIONS} (id, number) VALUES (%s, 0) ON DUPLICATE KEY UPDATE number = 0"
)


def identifier(name: str) -> str:
    """Quote a name for MySQL.

    Raises:
        ValueError: it cannot be one.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(
            f"a table's name has 1 to {LONGEST_NAME} characters, {name[:80]!r} has {len(name)}"
        )
    if name != name.rstrip(" "):
        raise ValueError(f"a table's name cannot end in a space: {name!r}")
    if any(
        not "\0" < character <= "\uffff" or "\ud800" <= character <= "\udfff" for character in name
    ):
        raise ValueError(
            f"a table's name in MySQL cannot hold NUL or a character above U+FFFF: {name!a}"
        )
    return "`" + name.replace("`", "``") + "`"


class MysqlTable(Table):
    """One queue's table, and every statement on it, as MySQL wants it.

    Args:
        kind: of the queue; those that are first-in first-out.
        name: the queue's.
        whole_name: the name is the table's, without what the kind puts before it.
        lacks: added columns that the table has not: it is only read.

    Raises:
        ValueError: no table can have such a name.
    """

    _MARK = "%s"
    _OR_IGNORE = ""  # a row that is there already is an error of its own
    _BY_ID = " FORCE INDEX (PRIMARY)"  # else it may wait for all rows that others have locked
    _LIVE = "live = 1"
    _ANY_OWNER = "owner <=> %s"

    def __init__(
        self, kind: Kind, name: str, *, whole_name: bool = False, lacks: Collection[str] = ()
    ) -> None:
        super().__init__(kind, name, whole_name=whole_name, lacks=lacks)
        self.old = ""  # persist-queue has no async classes for MySQL
        self.added = dict(_ADDED) if kind.ack else {}
        self.keys = _KEYS if kind.ack else {}

    def _write(self) -> None:
        super()._write()
        self.in_text = table = self._in_text(self.quoted)
        if self.kind.ack:  # a server may step over all rows that were acked, or taken, else
            hinted = f"FROM {table} FORCE INDEX (waiting)"
            self.first = self.first.replace(f"FROM {table}", hinted)
            self.after = self.after.replace(f"FROM {table}", hinted)
        self.take_first, self.take_after, self.take_by_id = (
            self._as_taken(select) + " FOR UPDATE SKIP LOCKED"
            for select in (self.first, self.after, self.by_id)
        )
        self.state += " FOR UPDATE"
        self.span = ""  # it may be wide, and costs another trip to the server
        # Puts that count first, one at a time.
        self.turn = f"put:{_short(self.name)}"
        self.held_by = f"SELECT 1 FROM {table} WHERE status = {HELD} AND owner = %s LIMIT 1"
        # The same, and see that the connection holds a lock.
        self.held_and_locked = (
            f"SELECT ({self.held_by}), IF(IS_USED_LOCK(%s) <=> CONNECTION_ID(), 1, GET_LOCK(%s, 0))"
        )
        # A look at the index for each owner: the server would read all rows for all of them.
        self.next_holder = f"SELECT MIN(owner) FROM {table} WHERE status = {HELD} AND owner > %s"
        self.widen = (
            f"ALTER TABLE {table} MODIFY _id BIGINT AUTO_INCREMENT, MODIFY data LONGBLOB,"
            " MODIFY timestamp DOUBLE"
        )
        # Whose answers take long where there is much.
        self.whole = {self.count, self.count_held, self.count_both, self.count_live,
                      self.count_over, self.owners, self.resume,
                      *self.clear.values()}  # fmt: skip
        self.optimize = f"OPTIMIZE TABLE {table}"
        self.create_aside = (
            f"CREATE TABLE IF NOT EXISTS {self._in_text(self._quoted(self.aside))} LIKE {table}"
        )

    def add_column(self, column: str) -> str:
        return f"ALTER TABLE {self.in_text} ADD COLUMN {column} {self.added[column]}"

    def add_key(self, name: str) -> str:
        """Return the statement that adds an index."""
        return f"ALTER TABLE {self.in_text} ADD KEY {name} ({self.keys[name]})"

    @staticmethod
    def _quoted(name: str) -> str:
        return identifier(name)

    @staticmethod
    def _in_text(quoted: str) -> str:
        return quoted.replace("%", "%%")  # which the driver undoes

    @property
    def aside(self) -> str:
        """The table for rows that cannot be decoded."""
        plain = f"corrupt:{self.name}"
        return plain if len(plain) <= LONGEST_NAME else f"corrupt:{_short(self.name)}"

    def _create(self, table: str) -> str:
        columns = ["_id BIGINT PRIMARY KEY AUTO_INCREMENT", "data LONGBLOB", "timestamp DOUBLE"]
        if self.kind.ack:
            columns += ["status INTEGER", *(f"{name} {what}" for name, what in _ADDED.items())]
            columns += [f"KEY {name} ({what})" for name, what in _KEYS.items()]
        return f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}) ENGINE=InnoDB"

    def _indexes(self, table: str) -> dict[str, str]:
        return {}  # they are made with the table

    def _clear(self, table: str, mark: str) -> dict[bool, str]:
        which = {False: f"status = {ACKED}", True: f"status >= {ACKED}"}
        return {
            failed_too: (
                f"DELETE {table} FROM {table} JOIN (SELECT _id FROM {table} WHERE {condition}"
                f" ORDER BY _id DESC LIMIT {mark} OFFSET {mark}) AS old USING (_id)"
            )
            for failed_too, condition in which.items()
        }


def _short(name: str) -> str:
    """Return what stands for a name where it would be too long."""
    return sha256(name.encode()).hexdigest()[:40]
