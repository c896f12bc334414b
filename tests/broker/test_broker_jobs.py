"""Job queues in a broker's database: ``jobs(name)``, and an outbox inside ``transact``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import BlockingAsyncQueue, run

from persistqueue import AsyncBroker, Broker, JobQueue, Put, Retry, serializers


def _open_async(path: Any, **options: Any) -> Any:
    return BlockingAsyncQueue(run(AsyncBroker.create(path, **options)))


@pytest.fixture(params=[Broker, _open_async], ids=["Broker", "AsyncBroker"])
def open_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    return lambda **options: request.param(tmp_path / "app.db", durability="process", **options)


def test_jobs_share_the_database(open_broker: Callable[..., Any], tmp_path: Path) -> None:
    """With the broker's settings; a queue and a job queue of one name are two."""
    with open_broker(serializer=serializers.json) as broker:
        broker.broadcast("a message", queues=["mail"], create=True)
        jobs = broker.jobs("mail", retry=Retry(max_attempts=1), maxsize=5)
        assert ("process", 5, 1) == (jobs.durability, jobs.maxsize, jobs.retry.max_attempts)
        jobs = jobs if isinstance(jobs, JobQueue) else BlockingAsyncQueue(jobs)
        with jobs:
            jobs.put({"to": "you"}, delay=60)
            assert 1 == jobs.stats().delayed
        assert ["mail"] == [queue.name for queue in broker.list_queues()]
    with JobQueue[Any](tmp_path / "app.db", "mail", serializers.json) as q:
        assert q.reschedule(1)
        assert {"to": "you"} == q.get()


def test_an_outbox(open_broker: Callable[..., Any], tmp_path: Path) -> None:
    """A job is there if the transaction is, and not otherwise; keys and delays as everywhere."""

    def order(tx: Any) -> list[int | None]:
        tx.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, what TEXT)")
        tx.execute("INSERT INTO orders (what) VALUES (?)", ("tea",))
        mails = tx.jobs("mails")
        first = mails.put("thanks", delay=60, key="thanks")
        return [first, mails.put("again", key="thanks"), *mails.put_many(["now", Put("soon")])]

    def fails(tx: Any) -> None:
        order(tx)
        tx.jobs("others").put("x")
        raise KeyError("no")

    with open_broker() as broker:
        with pytest.raises(KeyError):
            broker.transact(fails)
        assert [1, None, 2, 3] == broker.transact(order)
        assert [None, None, 4, 5] == broker.transact(order)
    with JobQueue[str](tmp_path / "app.db", "mails") as q:
        assert (4, 1, 0, 0) == q.stats()[:4]
        assert ["now", "soon", "now", "soon"] == [job.item for job in q.take_many(9)]
    with JobQueue[str](tmp_path / "app.db", "others") as q:
        assert (0, 0, 0, 0) == q.stats()[:4]


def test_the_transaction_is_over(open_broker: Callable[..., Any]) -> None:
    with open_broker() as broker:
        jobs = broker.transact(lambda tx: tx.jobs("a"))
        with pytest.raises(RuntimeError, match="over"):
            jobs.put("late")
        broker.transact(lambda tx: tx.jobs("a").put_many([]))


def test_a_broker_in_memory_has_no_jobs_elsewhere() -> None:
    with Broker(":memory:") as broker, pytest.raises(ValueError, match="memory"):
        broker.jobs("a")
