"""Serializers whose ``dump`` or ``load`` is a coroutine function.

An item is encoded on the event loop of its caller.  Everything else (``info``, and
decoding) happens on the store's thread.  There each coroutine runs to its end in a loop of its
own: it must not use objects that belong to another loop.
"""

from __future__ import annotations

import io
from functools import partial
from types import CoroutineType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_CALL = "__call__"
_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE; importing inspect costs 10 ms


class Unawaited(TypeError):
    """A serializer's function returned a coroutine, and did not look like a coroutine function."""


def refuse_coroutine(result: Any) -> None:
    """Raise ``Unawaited`` for a coroutine that would not be awaited."""
    if isinstance(result, CoroutineType):
        result.close()
        raise Unawaited(
            "it returned a coroutine; AsyncQueue takes coroutine functions, and tells them by "
            "their 'async def': a wrapper around one needs it, too"
        )


class AsyncStream:
    """A binary stream whose methods are coroutine functions, as those of aiofiles' files."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._stream, name)

        async def call(*arguments: Any) -> Any:
            return method(*arguments)

        return call


class Driven:
    """A serializer with coroutine functions, behind ordinary ones.

    Args:
        inner: an object with ``dump(value, fp)`` and ``load(fp)``.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def encode(self, value: Any) -> bytes:
        """Return ``value`` as bytes; on the running loop."""
        buffer = io.BytesIO()
        if is_coroutine_function(self.inner.dump):
            await self.inner.dump(value, AsyncStream(buffer))
        else:
            refuse_coroutine(self.inner.dump(value, buffer))
        return buffer.getvalue()

    def dump(self, value: Any, fp: IO[bytes]) -> None:
        """Write ``value`` to ``fp``."""
        fp.write(_run(self.encode(value)))

    def load(self, fp: IO[bytes]) -> Any:
        """Read one value from ``fp``."""
        if is_coroutine_function(self.inner.load):
            return _run(self.inner.load(AsyncStream(fp)))
        return self.inner.load(fp)


def is_coroutine_function(function: Any) -> bool:
    """Return whether calling ``function`` returns something to be awaited."""
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__"):  # an object that can be called
        kinds = type(function).__mro__
        function = next((kind.__dict__[_CALL] for kind in kinds if _CALL in kind.__dict__), None)
    code = getattr(function, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _IS_COROUTINE)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # the sync half, which only asks the question above, must not pay for it

    return asyncio.run(coroutine)
