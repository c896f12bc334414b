"""SimpleBroker's document on async use: its examples run, only the import line is changed.

Names that they leave open (``process``, ``broker``) are filled in, and endless loops end.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from loops import eventually, in_loop

from persistqueue import Broker, FormatError, QueueClosed
from persistqueue.compat.simplebroker import (
    AsyncBroker,
    AsyncBrokerCore,
    AsyncQueue,
    PooledAsyncSQLiteRunner,
    Queue,
    async_broker,
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples name relative paths."""
    monkeypatch.chdir(tmp_path)


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        # Create broker with connection pool
        async with async_broker("myqueue.db", pool_size=10) as broker:
            queue = AsyncQueue("tasks", broker)

            # Write messages
            await queue.write("Task 1")
            await queue.write("Task 2")

            # Read messages
            while msg := await queue.read():
                print(f"Processing: {msg}")

    asyncio.run(main())
    assert "Processing: Task 1\nProcessing: Task 2\n" == capsys.readouterr().out


@in_loop
async def test_high_level_queue_interface() -> None:
    seen = []
    process = seen.append
    async with async_broker("myqueue.db") as broker:
        queue = AsyncQueue("my_queue", broker)
        await queue.write("message")
        msg = await queue.read()
        await queue.write("again")
        async for again in queue.stream():
            process(again)
    assert ("message", ["again"]) == (msg, seen)


@in_loop
async def test_basic_worker_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    async def process_message(msg: str) -> None:
        done.append(msg)

    async def worker(queue: AsyncQueue, worker_id: int) -> None:
        while True:
            msg = await queue.read()
            if msg is None:
                await asyncio.sleep(0.1)
                continue

            # Process message
            print(f"Worker {worker_id}: {msg}")
            await process_message(msg)

    async with async_broker("myqueue.db") as broker:
        queue = AsyncQueue("tasks", broker)
        for number in range(20):
            await queue.write(str(number))

        # Run multiple workers
        workers = [worker(queue, i) for i in range(5)]
        running = asyncio.gather(*workers)
        await eventually(lambda: len(done) == 20)
        running.cancel()
        await asyncio.wait([running])
    assert sorted(map(str, range(20))) == sorted(done)


@in_loop
async def test_batch_processing_with_error_handling() -> None:
    """Writing to a dead letter queue inside a batch, which the original refuses."""

    class ProcessingError(Exception): ...

    async def process(msg: str) -> None:
        if int(msg) % 10 == 3:
            raise ProcessingError

    async with async_broker("myqueue.db") as broker:
        queue, dlq = AsyncQueue("tasks", broker), AsyncQueue("dlq", broker)
        for number in range(120):
            await queue.write(str(number))
        # Process with at-least-once delivery
        async for msg in queue.stream(commit_interval=50):
            try:
                await process(msg)
            except ProcessingError:
                await dlq.write(f"FAILED:{msg}")
            # Messages committed in batches of 50
        assert (0, 12) == (await queue.size(), await dlq.size())
        assert "FAILED:3" == await dlq.read(peek=True)


@in_loop
async def test_priority_queues() -> None:
    order: list[str] = []

    async def process_any(msg: str) -> None:
        order.append(msg)

    process_high = process_medium = process_low = process_any
    async with async_broker("myqueue.db") as broker:
        high = AsyncQueue("high_priority", broker)
        medium = AsyncQueue("medium_priority", broker)
        low = AsyncQueue("low_priority", broker)
        for name in ("low", "medium", "high"):
            await {"low": low, "medium": medium, "high": high}[name].write(name)

        # Process by priority
        while len(order) < 3:
            if msg := await high.read():
                await process_high(msg)
            elif msg := await medium.read():
                await process_medium(msg)
            elif msg := await low.read():
                await process_low(msg)
            else:
                await asyncio.sleep(0.1)
    assert ["high", "medium", "low"] == order


