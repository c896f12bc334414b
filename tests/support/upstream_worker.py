"""Serves persist-queue 1.1.0 over standard input and output: one literal a line.

Runs in a process of its own (see ``upstream``), where ``persistqueue`` is the real
persist-queue 1.1.0.  A request is ``(verb, key, argument)``; an answer is
``("ok", value)`` or ``("error", type name, message)``.
"""

from __future__ import annotations

import ast
import json
import sys
import zlib
from typing import IO, Any


class Zipped:
    """A serializer of a user's own: JSON, compressed, with its length in front."""

    def dump(self, value: Any, fp: IO[bytes]) -> None:
        data = zlib.compress(json.dumps(value).encode())
        fp.write(len(data).to_bytes(4, "big") + data)

    def load(self, fp: IO[bytes]) -> Any:
        length = int.from_bytes(fp.read(4), "big")
        return json.loads(zlib.decompress(fp.read(length)))


class Desk:
    """The queues that are open, and what may be asked of them."""

    def __init__(self) -> None:
        self._queues: dict[int, Any] = {}

    def open(self, key: int, options: dict[str, Any]) -> None:
        from persistqueue import Queue
        from persistqueue.serializers import cbor2, json, msgpack, pickle

        named = {
            "pickle": pickle, "msgpack": msgpack, "cbor2": cbor2, "json": json, "zipped": Zipped(),
        }  # fmt: skip
        serializer = named[options.pop("serializer")]
        self._queues[key] = Queue(serializer=serializer, **options)

    def put(self, key: int, items: list[Any]) -> None:
        for item in items:
            self._queues[key].put_nowait(item)

    def get(self, key: int, count: int) -> list[Any]:
        return [self._queues[key].get_nowait() for _ in range(count)]

    def task_done(self, key: int, count: int) -> None:
        for _ in range(count):
            self._queues[key].task_done()

    def qsize(self, key: int, _: None) -> int:
        size: int = self._queues[key].qsize()
        return size

    def unfinished_tasks(self, key: int, _: None) -> int:
        count: int = self._queues[key].unfinished_tasks
        return count

    def info(self, key: int, _: None) -> dict[str, Any]:
        info: dict[str, Any] = dict(self._queues[key].info)
        return info | {"tail": list(info["tail"]), "head": list(info["head"])}

    def close(self, key: int, _: None) -> None:
        self._queues.pop(key).__del__()

    def dumps(self, name: str, values: list[Any]) -> list[bytes]:
        import importlib

        serializer = importlib.import_module(f"persistqueue.serializers.{name}")
        return [serializer.dumps(value, sort_keys=True) for value in values]


def serve() -> None:
    """Answer requests until the input ends."""
    desk = Desk()
    for line in sys.stdin.buffer:
        verb, key, argument = ast.literal_eval(line.decode())
        try:
            answer: tuple[Any, ...] = ("ok", getattr(desk, verb)(key, argument))
        except Exception as error:  # noqa: BLE001 (it is the answer)
            answer = ("error", type(error).__name__, str(error))
        sys.stdout.buffer.write(ascii(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
