"""Which serializer wrote what is looked at: the user says so, or the bytes do."""

from __future__ import annotations

import importlib
import json
import pickletools
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.codec import RowCodec
from .._core.framing import framing_of
from .._core.origin import recognise
from .._core.signedframing import SignedFraming
from ..exceptions import PersistQueueError, SerializationError
from ..serializers._inmemory import in_memory
from ..serializers._signed import MAGIC, BadSignature, Signed, unseal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from .._core.framing import Framing

SHIPPED = ("pickle", "json", "msgpack", "cbor2")
SAMPLE = 20  # rows that tell a table's serializer


class UnknownSerializer(PersistQueueError):
    """None of ours wrote this."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all commands take."""
    parser.add_argument("path", metavar="PATH", help="a queue's directory, or a database")
    parser.add_argument(
        "--serializer",
        metavar="NAME",
        help="pickle, json, msgpack, cbor2, signed, or module:object for one of your own, which "
        "is imported and called; without it, it is recognised by what is stored",
    )
    parser.add_argument(
        "--max-item-bytes",
        metavar="BYTES",
        type=counting_from(1),
        default=64 * 1024 * 1024,
        help="no longer item is read (default: 64 MiB)",
    )


def counting_from(least: int) -> Callable[[str], int]:
    """Return what makes a whole number of an argument, ``least`` or more."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise ValueError(text)
        return value

    number.__name__ = f"number (from {least} on)"  # argparse tells the user
    return number


def named(name: str | None) -> Any:
    """Return the serializer of that name: an object, ``"signed"``, or None for none.

    Raises:
        UnknownSerializer: there is none.
        ImportError: its module, or a library it needs, is not there.
    """
    if name is None or name == "signed":
        return name
    if name in SHIPPED:
        return importlib.import_module(f"persistqueue.serializers.{name}")
    module, _, attribute = name.partition(":")
    if not all(module.split(".")):
        raise UnknownSerializer(f"{name!r} names no serializer: say module:object")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part, None)
    if found is None:
        raise UnknownSerializer(f"there is no {attribute} in the module {module}")
    try:
        in_memory(found, name)
    except AttributeError as error:
        raise UnknownSerializer(str(error)) from error
    return found


def framing(serializer: Any) -> Framing:
    """Return what finds records in chunks; signatures are checked where there is a key."""
    if serializer == "signed":
        return SignedFraming(None)
    if isinstance(serializer, Signed):
        return SignedFraming(serializer, strict=True)
    try:
        return framing_of(serializer)
    except AttributeError as error:  # rows need less of it
        raise UnknownSerializer(str(error)) from error


def name_of(serializer: Any) -> str:
    """Return what to call a serializer."""
    if serializer == "signed":
        return "signed (the signatures were not checked: give the object with its key)"
    name: str = getattr(serializer, "__name__", type(serializer).__qualname__)
    return name.removeprefix("persistqueue.serializers.")


def row_check(serializer: Any, longest: int) -> Callable[[Any], None]:
    """Return what raises ``Damaged`` for a row that holds no item; it runs no pickle.

    It raises ``SerializationError`` for a row that is whole and cannot be decoded here.
    """
    if serializer == "signed" or isinstance(serializer, Signed):
        return lambda data: _check_signed(data, serializer)
    codec = RowCodec(serializer, ordered=False, longest=longest)
    if name_of(serializer) == "pickle":
        return _check_pickle
    return codec.decode


def loading(serializer: Any, longest: int) -> Callable[[Any], None]:
    """Return what does the same, and loads the row's item to see whether it can be loaded."""
    if serializer == "signed":
        return row_check(serializer, longest)
    codec = RowCodec(serializer, ordered=False, longest=longest)

    def check(data: Any) -> None:
        try:
            codec.decode(data)
        except (Damaged, SerializationError):
            raise
        except (Exception, SystemExit) as error:
            raise SerializationError(f"{type(error).__name__}: {error}") from error

    return check


def recognise_rows(rows: Sequence[Any]) -> Any:
    """Return the serializer that most of these rows fit, or None."""
    return named(recognise(rows)[0])


def _check_pickle(data: Any) -> None:
    """Walk over a pickle's opcodes, running none of them."""
    if not isinstance(data, bytes):
        raise Damaged("a pickle is bytes")
    end = 0
    try:
        for _, _, place in pickletools.genops(data):
            end = place or 0
    except Exception as error:
        raise Damaged(f"not a pickle: {error}") from error
    if end + 1 != len(data):
        raise Damaged(f"{len(data) - end - 1} bytes are behind the pickle")


def _check_signed(data: Any, serializer: Any) -> None:
    try:
        record = unseal(data)
        if isinstance(serializer, Signed):
            serializer.verify(record, serializer.inner_name)
    except BadSignature as error:
        raise Damaged(str(error)) from error


def recognise_chunk(data: bytes) -> str | None:
    """Return which serializer can have written the beginning of a chunk."""
    if data.startswith(b"\x80\x04"):
        return "pickle"
    if data.startswith(MAGIC):
        return "signed"
    line, newline, _ = data.partition(b"\n")
    try:
        if newline and json.loads(line) is not line:
            return "json"
    except (ValueError, RecursionError):
        pass
    return None
