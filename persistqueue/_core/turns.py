"""Long work on an event loop, with a turn for the other tasks now and then."""

from __future__ import annotations

from asyncio import sleep
from typing import TYPE_CHECKING, Any

from .deadline import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TURN = 0.002  # s for which a caller may have the loop for itself


async def each(
    function: Callable[[Any], Any], items: Iterable[Any], *, awaits: bool = False
) -> list[Any]:
    """Return what ``function`` makes of each of ``items``.

    Args:
        awaits: what it returns is awaited.
    """
    made, now = [], monotonic
    turn = now() + TURN
    for item in items:
        made.append(await function(item) if awaits else function(item))
        if now() >= turn:
            await sleep(0)
            turn = now() + TURN
    return made
