"""A serializer in memory: its ``dumps`` and ``loads``, or ones made of ``dump`` and ``load``."""

from __future__ import annotations

import io
import pickle as _pickle
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import pickle
from ._coroutines import is_coroutine_function

if TYPE_CHECKING:
    from collections.abc import Callable


def in_memory(serializer: Any, name: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Return the functions that encode and decode one value.

    Raises:
        AttributeError: the serializer has neither pair.
        TypeError: it has coroutine functions.
    """
    dumps, loads = getattr(serializer, "dumps", None), getattr(serializer, "loads", None)
    if dumps is None or loads is None:
        dumps, loads = _from_streams(serializer, name)
    if is_coroutine_function(dumps) or is_coroutine_function(loads):
        raise TypeError(f"{name} has coroutine functions: give its ordinary twin")
    return dumps, _strict(serializer, loads)


def _strict(serializer: Any, loads: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what refuses bytes behind a value where ``loads`` is known to ignore them."""
    if loads in (_pickle.loads, pickle.loads):  # cloudpickle's is the first one, too
        return pickle.load_all
    if isinstance(serializer, ModuleType) and serializer.__name__ == "cbor2":
        from .cbor2 import loads as strict  # noqa: PLC0415 - of the same bytes

        return strict
    return loads


def takes_sort_keys(function: Any) -> bool:
    """Return whether ``function`` has an argument ``sort_keys``, as far as that can be seen."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    takes_any = bool(code.co_flags & 0x08)  # inspect.CO_VARKEYWORDS
    return takes_any or "sort_keys" in code.co_varnames


def _from_streams(serializer: Any, name: str) -> tuple[Any, Any]:
    if not (hasattr(serializer, "dump") and hasattr(serializer, "load")):
        raise AttributeError(
            f"{name} is no serializer: it needs dumps(value) and loads(data), "
            "or dump(value, fp) and load(fp)"
        )

    def dumps(value: Any) -> bytes:
        buffer = io.BytesIO()
        serializer.dump(value, buffer)
        return buffer.getvalue()

    def loads(data: bytes) -> Any:
        stream = io.BytesIO(data)
        value = serializer.load(stream)
        if not stream.closed and (left := len(data) - stream.tell()):
            raise ValueError(f"{left} bytes are left behind what load has read")
        return value

    if is_coroutine_function(serializer.dump) or is_coroutine_function(serializer.load):
        raise TypeError(f"{name} has coroutine functions: give its ordinary twin")
    return dumps, loads
