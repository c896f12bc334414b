"""Both brokers behind the same blocking methods: a contract test is written once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from families import BlockingAsyncQueue, run

from persistqueue import AsyncBroker, Broker


class BlockingAsyncBroker(BlockingAsyncQueue):
    """An async broker whose coroutine methods block until they are done."""

    def queue(self, name: str) -> Any:
        return _BlockingHandle(self._queue.queue(name))


class _BlockingHandle(BlockingAsyncQueue):
    @contextmanager
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Iterator[Any]]:
        stream = self._queue.stream(*args, **kwargs)
        try:
            yield _steps(stream)
        finally:
            run(stream.aclose())


def _steps(stream: Any) -> Iterator[Any]:
    while True:
        try:
            item = run(anext(stream))
        except StopAsyncIteration:
            return
        yield item


def _open_async(path: Any, **arguments: Any) -> BlockingAsyncBroker:
    arguments.setdefault("durability", "process")
    return BlockingAsyncBroker(run(AsyncBroker.create(path, **arguments)))


def _open(path: Any, **arguments: Any) -> Broker:
    arguments.setdefault("durability", "process")
    return Broker(path, **arguments)


#: name -> opens a broker: ``open(path, **arguments)``.
BROKERS: dict[str, Callable[..., Any]] = {"AsyncBroker": _open_async, "Broker": _open}
