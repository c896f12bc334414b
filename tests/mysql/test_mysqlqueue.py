"""What the MySQL classes do beyond the contract: arguments, names, ids, old tables, errors."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_server import PASSWORD, USER, MysqlServer, mysql, where  # noqa: F401
from pages import blocks_of
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import Interrupt, until

from persistqueue import (
    AsyncMySQLAckQueue,
    AsyncMySQLQueue,
    Empty,
    FormatError,
    ItemTooLarge,
    MySQLAckQueue,
    MySQLQueue,
    PersistQueueError,
    QueueClosed,
    QueueCorrupt,
    QueueLocked,
    QueueUnreachable,
    SQLiteAckQueue,
    serializers,
)
from persistqueue.__main__ import main


def asynchronous(kind: Any) -> Callable[..., Any]:
    return lambda *args, **options: BlockingAsyncQueue(run(kind.create(*args, **options)))


PLAIN = {"MySQLQueue": MySQLQueue, "AsyncMySQLQueue": asynchronous(AsyncMySQLQueue)}
ACK = {"MySQLAckQueue": MySQLAckQueue, "AsyncMySQLAckQueue": asynchronous(AsyncMySQLAckQueue)}


@pytest.fixture(params=PLAIN)
def plain(request: pytest.FixtureRequest) -> Any:
    """Opens a queue of each plain class."""
    return PLAIN[request.param]


@pytest.fixture(params=ACK)
def acked(request: pytest.FixtureRequest) -> Any:
    """Opens a queue of each ack class."""
    return ACK[request.param]


@pytest.fixture(params=PLAIN | ACK)
def any_kind(request: pytest.FixtureRequest) -> Any:
    """Opens a queue of each class."""
    return (PLAIN | ACK)[request.param]


def data(q: Any) -> list[Any]:
    return [row["data"] for row in q.queue()]


# -- arguments ----------------------------------------------------------------------


def test_persist_queues_arguments_by_position(plain: Any, where: dict[str, Any]) -> None:
    """host, user, passwd, db_name, name, port, charset, auto_commit, serializer."""
    place = [where[name] for name in ("host", "user", "passwd", "db_name")]
    with plain(*place, "jobs", where["port"], "utf8mb4", True, serializers.json) as q:
        assert 1 == q.put({"a": 1})
        assert "`queue_jobs`" == q._table_name
        assert [*place, "jobs", where["port"], "utf8mb4", True] == [
            q.host, q.user, q.passwd, q.db_name, q.name, q.port, q.charset, q.auto_commit,
        ]  # fmt: skip


def test_the_arguments_of_persist_queues_readme(plain: Any, where: dict[str, Any]) -> None:
    """password, database and table_name, which is the table's whole name."""
    with plain(
        host=where["host"], port=where["port"], user=where["user"], password=where["passwd"],
        database=where["db_name"], table_name="my_queue",
    ) as q:  # fmt: skip
        q.put("a")
        assert "`my_queue`" == q._table_name
    with plain(**where, table_name="my_queue") as q:
        assert "a" == q.get()


@pytest.mark.parametrize(
    ("more", "less", "words"),
    [
        ({"password": "x"}, (), "give 'passwd' or 'password', not both"),
        ({"database": "x"}, (), "give 'db_name' or 'database', not both"),
        ({"name": "x", "table_name": "y"}, (), "give 'name' or 'table_name', not both"),
        ({}, ("passwd",), "'passwd' is missing"),
        ({}, ("db_name",), "'db_name' is missing"),
        ({}, ("host",), "host"),
        ({"port": "3306"}, (), "port"),
        ({"maxsize": 1.5}, (), "maxsize"),
        ({"on_corrupt": "ignore"}, (), "on_corrupt"),
        ({"timeout": -1}, (), "timeout"),
        ({"max_connections": 0}, (), "max_connections"),
        ({"serializer": object()}, (), "dump"),
        ({"charset": "nope"}, (), "charset 'nope'"),
        ({"charset": "utf16"}, (), "charset 'utf16'"),
        ({"charset": "swe7"}, (), "charset 'swe7'"),
        ({"charset": 5}, (), "the charset 5"),
        ({"connect_options": {"charset": "utf16"}}, (), "charset 'utf16'"),
        (
            {"charset": "latin1", "name": "ж"},
            (),
            "queue_ж' cannot be written in the charset 'latin1'",
        ),
        ({"charset": "latin1", "user": "ж"}, (), "'ж' cannot be written in the charset 'latin1'"),
    ],
)
def test_wrong_arguments(
    any_kind: Any,
    where: dict[str, Any],
    more: dict[str, Any],
    less: tuple[str, ...],
    words: str,
) -> None:
    """Each is refused by name, before anything is connected."""
    arguments = {name: value for name, value in where.items() if name not in less} | more
    with pytest.raises((TypeError, ValueError, AttributeError), match=words):
        any_kind(**arguments)


