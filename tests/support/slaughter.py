"""Rounds of producers and consumers that are killed with kill -9, and what must be left."""

from __future__ import annotations

import ast
import itertools
import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from crashdisk import Child

PRODUCER = """
import itertools, os, sys
from persistqueue import Queue

path, durability, name, first = sys.argv[1:]
queue = Queue(path, chunksize=7, durability=durability)
for number in itertools.count(int(first)):
    if number % 5:
        queue.put((name, number))
    else:
        queue.put_many([(name, number, part) for part in range(9)])
    os.write(1, b"%d\\n" % number)
"""

CONSUMER = """
import os, sys
from persistqueue import Queue

path, durability, autosave = sys.argv[1:]
queue = Queue(path, chunksize=7, durability=durability, autosave=autosave == "True")
while True:
    item = queue.get()
    os.write(1, repr(item).encode() + b"\\n")
    queue.task_done()
"""

ASYNC_PRODUCER = """
import asyncio, itertools, os, sys
from persistqueue import AsyncQueue

path, durability, *tasks = sys.argv[1:]

async def work(queue, name, first):
    for number in itertools.count(int(first)):
        if number % 5:
            await queue.put((name, number))
        else:
            await queue.put_many([(name, number, part) for part in range(9)])
        os.write(1, b"%s %d\\n" % (name.encode(), number))

async def main():
    queue = AsyncQueue(path, chunksize=7, durability=durability)
    await asyncio.gather(*(work(queue, *task.split()) for task in tasks))

asyncio.run(main())
"""

ASYNC_CONSUMER = """
import asyncio, os, sys
from persistqueue import AsyncQueue

path, durability, autosave = sys.argv[1:]

async def main():
    queue = AsyncQueue(path, chunksize=7, durability=durability, autosave=autosave == "True")
    while True:
        item = await queue.get()
        os.write(1, repr(item).encode() + b"\\n")
        await queue.task_done()

asyncio.run(main())
"""


def items_of(name: str, number: int) -> list[Any]:
    """Return what a producer puts at once under a number."""
    if number % 5:
        return [(name, number)]
    return [(name, number, part) for part in range(9)]


class Slaughter:
    """Rounds of producers and consumers on one path, and what they said they did."""

    consumer = CONSUMER

    def __init__(self, path: Path, durability: str, autosave: bool, seed: int) -> None:
        self._path = path
        self._durability = durability
        self.autosave = autosave
        self._chance = random.Random(seed)
        self._next: Counter[str] = Counter()
        self.acknowledged: list[Any] = []
        self.in_doubt: list[Any] = []  # under way when the producer was killed
        self.delivered: list[list[Any]] = []  # by each consumer

    def round(self, producers: int, consumers: int) -> None:
        """Start everybody, let them work for a random time, kill all."""
        names = [f"p{number}" for number in range(producers)]
        with ExitStack() as stack:
            putting = [stack.enter_context(self._producer(name)) for name in names]
            taking = [stack.enter_context(self._consumer()) for _ in range(consumers)]
            for victim in putting:
                victim.lines(self._chance.randint(1, 60))
            for victim in taking:
                victim.lines(self._chance.randint(1, 25))
            for name, victim in zip(names, putting, strict=True):
                self._note_producer(name, victim.kill())
            for victim in taking:
                self.delivered.append([ast.literal_eval(line) for line in victim.kill()])

    def _producer(self, name: str) -> Child:
        return Child(PRODUCER, self._path, self._durability, name, self._next[name])

    def _consumer(self) -> Child:
        return Child(self.consumer, self._path, self._durability, self.autosave)

    def _note_producer(self, name: str, lines: list[str]) -> None:
        self._note_puts(name, [int(line) for line in lines])

    def _note_puts(self, name: str, numbers: list[int]) -> None:
        assert list(range(self._next[name], self._next[name] + len(numbers))) == numbers
        for number in numbers:
            self.acknowledged += items_of(name, number)
        self._next[name] += len(numbers)
        self.in_doubt += items_of(name, self._next[name])
        self._next[name] += 1


class AsyncProducers(Slaughter):
    """Each producer is an event loop with three tasks, which share commits."""

    def _producer(self, name: str) -> Child:
        tasks = [f"{task} {self._next[task]}" for task in self._tasks(name)]
        return Child(ASYNC_PRODUCER, self._path, self._durability, *tasks)

    def _note_producer(self, name: str, lines: list[str]) -> None:
        said = [line.split() for line in lines]
        for task in self._tasks(name):
            self._note_puts(task, [int(number) for who, number in said if who == task])

    def _tasks(self, name: str) -> list[str]:
        return [f"{name}.{task}" for task in range(3)]


class AsyncConsumers(Slaughter):
    """The consumers work in event loops."""

    consumer = ASYNC_CONSUMER


class AsyncBoth(AsyncProducers, AsyncConsumers):
    """All work in event loops."""


def audit(
    slaughter: Slaughter, left: list[Any], deaths: int, in_order: bool = True, late: int = 0
) -> None:
    """Compare what was said with what is ``left``, after so many deaths of consumers.

    Args:
        in_order: what each producer puts comes in its order.
        late: how many items may come behind later ones: a dead consumer held them.
    """
    seen = Counter(item for items in [*slaughter.delivered, left] for item in items)
    expected, in_doubt = set(slaughter.acknowledged), set(slaughter.in_doubt)
    assert set(seen) <= expected | in_doubt, "an item came that nobody put"
    if slaughter.autosave:  # at most once: what was taken and not yet said is gone
        assert 1 == max(seen.values())
        assert len(expected - set(seen)) <= deaths
    else:  # at least once: what was said and not yet finished comes again
        assert expected <= set(seen)
        assert sum(seen.values()) - len(seen) <= deaths
        whole = [len(in_doubt & set(seen) & set(items_of(item[0], item[1]))) for item in in_doubt]
        assert set(whole) <= {0, 1, 9}, "a put_many is stored in part"
    came_late = 0  # behind a later item of its producer
    for items in [*slaughter.delivered, left] if in_order else ():
        for name in {item[0] for item in items}:
            own = [item for item in items if item[0] == name]
            came_late += sum(one > next_one for one, next_one in itertools.pairwise(own))
    assert came_late <= late, "out of order"
