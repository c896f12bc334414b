"""The table of a job queue: an ack queue's, with columns behind, and what is said to it.

A row's status is an ack queue's, and ``DELAYED``.  What is left in ``due``, ``owner`` and
``note`` means nothing where the row is ready, so persist-queue's verbs by id reach every row.
"""

from __future__ import annotations

from .statements import (
    ACKED,
    DELAYED,
    FAILED,
    FENCE,
    HELD,
    JOB,
    NEW,
    OVER,
    READY,
    Table,
    identifier,
)

DEAD = FAILED  # persist-queue's name for it: ack_failed
_DEAD = f"{OVER} AND status = {DEAD}"  # as the index has it
WAITING = f"status IN ({NEW}, {READY}, {DELAYED})"  # neither held nor over

# Places in a row that is read.
TAKES, ATTEMPTS, NOTE, PRIORITY, DUE, EXPIRES, MOST, KEY, HEADERS = range(4, 13)
#: What a put stores.
STORED = ("data", "timestamp", "status", "priority", "due", "expires", "most", "key", "headers")
_KEY_AT = STORED.index("key")


class JobTable(Table):
    """One job queue's table."""

    def _write(self) -> None:
        super()._write()
        table, mark = self._in_text(self.quoted), self._MARK
        unfinished = f"status < {ACKED}"
        held = f"_id = {mark} AND {self._ANY_OWNER} AND takes = {mark} AND status = {HELD}"
        free = f"SET status = {READY}, owner = NULL"
        later = f"SET status = {DELAYED}, owner = NULL, due = {mark}, note = {mark}"
        dead = f"SET status = {DEAD}, owner = NULL, expires = NULL, note = {mark}"
        marks = ", ".join([mark] * len(STORED))
        names = ", ".join(STORED)

        self.insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        self.insert_keyed = (
            f"INSERT INTO {table} ({names}) SELECT {marks} WHERE NOT EXISTS"
            f" (SELECT 1 FROM {table} WHERE key = {mark} AND {unfinished})"
        )
        # What becomes of a row that this object holds: its id, owner and number of takes.
        self.done = f"DELETE FROM {table} WHERE {held}"
        self.again = f"UPDATE {table} {free} WHERE {held}"
        self.unspent = f"UPDATE {table} {free}, attempts = attempts - 1 WHERE {held}"
        self.later = f"UPDATE {table} {later} WHERE {held}"
        self.snooze = f"UPDATE {table} {later}, attempts = attempts - 1 WHERE {held}"
        self.bury = f"UPDATE {table} {dead} WHERE {held}"
        kept = f"data, timestamp, {', '.join(JOB)}, {', '.join(FENCE)}"
        self.copy_behind = (
            f"INSERT INTO {table} (status, {kept}) SELECT {READY}, {kept} FROM {table}"
            f" WHERE _id = {mark}"
        )
        # Of a row that waits.
        self.bury_waiting = f"UPDATE {table} {dead} WHERE _id = {mark} AND {WAITING}"
        self.cancel = f"DELETE FROM {table} WHERE _id = {mark} AND {WAITING}"
        self.reschedule = (
            f"UPDATE {table} SET status = {mark}, due = {mark} WHERE _id = {mark} AND {WAITING}"
        )
        # What time brings: so many rows at once that a call takes milliseconds.
        self.promote = (
            f"UPDATE {table} SET status = {READY} WHERE _id IN (SELECT _id FROM {table}"
            f" WHERE status = {DELAYED} AND due <= {mark} ORDER BY due LIMIT {mark})"
        )
        self.expire = (
            f"UPDATE {table} {dead} WHERE _id IN (SELECT _id FROM {table}"
            f" WHERE expires IS NOT NULL AND expires <= {mark} AND {WAITING} LIMIT {mark})"
        )
        self.next_times = (
            f"SELECT (SELECT due FROM {table} WHERE status = {DELAYED} AND due IS NOT NULL"
            f" ORDER BY due LIMIT 1),"
            f" (SELECT expires FROM {table} WHERE expires IS NOT NULL AND {WAITING}"
            " ORDER BY expires LIMIT 1)"
        )
        self.span = ""  # jobs that are ready are not next to each other
        self._write_counts(table, mark)
        self._write_dead(table, mark, unfinished)

    def _write_counts(self, table: str, mark: str) -> None:
        """Write the statements that count; ready are also jobs whose time has come."""
        delayed = f"SELECT COUNT(*) FROM {table} WHERE status = {DELAYED}"
        due = f"{delayed} AND due <= {mark}"
        self.count_jobs = f"SELECT ({self.count}), ({self.count_held}), ({delayed}), ({due})"
        some = f"SELECT 1 FROM {table} WHERE status = {DELAYED}"
        self.some_jobs = (
            f"SELECT ({self.count_some}), ({self.held_some}),"
            f" (SELECT COUNT(*) FROM ({some} LIMIT 1) AS few),"
            f" (SELECT COUNT(*) FROM ({some} AND due <= {mark} LIMIT 64) AS few)"
        )
        self.stats = (
            f"{self.count_jobs}, (SELECT COUNT(*) FROM {table} WHERE {_DEAD}),"
            f" (SELECT MIN(timestamp) FROM {table} WHERE {self._LIVE}),"
            f" (SELECT MIN(timestamp) FROM {table} WHERE status = {DELAYED} AND due <= {mark}),"
            f" (SELECT due FROM {table} WHERE status = {DELAYED} AND due > {mark}"
            " ORDER BY due LIMIT 1)"
        )

    def _write_dead(self, table: str, mark: str, unfinished: str) -> None:
        """Write the statements about dead jobs."""
        self.dead = (
            f"SELECT {self.read} FROM {table} WHERE {_DEAD} AND _id > {mark}"
            f" ORDER BY _id LIMIT {mark}"
        )
        self.dead_ids = f"SELECT _id FROM {table} WHERE {_DEAD} ORDER BY _id"
        self.requeue = (
            f"UPDATE {table} SET status = {READY}, attempts = 0, due = NULL, expires = NULL,"
            f" note = NULL WHERE _id = {mark} AND {_DEAD}"
            f" AND NOT EXISTS (SELECT 1 FROM {table} AS other"
            f" WHERE other.key = {table}.key AND other.{unfinished})"
        )
        self.purge = f"DELETE FROM {table} WHERE {_DEAD} AND timestamp <= {mark}"
        self.prune = (
            f"DELETE FROM {table} WHERE _id IN (SELECT _id FROM {table} WHERE {_DEAD}"
            f" ORDER BY _id DESC LIMIT -1 OFFSET {mark})"
        )

    def _indexes(self, table: str) -> dict[str, str]:
        indexes = super()._indexes(table)
        del indexes[f"index_live:{self.name}"]  # in the order of the puts, which is not a job's
        wanted = {
            "ready": f"(priority, _id) WHERE {self._LIVE}",
            "due": f"(due) WHERE status = {DELAYED}",
            "expires": "(expires) WHERE expires IS NOT NULL",
            "key": f"(key) WHERE key IS NOT NULL AND status < {ACKED}",
        }
        for what, columns in wanted.items():
            name = f"index_{what}:{self.name}"
            indexes[name] = f"CREATE INDEX {identifier(name)} ON {table} {columns}"
        return indexes


def key_of(row: tuple[object, ...]) -> object:
    """Return the key of a row that is put; None without one."""
    return row[_KEY_AT]