@in_loop
async def test_resilient_worker() -> None:
    class ProcessingError(Exception): ...

    async def process(msg: str) -> None:
        if msg == "broken":
            raise ProcessingError
        if msg == "later":
            raise OSError

    async def resilient_worker(queue: AsyncQueue, dlq: AsyncQueue) -> None:
        while True:
            msg = await queue.read()
            if msg is None:
                continue

            try:
                await process(msg)
            except ProcessingError:
                # Move to dead letter queue
                await dlq.write(f"FAILED:{msg}")
            except Exception:  # noqa: BLE001 - theirs
                # Retry later
                await queue.write(f"RETRY:{msg}")

    async with async_broker("myqueue.db") as broker:
        queue, dlq = AsyncQueue("tasks", broker), AsyncQueue("dlq", broker)
        for msg in ("good", "later", "broken"):
            await queue.write(msg)
        worker = asyncio.create_task(resilient_worker(queue, dlq))
        assert "FAILED:broken" == await broker._broker.queue("dlq").get(timeout=20)
        worker.cancel()
        await asyncio.wait([worker])
        assert await dlq.read() is None


def test_integration_with_existing_code() -> None:
    """Sync code and both kinds of async code share a database."""
    # Standard sync code
    from persistqueue.compat.simplebroker import Queue

    with Queue("tasks") as q:
        q.write("sync message")
        q.write("sync message")

    async def main() -> list[Any]:
        # Async wrapper (RECOMMENDED)
        async with AsyncBroker("broker.db") as broker:
            msg = await broker.pop("tasks")  # Gets "sync message"
        # Custom async code
        async with async_broker("broker.db") as core:
            queue = AsyncQueue("tasks", core)
            return [msg, await queue.read()]  # Gets "sync message"

    assert ["sync message"] * 2 == asyncio.run(main())


@in_loop
async def test_the_core_has_its_methods_and_results() -> None:
    runner = PooledAsyncSQLiteRunner("a.db", pool_size=2, max_connections=3)
    core = AsyncBrokerCore(runner)
    for number in range(5):
        await core.write("a", str(number))
    await core.write("b", "x")
    assert [("a", 5), ("b", 1)] == await core.list_queues()
    assert [("a", 5, 5), ("b", 1, 1)] == await core.get_queue_stats()
    assert ["0"] == await core.read("a", peek=True)
    assert ["0"] == await core.read("a")
    moved = await core.move("a", "b")
    assert moved is not None
    assert ("1", True) == (moved["body"], moved["ts"] > 10**18)
    assert ["1"] == await core.read("b", peek=True, exact_timestamp=moved["ts"])
    assert await core.move("a", "b", message_id=10**9) is None
    assert 2 == await core.broadcast("all")
    stream = core.stream_read("a", all_messages=True, commit_interval=2)
    assert ["2", "3", "4", "all"] == [message async for message in stream]
    late = core.stream_read("b", all_messages=True, after_timestamp=moved["ts"])
    assert ["x", "all"] == [message async for message in late]
    await core.vacuum()
    await core.delete("b")
    assert [("a", 0)] == await core.list_queues()
    await core.delete()
    assert ([], []) == (await core.list_queues(), await core.read("a", all_messages=True))
    await core.close()


@in_loop
async def test_a_move_to_what_is_no_name_moves_nothing() -> None:
    async with async_broker("a.db") as broker:
        await broker.write("a", "x")
        with pytest.raises(ValueError, match="no name!"):
            await AsyncQueue("a", broker).move_to("no name!")
        assert [("a", 1)] == await broker.list_queues()


@in_loop
async def test_a_watcher_that_dies_says_so_and_lets_the_broker_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncBroker("a.db") as broker:
        await broker.push("a", "x")
        ours = broker._runner.broker
        await ours.transact(lambda tx: tx.execute("UPDATE queue_a SET data = x'00ff'"))
        stopped = await broker.watch_queue("a", print)
        await stopped.wait()
    assert "a watcher of <AsyncBrokerQueue 'a'" in caplog.text
    with pytest.raises(QueueClosed):
        await broker.push("a", "y")


@in_loop
async def test_the_body_of_a_stream_of_one_may_write() -> None:
    """The original holds a lock there, and waits for itself."""
    async with async_broker("a.db") as broker:
        queue = AsyncQueue("a", broker)
        await queue.write("one")
        await queue.write("two")
        async for message in queue.stream(all_messages=False):
            await queue.write(f"again {message}")
        assert ["two", "again one"] == await queue.read_all()


