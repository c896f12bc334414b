"""Timeouts are over in time where a test of the user's has stopped the clock.

``freezegun`` and its like put a function that stands still in the place of
``time.monotonic``, in every module that has it; this does the same, in a Python of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from interpreter import run

_STOP = """
import asyncio, sys, time
from pathlib import Path

real, path = [time.monotonic], Path(sys.argv[1])  # in a list it is not found

def stop():
    asyncio.BaseEventLoop.time = lambda loop: real[0]()  # real_asyncio=True of freezegun
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if value is real[0] and module.__name__ != "threading":
                setattr(module, name, lambda: 1.6e9)

for name in sys.argv[3:]:
    delattr(time, name)
if sys.argv[2] == "first":
    stop()
import persistqueue as p
"""

_TIMEOUTS = """
def raised(call, *args, **options):
    try:
        call(*args, **options)
    except p.PersistQueueError as error:
        return type(error).__name__

def sync(open, **options):
    with open(path / str(len(seen)), maxsize=1, durability="process", **options) as q:
        if sys.argv[2] == "then":
            stop()
        empty = raised(q.get, timeout=0.02)
        q.put(1)
        return empty, raised(q.put, 2, timeout=0.02)

async def asynchronous(open):
    async with open(path / str(len(seen)), maxsize=1, durability="process") as q:
        try:
            await q.get(timeout=0.02)
        except p.AsyncEmpty as error:
            empty = type(error).__name__
        await q.put(1)
        try:
            await q.put(1, timeout=0.02)
        except p.AsyncFull as error:
            return empty, type(error).__name__

path.mkdir()
seen = {}
for name in ("Queue", "SQLiteQueue", "SQLiteAckQueue"):
    seen[name] = sync(getattr(p, name))
for name in ("AsyncQueue", "AsyncSQLiteQueue"):
    seen[name] = asyncio.run(asynchronous(getattr(p, name)))
with p.Broker(path / "broker") as broker:
    seen["Broker"] = raised(broker.queue("q").get, timeout=0.02)
print(seen)
"""

_OTHERS = """
import threading
got = []
with p.Queue(path) as one, p.Queue(path) as other:
    stop()
    waiting = threading.Thread(target=lambda: got.append(one.get(timeout=20)))
    waiting.start()
    other.put("noticed")
    waiting.join()
    one._session._store._lock.try_acquire(0.0)
    try:
        other.put("locked", timeout=0)
    except p.QueueLocked:
        got.append("QueueLocked")
    one._session._store._lock.release()
print(got)
"""


@pytest.mark.parametrize("without", [(), ("clock_gettime",)], ids=["POSIX", "Windows"])
@pytest.mark.parametrize("when", ["first", "then"])
def test_timeouts_are_over_where_the_clock_stands_still(
    tmp_path: Path, when: str, without: tuple[str, ...]
) -> None:
    """A timed get ends in Empty, a timed put in Full, stopped before the import or behind it."""
    both, coroutines = ("Empty", "Full"), ("AsyncEmpty", "AsyncFull")
    assert {
        "Queue": both,
        "SQLiteQueue": both,
        "SQLiteAckQueue": both,
        "AsyncQueue": coroutines,
        "AsyncSQLiteQueue": coroutines,
        "Broker": "Empty",
    } == run(_STOP + _TIMEOUTS, tmp_path / "q", when, *without)


@pytest.mark.parametrize("without", [(), ("clock_gettime",)], ids=["POSIX", "Windows"])
def test_other_objects_are_noticed_where_the_clock_stands_still(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    """A waiting get sees what another object puts; a lock held elsewhere ends in QueueLocked."""
    assert ["noticed", "QueueLocked"] == run(_STOP + _OTHERS, tmp_path / "q", "later", *without)
