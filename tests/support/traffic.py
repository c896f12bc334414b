"""Programs that put and get in threads, and the order of what they got."""

from __future__ import annotations

from typing import Any

PRODUCER = """
import sys, threading
from persistqueue import Queue

path, name, count, maxsize = sys.argv[1:]
queue = Queue(path, chunksize=16, maxsize=int(maxsize), durability="process")

def work(thread):
    for number in range(int(count)):
        if number % 10:
            queue.put((name, thread, number))
        else:
            queue.put_many([(name, thread, number)])

threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
queue.close()
"""

CONSUMER = """
import sys, threading
from persistqueue import Queue

path, autosave = sys.argv[1:]
queue = Queue(path, chunksize=16, durability="process", autosave=autosave == "True")

def work(taken):
    while (item := queue.get()) != "stop":
        taken.append(item)
        queue.task_done()
    queue.task_done()

lists = [], []
threads = [threading.Thread(target=work, args=(taken,)) for taken in lists]
for thread in threads: thread.start()
for thread in threads: thread.join()
queue.close()
for taken in lists: print(taken)
"""


def in_order(items: list[Any]) -> bool:
    """Return whether the items of each producing thread are in the order of their puts."""
    last: dict[Any, int] = {}
    for *who, number in items:
        if last.setdefault(tuple(who), -1) >= number:
            return False
        last[tuple(who)] = number
    return True
