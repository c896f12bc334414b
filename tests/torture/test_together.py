"""Processes and threads that put and take at the same time, on every class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cases import Case, tortured
from waiting import until
from workers import Log, items_of, out_of_order
from zygote import Zygote

PRODUCERS = 3  # processes, of two threads each


@tortured(["AsyncQueue-get", "SQLiteAckQueue-ack"], 4, 150)
def test_everything_is_delivered_once(
    case: Case, amount: int, tmp_path: Path, figures: Any
) -> None:
    """What all put, somebody gets: once, and in the order of each thread that put."""
    common = {
        "case": case.name, "path": str(tmp_path / "queue"), "log": str(tmp_path / "log"),
        "durability": "process",
    }  # fmt: skip
    consumers = 2 if case.shared else 1
    expected = {
        item
        for producer in range(PRODUCERS)
        for thread in (1, 2)
        for number in range(amount)
        for item in items_of(f"p{producer}.{thread}", number)
    }
    with Zygote() as zygote:
        threads = 2 if case.shared else 1
        taking = [
            zygote.fork("consume", name=f"c{number}", threads=threads, **common)
            for number in range(consumers)
        ]
        putting = [
            zygote.fork("produce", name=f"p{number}", count=amount, **common)
            for number in range(PRODUCERS)
        ]
        assert [0] * PRODUCERS == [zygote.reap(pid) for pid in putting]
        log_file = tmp_path / "log"
        until(lambda: log_file.read_text().count("done ") >= len(expected), "the last ack")
        assert [True] * consumers == [zygote.kill(pid) for pid in taking]
    log = Log(log_file.read_text().splitlines())
    delivered = Counter(item for items in log.got.values() for item in items)
    figures(
        producers=2 * PRODUCERS, consumers=consumers * threads, acknowledged=len(log.put),
        lost=len(set(log.put) - set(delivered)), twice=sum(delivered.values()) - len(delivered),
    )  # fmt: skip
    assert Counter(expected) == delivered
    assert [] == case.contents(tmp_path / "queue")
    if not case.newest_first:
        assert [0] * len(log.got) == [out_of_order(items) for items in log.got.values()]
