"""Classes that aio-py-rq has under this name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ...exceptions import NotEnoughReplicas

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator, Sequence

T = TypeVar("T")


class NotEnoughSyncedSlavesError(NotEnoughReplicas):
    """The call is done and stored, but too few replicas have confirmed it in time."""


async def wait_for_synced_slaves(redis: Any, count: int, timeout: int) -> None:
    """Wait until replicas have confirmed what went over this connection.

    Args:
        redis: a client with one connection; over any other of a pool, the answer says nothing.
        count: how many.
        timeout: milliseconds.

    Raises:
        NotEnoughSyncedSlavesError: too few have.
    """
    check_synced_slaves(await redis.execute_command("WAIT", count, timeout), count)


def check_synced_slaves(synced: int, count: int) -> None:
    """Raise if fewer than ``count`` replicas have confirmed."""
    if synced < count:
        raise NotEnoughSyncedSlavesError(synced, count)


def create_chunks(items: Sequence[T], chunk_size: int) -> Iterator[Sequence[T]]:
    """Return items by the ``chunk_size``."""
    for at in range(0, len(items), chunk_size):
        yield items[at : at + chunk_size]


async def async_iterate_to_list(cmd: AsyncIterable[T]) -> list[T]:
    """Return everything that an async iterable has."""
    return [item async for item in cmd]