def test_charsets(any_kind: Any, where: dict[str, Any]) -> None:
    """None is the driver's own; one that the driver knows, but not the server, is an error, too."""
    with any_kind(**where, charset=None) as q:
        q.put("ü")
        assert "ü" == q.get()
    with pytest.raises(ValueError, match="use the charset 'utf8mb4'"):
        any_kind(**where, charset="gb18030")


NAMES = ["a.b", "50%", "%s %d %(x)s", "back`quote``", "two words", "ü", "'\"\\", "SELECT", "a" * 58]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(name: str, where: dict[str, Any]) -> None:
    """Whatever the name holds, every statement of both kinds works."""
    with MySQLQueue[str](**where, name=name, maxsize=9) as q:
        ids = q.put_many("abc")
        q.update("B", ids[1])
        assert "B" == q.get(id=ids[1])
        assert ["a", "c"] == data(q)
        assert ["a", "c"] == q.get_many(5)
        q.upgrade()
        q.shrink_disk_usage()
    if len(name) < 55:
        with MySQLAckQueue[str](**where, name=name, keep_acked=1) as a:
            a.put_many("ab")
            a.ack(a.get())
            a.nack(a.get(), to="back")
            assert "b" == a.get()
            assert 0 == a.clear_acked_data(keep_latest=1)


@pytest.mark.parametrize("name", ["a" * 59, "🎉", "a\0b", "end ", "\ud800"])
def test_names_that_mysql_cannot_have(name: str, where: dict[str, Any]) -> None:
    """A clear error, before anything is connected."""
    with pytest.raises(ValueError, match="a table's name"):
        MySQLQueue(**where, name=name)


def test_64_characters(where: dict[str, Any]) -> None:
    """The longest name of a table has 64 characters, with what stands before the queue's."""
    with MySQLQueue[str](**where, table_name="x" * 64, on_corrupt="skip") as q:
        q.put("a")
        assert "a" == q.get()


# -- methods ------------------------------------------------------------------------


def test_ids_raw_update_and_queue(plain: Any, where: dict[str, Any]) -> None:
    """What persist-queue's users know, and what it returned."""
    with plain(**where) as q:
        assert [1, 2, 3] == [q.put("val1"), q.put("val2"), q.put(None)]
        assert "val2" == q.get(id=2)
        with pytest.raises(Empty):
            q.get(id=2)
        assert 1 == q.update("new", 1)
        raw = q.get(raw=True)
        assert {"pqid": 1, "data": "new"} == {key: raw[key] for key in ("pqid", "data")}
        assert abs(time.time() - raw["timestamp"]) < 60
        assert [{"id": 3, "data": None}] == [
            {key: row[key] for key in ("id", "data")} for row in q.queue()
        ]
        assert q.get() is None
        assert 17 == q.update("nobody's", 17)
        assert q.empty()


def test_ids_of_many(plain: Any, where: dict[str, Any]) -> None:
    """put_many returns each row's own id, also of more rows than one statement takes."""
    with plain(**where) as q:
        ids = q.put_many(range(1200))
        assert list(zip(ids, range(1200), strict=True)) == [
            (row["id"], row["data"]) for row in q.queue()
        ]


