"""Who wrote a row, and is it whole?  Found out without running any code of its item.

A row says neither which serializer wrote it nor how long it was.  A pickle can be walked through
with something harmless in the place of every class; the other shipped serializers run no code.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import FormatError, SerializationError
from .block import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .codec import RowCodec

SHIPPED = ("signed", "pickle", "json", "msgpack", "cbor2")  # the strict ones first
SAMPLE = 20  # items that tell which serializer wrote a queue
_EVIDENCE = 4  # bytes
_UNKNOWN = "another serializer, or are damaged"


class _Kind(type):
    """The class of ``_Anything``."""

    def __call__(cls, *_args: Any, **_options: Any) -> Any:
        return cls

    def __setitem__(cls, _key: Any, _value: Any) -> None:
        """Take any value."""


class _Anything(metaclass=_Kind):
    """Stands for every class, function and object that a pickle names."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return cls

    @staticmethod
    def append(*_: Any) -> None:
        """Take any arguments."""

    __setstate__ = extend = add = append


class _Harmless(pickle.Unpickler):
    """Goes through a pickle and calls nothing that it names."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002
        return _Anything

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        return _Anything


def check_pickle(data: Any) -> None:
    """Raise ``Damaged`` unless this is one whole pickle; its classes are not looked at."""
    if not isinstance(data, bytes):
        raise Damaged("a pickle is bytes")
    stream = io.BytesIO(data)
    try:
        _Harmless(stream).load()
    except Exception as error:
        raise Damaged(f"not a pickle: {error}") from error
    if left := len(data) - stream.tell():
        raise Damaged(f"{left} bytes are behind the pickle")


def is_whole_pickle(data: Any) -> bool:
    """Return whether this is one whole pickle; its classes are not looked at."""
    try:
        check_pickle(data)
    except Damaged:
        return False
    return True


def check_of(name: str) -> Callable[[Any], Any]:
    """Return a function that raises an error for a row that a shipped serializer has not written.

    Raises:
        ImportError: a library is missing.
    """
    if name == "pickle":
        return _check_marked_pickle
    if name == "signed":
        return importlib.import_module("persistqueue.serializers._signed").unseal  # type: ignore[no-any-return]
    loads: Callable[[Any], Any] = importlib.import_module(f"persistqueue.serializers.{name}").loads
    return loads


def recognise(rows: Sequence[Any]) -> tuple[str | None, list[Any]]:
    """Return the shipped serializer that most of these rows fit, and those that do."""
    best: str | None = None
    most: list[Any] = []
    for name in SHIPPED:
        try:
            check = check_of(name)
        except ImportError:
            continue
        fits = [row for row in rows if _passes(check, row)]
        if len(fits) > len(most):
            best, most = name, fits
    return best, most


def refuse_others(codec: RowCodec, rows: Sequence[Any], where: str, *, skips: bool) -> None:
    """Raise if not one of these rows was written with this codec's serializer.

    Args:
        rows: those that come next.
        where: the name of their place in the message.
        skips: each of them is about to be set aside: all of them is too much.

    Raises:
        FormatError: says who wrote them, if that can be seen.
    """
    if not rows or any(map(codec.may_be_own, rows)):
        return
    name, fits = recognise(rows)
    # Any byte or two are something in msgpack and CBOR.
    if name is not None and 2 * len(fits) >= len(rows) and sum(map(len, fits)) >= _EVIDENCE:
        refuse(where, f"the {name} serializer", codec.name)
    if skips and len(rows) > 1:
        refuse(where, _UNKNOWN, codec.name)


def refuse(where: str, writer: str, opened_with: str) -> NoReturn:
    """Raise the error for items that another serializer wrote."""
    advice = ""
    if writer is _UNKNOWN:
        advice = "; set_aside() or python -m persistqueue repair gets past what is damaged"
    raise FormatError(
        f"{where}: the items were written with {writer}; this object was opened with "
        f"{opened_with.removeprefix('persistqueue.serializers.')}. Nothing was touched{advice}"
    )


def _check_marked_pickle(data: Any) -> None:
    if data[:1] != b"\x80":
        raise Damaged("not a pickle of protocol 2 or later")
    check_pickle(data)


def _passes(check: Callable[[Any], Any], row: Any) -> bool:
    try:
        check(row)
    except SerializationError:
        return True
    except Exception:  # noqa: BLE001 - after any error: it does not fit
        return False
    return True