@in_loop
async def test_a_read_that_ran_out_of_time_has_not_claimed_anything() -> None:
    """The original's message stays claimed when its reader is cancelled; a vacuum deletes it."""
    async with async_broker("a.db") as broker:
        queue = AsyncQueue("a", broker)
        for number in range(40):
            await queue.write(str(number))
        got = []
        for number in range(40):
            with suppress(asyncio.TimeoutError):
                got.append(await asyncio.wait_for(queue.read(), number * 0.000_05))
        got += await queue.read_all()
    assert sorted(map(str, range(40))) == sorted(filter(None, got))


@in_loop
async def test_tasks_that_a_stream_starts_write_and_leaving_it_spoils_nothing() -> None:
    """The original's tasks inherit the transaction, which whoever leaves the loop keeps open."""
    async with async_broker("a.db") as broker:
        queue, others = AsyncQueue("a", broker), []
        for number in range(5):
            await queue.write(str(number))
        async for message in queue.stream(commit_interval=50):
            others.append(asyncio.create_task(broker.write("b", f"of {message}")))
            if message == "2":
                break
        await asyncio.gather(*others)
        number = await queue.write("5")
        assert await queue.move_to("c", number)
        assert ["of 0", "of 1", "of 2"] == await AsyncQueue("b", broker).read_all()
        assert list("234") == await queue.read_all()


@in_loop
async def test_a_message_costs_one_commit_and_leaves_no_row() -> None:
    """The original's ids are committed by themselves, and read rows stay until a vacuum."""
    async with AsyncBroker("a.db") as broker:
        await broker.push("a", "first")
        ours, commits = broker._runner.broker, []
        commit = ours._store.commit
        ours._store.commit = lambda: (commits.append(1), commit())[1]  # type: ignore[method-assign]
        for _ in range(3):
            await broker.push("a", "x")
        assert 3 == len(commits)
        for _ in range(4):
            await broker.pop("a")
        assert 7 == len(commits)
        rows = await ours.transact(lambda tx: tx.execute("SELECT COUNT(*) FROM queue_a"))
    assert [(0,)] == rows


@in_loop
async def test_all_messages_are_all() -> None:
    """The original returns one and drops the others."""
    async with async_broker("a.db") as broker:
        queue = AsyncQueue("a", broker)
        for number in range(5):
            await queue.write(str(number))
        assert list("01234") == await queue.read_all(peek=True)
        assert list("01234") == await queue.read(all_messages=True)


@in_loop
async def test_looking_while_somebody_takes_misses_nothing_that_stays() -> None:
    """The original pages by number, and skips."""
    async with async_broker("a.db") as broker:
        queue, seen = AsyncQueue("a", broker), []
        for number in range(300):
            await queue.write(str(number))
        async for message in queue.stream(peek=True):
            seen.append(int(message))
            if len(seen) % 3 == 0:
                await queue.read()
        left = [int(message) for message in await queue.read_all()]
    assert set(left) <= set(seen)
    assert sorted(seen) == seen


@in_loop
async def test_the_wrapper_watches_and_streams() -> None:
    heard: list[tuple[str, int]] = []
    async with AsyncBroker("a.db", max_workers=2) as broker:
        stopped = await broker.watch_queue("news", lambda body, ts: heard.append((body, ts)))
        for number in range(4):
            await broker.push("news", str(number))
        await eventually(lambda: len(heard) == 4)
        assert list("0123") == [body for body, _ in heard]
        for number in range(5):
            await broker.push("orders", str(number))
        assert ("0", 5) == (await broker.peek("orders"), await broker.size("orders"))
        async for body, ts in broker.stream_messages("orders", batch_size=4):
            assert ts > 10**18
            if body == "2":
                break
        assert "2" == await broker.pop("orders")
        assert not stopped.is_set()
    assert stopped.is_set()


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "ä", "a" * 513, None])
@in_loop
async def test_names_are_simplebrokers(name: Any) -> None:
    async with async_broker("a.db") as broker:
        with pytest.raises(ValueError, match="cannot name a queue"):
            AsyncQueue(name, broker)
        with pytest.raises(ValueError, match="cannot name a queue"):
            await broker.write(name, "x")