def test_ids_that_count_by_more_than_one(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """The same on a server that is one of several, whose ids go in steps."""
    mysql.run("SET GLOBAL auto_increment_increment = 7, GLOBAL auto_increment_offset = 3")
    try:
        with MySQLQueue[int](**where) as q:
            q.put(0)
            ids = [*q.put_many(range(700)), q.put(700)]
            assert ids == [row["id"] for row in q.queue()][1:]
    finally:
        mysql.run("SET GLOBAL auto_increment_increment = 1, GLOBAL auto_increment_offset = 1")


def test_pooled_connections(plain: Any, where: dict[str, Any]) -> None:
    """A connection of the pool runs one's own statements, and is given back."""
    with plain(**where, max_connections=1) as q:
        q.put("a")
        for _ in range(3):
            connection = q.get_pooled_conn()
            cursor = connection.cursor()
            cursor.execute(f"SELECT COUNT(*) FROM {q._table_name}")
            assert (1,) == cursor.fetchone()
            connection.close()
    with pytest.raises(QueueClosed):
        q.get_pooled_conn()


def test_a_pool_whose_connections_are_all_out(where: dict[str, Any]) -> None:
    """Whoever wants one more waits; the queue does not."""

    async def main() -> None:
        async with AsyncMySQLQueue[str](**where, max_connections=1) as q:
            first = await q.get_pooled_conn()
            second = asyncio.create_task(q.get_pooled_conn())
            for item in "abc":
                await asyncio.wait_for(q.put(item), 10)
            assert ["a", "b", "c"] == [row["data"] for row in await q.queue()]
            assert not second.done()
            first.close()
            (await second).close()

    asyncio.run(main())
    with MySQLQueue[str](**where, max_connections=1) as q:
        first = q.get_pooled_conn()
        assert ["a", "b", "c"] == data(q)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(q.get_pooled_conn)
            assert "a" == q.get()
            assert not second.done()
            first.close()
            second.result(10).close()


def nothing(get: Any, **options: Any) -> Any:
    with pytest.raises(Empty) as caught:
        get(**options)
    return caught.value


CALLS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda q: None,
    "put": lambda q: q.put("b"),
    "get": lambda q: q.get(),
    "get of nothing": lambda q: (q.get(), nothing(q.get_nowait)),
    "peek": lambda q: q.peek(),
    "qsize": lambda q: q.qsize(),
    "queue": lambda q: q.queue(),
    "update": lambda q: q.update("A", 1),
    "task_done": lambda q: (q.get(), q.task_done()),
    "get by id": lambda q: nothing(q.get, id=99),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("options", [{}, {"auto_commit": False}], ids=["at once", "late"])
def test_an_idle_queue_holds_no_lock_on_its_table(
    call: str,
    options: dict[str, Any],
    where: dict[str, Any],
) -> None:
    """persist-queue's tests drop the table while the queue is open: that does not hang."""
    with MySQLQueue[str](**where, **options) as q:
        q.put("a")
        CALLS[call](q)
        connection = q.get_pooled_conn()
        connection.cursor().execute("SET SESSION lock_wait_timeout = 3")
        connection.cursor().execute(f"drop table if exists {q._table_name}")
        connection.commit()
        connection.close()
        with pytest.raises(QueueCorrupt, match="the table was dropped or altered while in use"):
            q.put("b")


@pytest.mark.parametrize("name", ["cbor2", "json", "msgpack", "pickle"])
def test_serializers(plain: Any, name: str, where: dict[str, Any]) -> None:
    """Each stores what it can, None and text beyond U+FFFF included."""
    items = [None, 0, "ü🎉\0'\"\\%s", {"n": {"m": None}}, "x" * 100_000]
    with plain(**where, serializer=getattr(serializers, name)) as q:
        q.put_many(items)
        for item in items:
            q.put(item)
        assert items + items == q.get_many(99)


def test_every_byte(where: dict[str, Any]) -> None:
    """Bytes are stored as they are, by every statement that carries them."""
    item = bytes(range(256)) * 3
    with MySQLQueue[bytes](**where) as q:
        number = q.put(item)
        q.put_many([item, item])
        q.update(item, number)
        with pytest.raises(Interrupt), q.process():
            raise Interrupt
        assert [item] * 3 == q.get_many(9)


def test_acks(acked: Any, where: dict[str, Any]) -> None:
    """Statuses and their numbers, and what is kept."""
    with acked(**where, keep_acked=2) as q:
        q.put_many(range(9))
        items = q.get_many(6)
        for item in items[:3]:
            assert item + 1 == q.ack(item)
        q.ack_failed(items[3])
        q.nack(items[4])
        assert [4, 1, 1, 2, 1] == [
            q.size, q.unack_count(), q.ready_count(), q.acked_count(), q.ack_failed_count(),
        ]  # fmt: skip
        assert 4 == q.get()
        assert None is q.ack(99)
        q.resume_unack_tasks()
        assert 3 == q.clear_acked_data(keep_latest=0, clear_ack_failed=True)
        assert [4, 5, 6, 7, 8] == q.get_many(9)


def test_what_somebody_else_holds_now(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """Who counts as dead and comes back late finishes nothing of another worker's."""
    with MySQLAckQueue[str](**where) as q:
        q.put_many("ab")
        late = q.get_many(2)
        mysql.run(f"KILL {q._store.conn.driver.thread_id()}")
        mysql.minute_later(where["db_name"])
        with MySQLAckQueue[str](**where) as heir:
            held = heir.get_many(2)
            assert held == ["a", "b"]
            assert q.ack(late[0]) is None
            assert 2 == heir.unack_count()
            assert [1, 2] == [heir.ack(item) for item in held]
            assert (2, 0) == (heir.acked_count(), heir.unack_count())


def test_an_ack_is_one_statement(acked: Any, where: dict[str, Any]) -> None:
    """A trip to the server for the ack, and one for the commit that others may share."""
    with acked(**where) as q:
        q.put_many("abc")
        for finish in (q.ack, q.nack, q.ack_failed):
            item = q.get()
            connection = q._store.conn.driver
            before = asked(connection)
            finish(item)
            assert 2 + 2 == asked(connection) - before  # the commit is two, in one trip


def asked(connection: Any) -> int:
    """Return how many statements a connection has sent, without those that ask for this."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])


def test_what_a_dead_worker_held(acked: Any, where: dict[str, Any]) -> None:
    """It is handed out again to who is opened next; a living one keeps its own."""
    alive, dead = MySQLAckQueue[str](**where), MySQLAckQueue[str](**where)
    alive.put_many("ab")
    assert ["a", "b"] == [alive.get(), dead.get()]
    dead.close()
    with acked(**where) as q:
        assert "b" == q.get()
        assert q.empty()
    assert 1 == alive.ack("a")
    alive.close()


def test_damage(any_kind: Any, mysql: MysqlServer, where: dict[str, Any]) -> None:
    """A row that cannot be decoded is named, and stays until it is skipped."""
    with any_kind(**where) as q:
        q.put_many("ab")
        table = q._table_name
        mysql.run(f"UPDATE {table} SET data = 'x' WHERE _id = 1", database=where["db_name"])
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match=r"queue_sql, record 1: .*on_corrupt"):
                q.get(timeout=1)
    with any_kind(**where, on_corrupt="skip") as q:
        assert "b" == q.get()
        assert 1 == q.skipped
    aside = table.replace("`", "`corrupt:", 1)
    assert [(1, b"x")] == [
        row[:2] for row in mysql.run(f"SELECT * FROM {aside}", database=where["db_name"])
    ]


def test_what_the_documentation_shows(where: dict[str, Any], capsys: Any) -> None:
    """The examples of docs/mysql.rst work; only where the server is, is another."""
    page = Path(__file__).parents[2] / "docs" / "mysql.rst"
    sync, coroutine = (
        block.code.replace('host="db", user="worker", passwd="...", db_name="work"', "**where")
        for block in blocks_of(page)
    )
    exec(sync, {"where": where})
    names: dict[str, Any] = {"where": where, "AsyncMySQLQueue": AsyncMySQLQueue}
    exec("async def main():\n" + indent(coroutine, "    "), names)
    asyncio.run(names["main"]())
    assert "{'n': 1}\n" * 2 == capsys.readouterr().out


# -- where a get begins to look -----------------------------------------------------


def test_gets_stay_quick_beside_an_old_snapshot(
    any_kind: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """While a dump runs, the server keeps what was taken; nobody steps over all of it each time."""
    with any_kind(**where) as q, closing(mysql.connect(where["db_name"])) as dump:
        q.put_many(range(8000))
        dump.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        dump.cursor().execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        dump.cursor().execute(f"SELECT COUNT(*) FROM {q._table_name}")
        first = sorted(pages_read(mysql, q.get) for _ in range(15))[7]
        for _ in range(15):
            q.get_many(500)
        # The least: the server may be clearing up behind another test.
        assert min(pages_read(mysql, q.get) for _ in range(15)) <= first


def pages_read(mysql: MysqlServer, call: Callable[[], Any]) -> int:
    """Return how many pages the server looks at for a call."""
    ask = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_read_requests'"
    before = int(mysql.run(ask)[0][1])
    call()
    return int(mysql.run(ask)[0][1]) - before


def test_an_ack_table_gets_what_it_lacks(
    acked: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """The columns and indexes of this version, on a table that has neither."""
    create = CREATE_OLD.replace("`queue_sql`", "ack_queue_sql").replace(")", ", status INTEGER)")
    mysql.run(create, database=where["db_name"])
    for _ in range(2):
        with acked(**where) as q:
            q.put("a")
            assert "a" == q.get()
            assert q.ack("a")
    ((_, found),) = mysql.run("SHOW CREATE TABLE ack_queue_sql", database=where["db_name"])
    assert ["waiting", "held"] == re.findall(r" KEY `(\w+)`", found)


def test_a_table_that_does_not_count_hand_outs(
    acked: Any, mysql: MysqlServer, where: dict[str, Any], tmp_path: Path
) -> None:
    """A command copies it as it is; an object adds the columns, and what is in it counts from 0."""
    with acked(**where) as q:
        q.put_many(["item", "held"])
        q.ack(q.get())
    for column in ("takes", "attempts", "note"):
        mysql.run(f"ALTER TABLE ack_queue_sql DROP COLUMN {column}", database=where["db_name"])
    url = f"mysql://{where['user']}:{where['passwd']}@127.0.0.1:{where['port']}/{where['db_name']}"
    copy = tmp_path / "copy.db"
    assert 0 == main(["copy", f"{url}?ssl_disabled=1&name=sql", f"sqlite:{copy}?name=q"])
    with SQLiteAckQueue(copy, name="q") as q:
        assert ["held"] == q.get_many(9)
    ((_, found),) = mysql.run("SHOW CREATE TABLE ack_queue_sql", database=where["db_name"])
    assert "takes" not in found
    with acked(**where) as q:
        expected = [(5, 0, 0, None), (0, 0, 0, None)]
        keys = ("status", "takes", "attempts", "note")
        assert expected == [tuple(row[key] for key in keys) for row in q.queue()]
        assert 1 == q.get(raw=True)["takes"]


def test_what_an_object_puts_back_comes_next(acked: Any, where: dict[str, Any]) -> None:
    """However it does so, and whatever it has taken behind it meanwhile."""
    with acked(**where) as q:
        ids = q.put_many(range(12))
        assert list(range(6)) == q.get_many(6)
        assert q.nack(4)
        assert 4 == q.get()
        assert q.nack_many([1, 3])
        assert [1, 3] == q.get_many(2)
        assert q.nack(id=ids[2])
        assert 2 == fail_in_a_block(q)
        assert [2, 6] == q.get_many(2)
        assert 9 == q.get(id=ids[9])
        assert 7 == q.get()
        q.resume_unack_tasks(force=True)
        assert list(range(12)) == q.get_many(99)


def test_what_was_given_back_comes_next(plain: Any, where: dict[str, Any]) -> None:
    """Behind a block that failed, a queue without acks is as it was."""
    with plain(**where) as q:
        q.put_many("abc")
        assert "a" == q.get()
        assert ["b", "b"] == [fail_in_a_block(q), fail_in_a_block(q)]
        assert ["b", "c"] == q.get_many(9)


def test_what_was_held_back_comes_next_afterwards(any_kind: Any, where: dict[str, Any]) -> None:
    """While working on it may not be tried again, others come; then it is in front of them."""
    with any_kind(**where) as q:
        q.put(0)
        assert [0] * 3 == [fail_in_a_block(q, ValueError) for _ in range(3)]
        q.put_many([1, 2, 3, 4])
        assert [1, 2] == [q.get(), q.get()]
        time.sleep(0.41)
        assert [0, 3] == q.get_many(2)


def fail_in_a_block(q: Any, error: type[BaseException] = Interrupt) -> Any:
    """Return the item of a block that is left; only for an ``Exception`` it is held back."""
    with pytest.raises(error), q.process() as item:
        raise error
    return item


def test_what_was_deleted_meanwhile_is_given_back_to_nobody(
    plain: Any, mysql: MysqlServer, where: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Another program deleted the row, and then the connection was replaced."""
    with plain(**where, auto_commit=False) as q:
        q.put_many("ab")
        with pytest.raises(ZeroDivisionError), q.process() as item:  # noqa: PT012
            assert "a" == item
            mysql.run("DELETE FROM queue_sql WHERE _id = 1", database=where["db_name"])
            mysql.run(f"KILL {q._store.conn.driver.thread_id()}")
            assert 1 == q.qsize()
            1 / 0  # noqa: B018
        assert "b" == q.get()
    assert "could not" not in caplog.text


def test_a_get_reads_no_more_than_it_hands_out(plain: Any, where: dict[str, Any]) -> None:
    """Nothing that was read ahead could be used by the next call, so nothing is."""
    with plain(**where, auto_commit=False) as q:
        q.put_many(range(300))
        for number in range(20):
            before = read_by(q._store.conn.driver)
            assert number == q.get()
            assert read_by(q._store.conn.driver) - before < 60


def read_by(connection: Any) -> int:
    """Return how many rows a connection has read."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read_next'")
        return int(cursor.fetchone()[1])


LATE = {f"{name}, late": partial(kind, auto_commit=False) for name, kind in PLAIN.items()}


@pytest.mark.parametrize("kind", [*PLAIN, *ACK, *LATE])
def test_a_put_that_is_committed_late_is_found(
    kind: str, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """Its row stands before those that were taken meanwhile: at once where nothing else waits."""
    late = "INSERT INTO {} (data, timestamp{}) VALUES ('\"late\"', 1{})"
    with (
        closing(mysql.connect(where["db_name"])) as other,
        (PLAIN | ACK | LATE)[kind](**where, serializer=serializers.json) as q,
    ):
        more = (", status", ", 0") if hasattr(q, "ack") else ("", "")
        late = late.format(q._table_name, *more)
        q.put("a")
        other.begin()
        other.cursor().execute(late)
        q.put("b")
        assert ["a", "b"] == q.get_many(2)
        other.commit()
        assert "late" == q.get(timeout=5)
        other.begin()
        other.cursor().execute(late)
        q.put_many(range(5000))
        assert 0 == q.get()
        other.commit()
        until(lambda: "late" == q.get(timeout=5))
        assert q.qsize()


# -- old tables ---------------------------------------------------------------------

# persist-queue 1.1.0's own.
CREATE_OLD = (
    "CREATE TABLE IF NOT EXISTS `queue_sql` (_id INTEGER PRIMARY KEY AUTO_INCREMENT, "
    "data BLOB, timestamp FLOAT)"
)
FITS, TOO_BIG = b"x" * 60_000, b"x" * 70_000


@pytest.fixture
def old(mysql: MysqlServer, where: dict[str, Any]) -> dict[str, Any]:
    """Where a table of persist-queue 1.1.0 is."""
    mysql.run(CREATE_OLD, database=where["db_name"])
    return where


def test_an_old_table_works_as_it_is(plain: Any, old: dict[str, Any], mysql: MysqlServer) -> None:
    """Nothing of it is changed, and what is too big is told before anything is written."""
    before = mysql.run("SHOW CREATE TABLE queue_sql", database=old["db_name"])
    with plain(**old) as q:
        number = q.put(FITS)
        q.put("b")
        calls: list[Callable[[], Any]] = [
            lambda: q.put(TOO_BIG),
            lambda: q.put_many(["c", TOO_BIG, "d"]),
            lambda: q.update(TOO_BIG, number),
        ]
        for call in calls:
            with pytest.raises(ItemTooLarge, match=r"nothing was stored \(upgrade\(\)"):
                call()
        assert [FITS, "b"] == data(q)
        after = mysql.run("SHOW CREATE TABLE queue_sql", database=old["db_name"])
        assert before[0][1].split(") ENGINE")[0] == after[0][1].split(") ENGINE")[0]
        q.upgrade()
        q.put(TOO_BIG)
        q.update(TOO_BIG, number)
        assert [TOO_BIG, "b", TOO_BIG] == q.get_many(9)
        created = mysql.run("SHOW CREATE TABLE queue_sql", database=old["db_name"])[0][1]
        assert "longblob" in created and "double" in created  # noqa: PT018


def test_more_than_two_thousand_million_ids(
    old: dict[str, Any], mysql: MysqlServer, plain: Any
) -> None:
    """A new table does not run out of ids, nor does an old one that was widened."""
    with plain(**old) as q, plain(**old, name="new") as new:
        q.upgrade()
        for each, table in ((q, "queue_sql"), (new, "queue_new")):
            mysql.run(f"ALTER TABLE {table} AUTO_INCREMENT = {2**31}", database=old["db_name"])
            assert [2**31, 2**31 + 1] == [each.put("a"), each.put("b")]
            assert "b" == each.get(id=2**31 + 1)


def test_widening_takes_as_long_as_it_takes(
    plain: Any, old: dict[str, Any], mysql: MysqlServer
) -> None:
    """It does not fail because the server says nothing for longer than any other answer takes."""
    old["connect_options"] = {**old["connect_options"], "read_timeout": 2.0}
    with plain(**old) as q, closing(mysql.connect(old["db_name"])) as other:
        other.begin()
        other.cursor().execute("SELECT * FROM queue_sql")  # nobody can alter it now
        with ThreadPoolExecutor(1) as pool:
            upgrade = pool.submit(q.upgrade)
            other.cursor().execute("SELECT SLEEP(3)")
            assert not upgrade.done()
            other.rollback()
            upgrade.result(10)
        q.put(TOO_BIG)


def test_only_the_culprit_fails(old: dict[str, Any]) -> None:
    """Among puts that share a commit, those that fit are stored, once."""

    async def main() -> None:
        async with AsyncMySQLQueue[Any](**old) as q:
            items = [TOO_BIG if n % 10 == 5 else n for n in range(40)]
            outcomes = await asyncio.gather(*map(q.put, items), return_exceptions=True)
            assert [n % 10 == 5 for n in range(40)] == [
                isinstance(outcome, ItemTooLarge) for outcome in outcomes
            ]
            assert [n for n in range(40) if n % 10 != 5] == sorted(
                row["data"] for row in await q.queue()
            )

    asyncio.run(main())


def test_beyond_max_allowed_packet(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """An item that no statement can carry is told so, and what it would fit in as it is passes."""
    (packet,) = mysql.run("SELECT @@max_allowed_packet")[0]
    size = packet * 45 // 100  # the driver may write two characters for a byte
    with MySQLQueue[bytes](**where) as q:
        for item in (b"x" * packet, b"'" * (packet // 2 + 1)):
            with pytest.raises(
                ItemTooLarge, match=r"nothing was stored .raise .*max_allowed_packet"
            ):
                q.put(item)
        q.put_many([b"'" * size] * 2)
        assert [size] * 2 == [len(item) for item in q.get_many(9)]


_THEIRS = """
import ast, json, sys
import persistqueue
from persistqueue.mysqlqueue import MySQLQueue
where, items, count = json.loads(sys.argv[1]), ast.literal_eval(sys.argv[2]), int(sys.argv[3])
q = MySQLQueue(**where)
ids = [q.put(item) for item in items]
print(ascii((ids, [q.get(block=False) for _ in range(count)], q.size)))
"""


def test_taking_turns_with_persist_queue(
    upstream: Upstream, where: dict[str, Any], plain: Any
) -> None:
    """Each puts and takes what the other left, whoever made the table."""
    import json

    for name in ("theirs.first", "ours.first"):
        there = json.dumps({**where, "name": name, "connect_options": None})
        there = there.replace(', "connect_options": null', "")

        def theirs(items: list[Any], count: int, there: str = there) -> Any:
            done = upstream.run(_THEIRS, there, ascii(items), count)
            assert done.returncode == 0, done.stderr
            return ast.literal_eval(done.stdout)

        if name == "theirs.first":
            assert ([1], [], 1) == theirs(["t0"], 0)
        with plain(**where, name=name) as q:
            if name == "ours.first":
                q.put("t0")
            q.put_many([{"n": 1}, None])
            assert ([4], ["t0"], 3) == theirs(["ü🎉"], 1)
            assert 3 == q.qsize()
            assert [{"n": 1}, None] == q.get_many(2)
            q.put("last")
            assert ([], ["ü🎉", "last"], 0) == theirs([], 2)
            assert q.empty()


# -- what is in the way -------------------------------------------------------------


def test_a_closed_port(any_kind: Any, where: dict[str, Any]) -> None:
    """Nobody listens: told at once, and nothing was stored."""
    from socket import create_server

    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(QueueUnreachable, match="cannot be reached") as caught:
        any_kind(**{**where, "port": port})
    assert caught.value.stored is False
    assert time.monotonic() - began < 5, "the timeout is 10"


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"passwd": "wrong"}, PermissionError, "refuses"),
        ({"user": "nobody"}, PermissionError, "refuses"),
        ({"db_name": "no_such"}, FormatError, "no database 'no_such': create it first"),
        ({"host": "name.invalid"}, QueueUnreachable, "cannot be reached"),
    ],
)
def test_refused(
    any_kind: Any,
    where: dict[str, Any],
    change: dict[str, Any],
    kind: Any,
    words: str,
) -> None:
    """Each is told as what it is."""
    with pytest.raises(kind, match=words):
        any_kind(**{**where, **change})


def test_a_user_who_may_only_read(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """PermissionError, at the opening."""
    mysql.run("CREATE OR REPLACE USER reader@'%' IDENTIFIED BY 'x'")
    mysql.run(f"GRANT SELECT ON {where['db_name']}.* TO reader@'%'")
    with MySQLQueue[str](**where) as q:
        q.put("a")
    with pytest.raises(PermissionError, match="refuses"):
        MySQLQueue(**{**where, "user": "reader", "passwd": "x"})


def test_a_server_that_may_only_read(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """PermissionError, at the put; nothing is stored, and the queue goes on afterwards."""
    mysql.run("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'x'")
    mysql.run(f"GRANT ALL ON {where['db_name']}.* TO plain@'%'")
    with MySQLQueue[str](**{**where, "user": "plain", "passwd": "x"}) as q:
        mysql.run("SET GLOBAL read_only = 1")
        try:
            with pytest.raises(PermissionError, match="read-only"):
                q.put("a")
        finally:
            mysql.run("SET GLOBAL read_only = 0")
        q.put("b")
        assert ["b"] == data(q)


TABLES = {
    "CREATE TABLE queue_sql (name TEXT)": "has the columns name; this version knows _id, data",
    f"{CREATE_OLD} ENGINE=MyISAM": "is kept by MyISAM.*ALTER TABLE `queue_sql` ENGINE=InnoDB",
    "CREATE VIEW queue_sql AS SELECT 1 AS _id, 'a' AS data, 1.5 AS timestamp": "a view",
    "CREATE TABLE queue_sql (_id INTEGER PRIMARY KEY AUTO_INCREMENT, data TEXT, timestamp FLOAT)":
        "holds text, not bytes",
}  # fmt: skip


@pytest.mark.parametrize("create", TABLES)
def test_somebody_elses_table(
    create: str, plain: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """What is something else is refused, and not touched."""
    mysql.run(create, database=where["db_name"])
    before = mysql.run("SHOW CREATE TABLE queue_sql", database=where["db_name"])
    with pytest.raises(FormatError, match=TABLES[create]):
        plain(**where)
    assert before == mysql.run("SHOW CREATE TABLE queue_sql", database=where["db_name"])


def test_an_exhausted_timeout_for_a_lock(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """A lock that somebody holds: an error of ours after the timeout, and the queue goes on."""
    with MySQLQueue[str](**where, timeout=1) as q:
        number = q.put("a")
        with closing(mysql.connect(where["db_name"])) as other:
            other.begin()
            other.cursor().execute("UPDATE queue_sql SET data = 'x' WHERE _id = 1")
            with pytest.raises(PersistQueueError, match="held a lock for too long; nothing was"):
                q.update("b", number)
            q.put("c")
            assert "c" == q.get()  # passes by what is locked
            other.rollback()
        assert ["a"] == data(q)


def test_an_exhausted_timeout_for_a_table(mysql: MysqlServer, where: dict[str, Any]) -> None:
    """Who alters a table, or locks it, keeps nobody waiting beyond his timeout."""
    with MySQLQueue[str](**where, timeout=1) as q:
        q.put("a")
        with closing(mysql.connect(where["db_name"])) as other:
            other.cursor().execute("LOCK TABLES queue_sql WRITE")
            with ThreadPoolExecutor(1) as pool:
                put = pool.submit(q.put, "b")
                try:
                    with pytest.raises(QueueLocked, match="held a lock for too long"):
                        put.result(20)
                finally:
                    other.cursor().execute("UNLOCK TABLES")
        q.put("c")
        assert ["a", "c"] == data(q)


def test_many_pass_by_what_others_have_locked(
    any_kind: Any, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """A get_many waits for nobody, however small the table is."""
    with any_kind(**where, timeout=1) as q:
        ids = q.put_many(range(10))
        with closing(mysql.connect(where["db_name"])) as other:
            other.begin()
            row = (
                f"INSERT INTO {q._table_name} (_id, data, timestamp) VALUES ({ids[-1] + 5}, '', 1)"
            )
            other.cursor().execute(row)
            other.cursor().execute(f"UPDATE {q._table_name} SET timestamp = 1 WHERE _id = 3")
            assert [0, 1, 3, 4, 5] == q.get_many(5)
            assert [6, 7, 8, 9] == q.get_many(99)


def test_a_commit_that_power_may_undo(
    mysql: MysqlServer,
    where: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """durability says what the server is set to, and a warning says so, too."""
    with MySQLQueue[str](**where) as q:
        assert "power" == q.durability
    mysql.run("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        with caplog.at_level(logging.WARNING), MySQLQueue[str](**where) as q:
            assert "process" == q.durability
            assert "innodb_flush_log_at_trx_commit" in caplog.text
            q.put("a")
            q.sync()
    finally:
        mysql.run("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
