"""Lose nothing: processes put and take items, get killed at random, and start again.

``python examples/demo.py`` starts producers and a consumer on one queue directory,
kills them with SIGKILL in the middle of their work, starts them again, and then
counts.  Two producers and the consumer use ``AsyncQueue``, with many tasks each; a third
producer uses ``Queue``.  A producer writes each number into a log of its own when ``put`` has
returned; the consumer writes each item into another log before the item is finished.  Each
item of the first logs must be in the second.

Needs persistqueue and aiofiles.  Ends with status 1 if anything is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout

from persistqueue import AsyncEmpty, AsyncQueue, Queue

PRODUCERS = {"p1": "async-producer", "p2": "async-producer", "p3": "producer"}  # processes
TASKS = 20  # of each process that uses asyncio
LINE = len("p1.000:00000000\n")  # every line of every log: producer, its life, number


# -- what the processes do --------------------------------------------------------------


async def produce(directory: Path, name: str, durability: str) -> None:
    """Put numbered items, in several tasks, until told to stop; note each that was acknowledged."""
    stop = told_to_stop()
    log = open_log(directory / f"put-{name}.log")
    numbers = itertools.count()

    async def work() -> None:
        while not stop.is_set():
            item = f"{name}:{next(numbers):08d}"
            await queue.put(item)
            os.write(log, f"{item}\n".encode())

    async with AsyncQueue[str](directory / "queue", durability=durability) as queue:
        await asyncio.gather(*(work() for _ in range(TASKS)))


def produce_without_asyncio(directory: Path, name: str, durability: str) -> None:
    """Put numbered items, one after another."""
    stop = told_to_stop()
    log = open_log(directory / f"put-{name}.log")
    numbers = itertools.count()
    with Queue[str](directory / "queue", durability=durability) as queue:
        while not stop.is_set():
            item = f"{name}:{next(numbers):08d}"
            queue.put(item)
            os.write(log, f"{item}\n".encode())


async def consume(directory: Path, name: str, durability: str) -> None:
    """Process items, in several tasks, until told to stop and nothing is left."""
    stop = told_to_stop()
    log = open_log(directory / f"processed-{name}.log")

    async def work() -> None:
        while True:
            try:
                async with queue.process(timeout=0.1) as item:
                    os.write(log, f"{item}\n".encode())  # the work itself
            except AsyncEmpty:
                if stop.is_set():
                    return

    async with AsyncQueue[str](directory / "queue", durability=durability) as queue:
        await asyncio.gather(*(work() for _ in range(TASKS)))


def play(role: str, directory: Path, name: str, durability: str) -> None:
    """Be one of the processes."""
    if role == "producer":
        produce_without_asyncio(directory, name, durability)
    else:
        work = produce if role == "async-producer" else consume
        asyncio.run(work(directory, name, durability))


def told_to_stop() -> threading.Event:
    """Return an event that is set when stdin ends: at the parent's word or its death."""
    stop = threading.Event()

    def wait() -> None:
        while os.read(0, 100):
            pass
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    return stop


def open_log(path: Path) -> int:
    """Open a file for appending; what is written there survives the death of the process."""
    binary = getattr(os, "O_BINARY", 0)  # Windows
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | binary, 0o600)


# -- starting and killing them ----------------------------------------------------------


class Process:
    """A producer or the consumer: one process at a time, started again when killed."""

    def __init__(self, role: str, name: str, options: argparse.Namespace, directory: Path) -> None:
        self.role = role
        self.kills = 0
        self._name = name
        self._options = ["--durability", options.durability, "--dir", str(directory)]
        self.start()

    def start(self) -> None:
        """Start it for another life."""
        life = f"{self._name}.{self.kills:03d}"
        command = [sys.executable, __file__, "--role", self.role, "--name", life, *self._options]
        self._running = subprocess.Popen(command, stdin=subprocess.PIPE)

    def kill(self) -> None:
        """Kill it in the middle of its work (SIGKILL; TerminateProcess on Windows)."""
        self.check()
        self._running.kill()
        self._end()
        self.kills += 1

    def check(self) -> None:
        """See that it has not ended by itself."""
        if self._running.poll() is not None:
            raise SystemExit(f"a {self.role} ended by itself; its message is above")

    def stop(self) -> None:
        """Let it finish its work, and end."""
        assert self._running.stdin is not None
        self._running.stdin.close()

    def wait(self) -> None:
        """Wait for its end, which must be a good one."""
        if self._running.wait():
            raise SystemExit(f"a {self.role} failed; its message is above")

    def abort(self) -> None:
        """Leave nothing running."""
        self._running.kill()
        self._end()

    def _end(self) -> None:
        assert self._running.stdin is not None
        self._running.stdin.close()
        self._running.wait()


def torment(options: argparse.Namespace, directory: Path) -> Result:
    """Run the processes, kill them, let them finish; return the result."""
    start = time.monotonic()
    producers = [Process(role, name, options, directory) for name, role in PRODUCERS.items()]
    consumer = Process("async-consumer", "c1", options, directory)
    try:
        kill_at_random(options, directory, producers, consumer)
        finish(directory, producers, consumer)
    finally:
        for process in (*producers, consumer):
            process.abort()
    seconds = time.monotonic() - start
    with Queue[str](directory / "queue") as queue:
        left = queue.qsize()
    return Result(
        **check(read(directory, "put"), read(directory, "processed")),
        left=left,
        producer_kills=sum(producer.kills for producer in producers),
        consumer_kills=consumer.kills,
        seconds=seconds,
    )