@in_loop
async def test_messages_are_text_of_a_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_MAX_MESSAGE_SIZE", "10")
    async with async_broker("a.db") as broker:
        queue = AsyncQueue("a", broker)
        with pytest.raises(TypeError, match="not dict"):
            await queue.write({})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="BROKER_MAX_MESSAGE_SIZE"):
            await queue.write("x" * 11)
        await queue.write("x" * 10)
        assert "x" * 10 == await queue.read()


_THEIR_TABLE = (
    "CREATE TABLE messages (id INTEGER PRIMARY KEY, queue TEXT, body TEXT, ts INTEGER,"
    " claimed INTEGER DEFAULT 0)"
)


@in_loop
async def test_a_file_of_simplebrokers_own_is_refused_until_it_is_empty() -> None:
    """Changing the import and keeping the file must not look as if the queues were empty."""
    with closing(sqlite3.connect("a.db")) as theirs:
        theirs.execute(_THEIR_TABLE)
        theirs.execute("INSERT INTO messages (queue, body, ts) VALUES ('tasks', 'x', 1)")
        theirs.commit()
        async with async_broker("a.db") as broker:
            with pytest.raises(FormatError, match=r"1 messages.*dump.*load"):
                await AsyncQueue("tasks", broker).read()
        async with AsyncBroker("a.db") as wrapper:
            with pytest.raises(FormatError, match="1 messages"):
                await wrapper.push("tasks", "y")
        with pytest.raises(FormatError, match="1 messages"):
            Queue("tasks", db_path="a.db")
        assert [("messages",)] == theirs.execute("SELECT name FROM sqlite_master").fetchall()
        theirs.execute("UPDATE messages SET claimed = 1")
        theirs.commit()
    with Queue("tasks", db_path="a.db") as queue:
        queue.write("y")
        assert "y" == queue.read()


_THEIRS = """
import sys
sys.path.insert(0, sys.argv[1])
import simplebroker
from simplebroker import open_broker, dump_lines, load_lines
with open_broker(sys.argv[2]) as broker:
    if sys.argv[3] == "dump":
        queue = simplebroker.Queue("tasks", db_path=sys.argv[2])
        for text in ("first", "zwei\\u00fc", "line\\nbreak"):
            queue.write(text)
        queue.close()
        for line in dump_lines(broker):
            print(line)
    else:
        load_lines(broker, sys.stdin)
        names = sorted(broker.list_queues())
        print([[body for body, _ in broker.peek_generator(name)] for name in names])
"""


@pytest.mark.slow
def test_dumps_go_both_ways(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """The real SimpleBroker, in a folder of its own, reads ours and writes for ours."""
    site = tmp_path_factory.mktemp("simplebroker")
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(site), "simplebroker"]
    if subprocess.run(command, check=False, timeout=120, capture_output=True).returncode:
        pytest.skip("SimpleBroker cannot be installed")

    def theirs(verb: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-c", _THEIRS, str(site), str(tmp_path / f"{verb}.sb"), verb],
            input=given, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        return done.stdout

    (tmp_path / "theirs.ndjson").write_text(theirs("dump"))
    with Broker(tmp_path / "app.db") as broker:
        assert 3 == broker.load(tmp_path / "theirs.ndjson")
        assert ["first", "zweiü", "line\nbreak"] == broker.queue("tasks").read_all(peek=True)
        broker.queue("more").write_many(["x", {"n": 1}])
        assert 5 == broker.dump(tmp_path / "ours.ndjson")
    records = [json.loads(line) for line in (tmp_path / "ours.ndjson").read_text().splitlines()]
    assert "simplebroker-dump" == records[0]["format"]
    found = theirs("load", (tmp_path / "ours.ndjson").read_text())
    assert "['first', 'zweiü', 'line\\nbreak']" in found
    assert "'x'" in found
