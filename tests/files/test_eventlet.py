"""Under eventlet, whose greenlets take the place of threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from crashdisk import Child, watchdog

PROGRAM = """
import sys, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet's own deprecation notes
    try:
        import eventlet
    except Exception as error:
        print("eventlet does not import here:", error)
        sys.exit()
    eventlet.monkey_patch()
from persistqueue import Empty, Queue

queue = Queue(sys.argv[1], chunksize=8)
turns = []  # who worked, in the order of it

def produce(name):
    for number in range(20):
        queue.put((name, number))
        turns.append("put")
        eventlet.sleep(0)

def consume():
    taken = []
    while (item := queue.get()) is not None:
        turns.append("get")
        taken.append(item)
        queue.task_done()
    queue.task_done()
    return taken

with eventlet.Timeout(30):
    consumers = [eventlet.spawn(consume) for _ in range(3)]
    eventlet.sleep(0)  # every consumer waits now: a get blocks its own greenlet only
    producers = [eventlet.spawn(produce, name) for name in range(3)]
    for producer in producers:
        producer.wait()
    queue.put_many([None] * 3)
    lists = [consumer.wait() for consumer in consumers]
    queue.join()
    try:
        queue.get(timeout=0.01)
    except Empty:
        pass
items = [item for taken in lists for item in taken]
assert sorted(items) == [(name, number) for name in range(3) for number in range(20)], items
for taken in lists:
    for name in range(3):
        own = [number for producer, number in taken if producer == name]
        assert own == sorted(own), own
assert turns.index("get") < len(turns) - 1 - turns[::-1].index("put"), "they took turns"
queue.close()
print("done")
"""


def test_greenlets(path: Path) -> None:
    """Greenlets that produce and consume with a blocking get take turns and lose nothing."""
    with watchdog(60), Child(PROGRAM, path) as child:
        said = child.wait()
    if said != ["done"]:
        pytest.skip("\n".join(said))
