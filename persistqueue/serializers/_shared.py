"""What serializers have in common: sorted keys, the frame of a value, values in memory."""

from __future__ import annotations

import io
import pickle as _pickle
from operator import is_ as _is
from struct import Struct
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from ._coroutines import is_coroutine_function

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = Struct("<L")  # in front of a value whose format does not tell where it ends


# -- streams ------------------------------------------------------------------------------


def write_framed(payload: bytes, fp: IO[bytes]) -> None:
    """Write the length of ``payload`` (little-endian, 4 bytes), then ``payload``."""
    fp.write(LENGTH.pack(len(payload)))
    fp.write(payload)


def read_framed(fp: IO[bytes]) -> bytes:
    """Read one payload.

    Raises:
        EOFError: ``fp`` ends before the payload does.
    """
    prefix = fp.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        raise EOFError("no length prefix: the data ends here")
    (length,) = LENGTH.unpack(prefix)
    payload = fp.read(length)
    if len(payload) < length:
        raise EOFError(f"{length} bytes announced, {len(payload)} there")
    return payload


# -- in memory ----------------------------------------------------------------------------


def in_memory(serializer: Any, name: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Return the functions that encode and decode one value.

    They are ``dumps`` and ``loads``, or are made of ``dump`` and ``load``.  Where it is known
    that ``loads`` ignores bytes behind a value, they are refused.

    Raises:
        AttributeError: the serializer has neither pair.
        TypeError: it has coroutine functions.
    """
    dumps, loads = getattr(serializer, "dumps", None), getattr(serializer, "loads", None)
    if dumps is None or loads is None:
        if not (hasattr(serializer, "dump") and hasattr(serializer, "load")):
            raise AttributeError(
                f"{name} is no serializer: it needs dumps(value) and loads(data), "
                "or dump(value, fp) and load(fp)"
            )
        _refuse_coroutines(name, serializer.dump, serializer.load)
        dumps, loads = _from_streams(serializer)
    _refuse_coroutines(name, dumps, loads)
    from . import pickle  # noqa: PLC0415 - it rests on this module

    if loads in (_pickle.loads, pickle.loads):  # cloudpickle's is the first one, too
        return dumps, load_pickle
    if isinstance(serializer, ModuleType) and serializer.__name__ == "cbor2":
        from .cbor2 import loads as strict  # noqa: PLC0415 - of the same bytes

        return dumps, strict
    return dumps, loads


def load_pickle(data: bytes) -> Any:
    """Return the value of a pickle with no bytes behind it.

    Raises:
        pickle.UnpicklingError: bytes are left behind it, or it is no pickle.
    """
    stream = io.BytesIO(data)  # ``pickle.loads`` does not tell where it stopped
    value = _pickle.load(stream)
    if left := len(data) - stream.tell():
        raise _pickle.UnpicklingError(f"{left} bytes behind the pickle")
    return value


def _refuse_coroutines(name: str, *functions: Any) -> None:
    if any(map(is_coroutine_function, functions)):
        raise TypeError(f"{name} has coroutine functions: give its ordinary twin")


def _from_streams(serializer: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
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

    return dumps, loads


# -- sorted keys, for callers that compare stored bytes -----------------------------------


def takes_sort_keys(function: Any) -> bool:
    """Return whether ``function`` has an argument ``sort_keys``, as far as that can be seen."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    takes_any = bool(code.co_flags & 0x08)  # inspect.CO_VARKEYWORDS
    return takes_any or "sort_keys" in code.co_varnames


def by_key(value: Any, sort_keys: bool) -> Any:
    """Return a dict with its top level in key order, anything else as it is."""
    if sort_keys and isinstance(value, dict):
        return {key: value[key] for key in sorted(value)}
    return value


def canonical(value: Any) -> Any:
    """Return ``value`` with the dicts inside it in key order, at every depth.

    Only plain dicts, lists and tuples are looked into.  A value that needs no change comes back
    as the object it is, and so does one that has no such form: keys that cannot be compared,
    a structure that holds itself or is too deep.
    """
    try:
        return _canonical(value, {})
    except (TypeError, RecursionError):
        return value


def _canonical(value: Any, known: dict[int, Any]) -> Any:
    """Do the work; ``known`` keeps what occurs twice one object, as pickle sees it."""
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    if id(value) in known:
        found = known[id(value)]
        if found is None:
            raise RecursionError("it holds itself")
        return found
    known[id(value)] = None
    made = _ordered(value, known) if kind is dict else _inside(value, kind, known)
    known[id(value)] = made
    return made


def _ordered(value: dict[Any, Any], known: dict[int, Any]) -> dict[Any, Any]:
    keys = sorted(value)
    made = {key: _canonical(value[key], known) for key in keys}
    same = all(map(_is, keys, value)) and all(map(_is, made.values(), value.values()))
    return value if same else made


def _inside(value: Any, kind: Any, known: dict[int, Any]) -> Any:
    made = [_canonical(element, known) for element in value]
    return value if all(map(_is, made, value)) else kind(made)