def kill_at_random(
    options: argparse.Namespace, directory: Path, producers: list[Process], consumer: Process
) -> None:
    """Kill the consumer and a producer in turn, until the time is over or enough was put."""
    start = time.monotonic()
    moments = sorted(random.uniform(0.05, 0.95) for _ in range(options.kills))
    share = 0.0
    while share < 1:
        time.sleep(0.005)
        count = lines(directory, "put")
        share = max((time.monotonic() - start) / options.seconds, count / options.items)
        while moments and moments[0] <= share:
            victim = random.choice(producers) if len(moments) % 2 else consumer
            victim.kill()
            victim.start()
            del moments[0]
        for process in (*producers, consumer):
            process.check()
        draw(share, f"{count:,} put, {lines(directory, 'processed'):,} processed")


def finish(directory: Path, producers: list[Process], consumer: Process) -> None:
    """Let the producers end, then the consumer, which empties the queue first."""
    for producer in producers:
        producer.stop()
    for producer in producers:
        producer.wait()
    draw(1, f"{lines(directory, 'put'):,} put, the consumer empties the queue")
    consumer.stop()
    consumer.wait()
    draw(None)


# -- the result --------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The result, read from the logs.

    Attributes:
        put: items that ``put`` acknowledged.
        lost: of these, never processed.
        twice: deliveries of an item that had been delivered before.
        unnoted: processed, but not noted by the producer, which was killed between
            ``put`` and its log; for each kill at most one of each of its tasks.
        left: items still in the queue, which the consumer emptied.
        producer_kills, consumer_kills: processes that were killed.
        seconds: from the first start to the empty queue.
    """

    put: int
    lost: int
    twice: int
    unnoted: int
    left: int
    producer_kills: int
    consumer_kills: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every item was processed and finished, and no item was made up."""
        made_up = self.unnoted > self.producer_kills * TASKS
        return self.put > 0 and not (self.lost or self.left or made_up)

    def __str__(self) -> str:
        kills = self.producer_kills + self.consumer_kills
        how = "TerminateProcess" if sys.platform == "win32" else "SIGKILL"
        return (
            f"{self.put:,} items put by {len(PRODUCERS)} producers (2 asyncio, 1 sync), "
            f"{kills} kills with {how} ({self.producer_kills} of producers, "
            f"{self.consumer_kills} of the consumer), "
            f"lost {self.lost:,}, delivered twice {self.twice:,}, "
            f"{self.put / self.seconds:,.0f} items/s put and processed"
        )


def check(put: list[str], processed: list[str]) -> dict[str, int]:
    """Compare acknowledged items with processed ones."""
    noted, delivered = set(put), set(processed)
    return {
        "put": len(noted),
        "lost": len(noted - delivered),
        "twice": len(processed) - len(delivered),
        "unnoted": len(delivered - noted),
    }


def read(directory: Path, kind: str) -> list[str]:
    """Return the items in the logs of one kind; a line that was cut short is none."""
    logs = (log.read_text().splitlines(keepends=True) for log in directory.glob(f"{kind}-*.log"))
    return [line.rstrip() for log in logs for line in log if len(line) == LINE]


def lines(directory: Path, kind: str) -> int:
    """Return how many items are in the logs of one kind, without reading them."""
    return sum(log.stat().st_size for log in directory.glob(f"{kind}-*.log")) // LINE


def draw(share: float | None, note: str = "") -> None:
    """Draw the progress bar on a terminal; None erases it."""
    if sys.stderr.isatty():
        bar = ("#" * int(min(share or 0, 1) * 30)).ljust(30, ".")
        text = "" if share is None else f"[{bar}] {note}"
        print("\r" + text.ljust(79), end="" if text else "\r", file=sys.stderr, flush=True)


# -- the command line -------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    command = argparse.ArgumentParser(
        description="Kill producers and consumers of a queue, and count what is lost.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = command.add_argument
    add("--seconds", type=positive, default=6, help="put and kill for so long")
    add("--items", type=positive, default=200_000, help="or until about so many are put")
    add("--kills", type=int, default=8, help="at random moments in between")
    add("--durability", choices=("power", "process"), default="power", help="of the queue")
    add("--dir", type=Path, help="an empty directory to work in, and to keep the logs")
    add("--role", choices=(*PRODUCERS.values(), "async-consumer"), help=argparse.SUPPRESS)
    add("--name", help=argparse.SUPPRESS)
    return command


def positive(text: str) -> float:
    """Return a number above 0."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def demonstrate(options: argparse.Namespace, directory: Path) -> int:
    """Run it all and print the result; return the exit status."""
    result = torment(options, directory)
    print(
        f"{result}\n(durability {options.durability!r}; delivered twice: the consumer was killed "
        "between the work and the end of its block, or while an item before it was not finished)"
    )
    if not result.good:
        print(f"this is not as it must be: {result!r}", file=sys.stderr)
    return 0 if result.good else 1


def main() -> int:
    """Run the command line; return its exit status."""
    command = parser()
    options = command.parse_args()
    if options.role:
        logging.basicConfig(filename=options.dir / "queue.log")  # not into the progress bar
        play(options.role, options.dir, options.name, options.durability)
        return 0
    if options.dir is None:
        with tempfile.TemporaryDirectory() as temporary:
            return demonstrate(options, Path(temporary))
    options.dir.mkdir(parents=True, exist_ok=True)
    if any(options.dir.iterdir()):
        command.error(f"--dir {options.dir} is not empty")
    return demonstrate(options, options.dir)


if __name__ == "__main__":
    sys.exit(main())
