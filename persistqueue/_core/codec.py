"""How an item becomes the bytes of a row, and back.

A row holds ``serializer.dumps(item)``.  In front of a pickle stands a checksum that every
unpickler skips (see ``framing``); a signed record has its own.  Unique queues hold the item
with its dicts in key order and nothing in front, so that equal items are equal bytes, whoever
wrote them; the checksum of their pickles is a column of its own.

A row says neither which serializer wrote it nor how long it was: that is found out without running
any code of its item.  A pickle can be walked through with something harmless in the place of every
class; the other shipped serializers run no code.
"""

from __future__ import annotations

import importlib
import pickle as _pickle
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from ..exceptions import FormatError, ItemTooLarge, QueueCorrupt, SerializationError
from ..serializers import async_pickle, pickle
from ..serializers._shared import canonical, in_memory, takes_sort_keys
from .block import NOT_DAMAGE, Damaged, cannot_encode, check_pickle, is_whole_pickle, too_long
from .framing import BAD_SUM, marked, unmarked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHIPPED = ("signed", "pickle", "json", "msgpack", "cbor2")  # the strict ones first
SAMPLE = 20  # items that tell which serializer wrote a queue
_EVIDENCE = 4  # bytes
_UNKNOWN = "another serializer, or are damaged"
_OURS = "persistqueue.serializers."
# Errors of loading a row that are this process's, where it cannot be seen in the row.
_NOT_DAMAGE = (*NOT_DAMAGE, ImportError, AttributeError)


class NotText(bytes):
    """A row's value that is stored as text and is none: bytes that are not UTF-8."""

    __slots__ = ()


def as_text(raw: bytes) -> Any:
    """Make a str of a text of SQLite, which checks no text (a ``text_factory``)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotText(raw)


class RowCodec:
    """Encodes and decodes rows with one serializer.

    Args:
        serializer: has ``dumps`` and ``loads``, or ``dump`` and ``load``.
        ordered: encode dicts in key order, at every depth.
        longest: bytes of the longest row that is written or loaded.

    Raises:
        AttributeError: the serializer has neither.
        TypeError: it has coroutine functions.
    """

    _MARKS = True  # pickles have a checksum in front

    def __init__(self, serializer: Any, *, ordered: bool, longest: int) -> None:
        if serializer in (_pickle, async_pickle):
            serializer = pickle  # the same bytes
        self.name = getattr(serializer, "__name__", type(serializer).__qualname__)
        self._longest = longest
        self._ordered = ordered
        self._dumps, self._loads = in_memory(serializer, self.name)
        signs = getattr(serializer, "signs", None) is True
        ours = "signed" if signs else self.name.removeprefix(_OURS)
        # Which of the shipped ones it is; None for one of the user's own.
        self.shipped = ours if signs or (self.name != ours and ours in SHIPPED) else None
        self._pickles = self.shipped == "pickle"
        self._marks = self._MARKS and self._pickles and not ordered
        self._sorts = takes_sort_keys(self._dumps)

    def encode(self, item: Any) -> Any:
        """Return the bytes (or, with some serializers, the text) of a row.

        Raises:
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        try:
            data = self._in_order(item) if self._ordered else self._dumps(item)
            data, size = (data, len(data)) if isinstance(data, bytes) else _in_a_row(data)
        except Exception as error:
            raise self._refused(cannot_encode(self.name, item, error), error) from error
        if size > self._longest:
            raise ItemTooLarge(
                f"the item is {size} bytes long once encoded, "
                f"max_item_bytes is {self._longest}; nothing was stored"
            )
        return marked(data) if self._marks and isinstance(data, bytes) else data

    def sum_of(self, data: Any) -> int | None:
        """Return the checksum that stands beside the bytes of a unique queue's row, or None."""
        return crc32(data) if self._pickles else None

    def _refused(self, error: SerializationError, _cause: Exception) -> SerializationError:
        """Return the error to raise for an item that cannot be encoded, or decoded here."""
        return error

    def bad_row(self, error: QueueCorrupt, _cause: BaseException | None) -> QueueCorrupt:
        """Return what is raised for a row that is damaged, as ``decode`` found."""
        return error

    def _in_order(self, item: Any) -> Any:
        item = canonical(item)
        if self._sorts:
            try:
                return self._dumps(item, sort_keys=True)
            except TypeError:  # keys that cannot be compared, or an item that cannot be stored
                return self._dumps(item)
        return self._dumps(item)

    def decode(self, data: Any, checksum: object = None) -> Any:
        """Return the item that a row holds.

        Args:
            checksum: what stands beside the row's bytes, if anything does.

        Raises:
            Damaged: it holds none.
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            OSError: loading it failed (a service that it asks did not answer, say).
        """
        if not isinstance(data, (bytes, str)):
            raise Damaged(f"not {self.name}: a row holds bytes or text, not {data!r}")
        if isinstance(data, NotText):
            raise Damaged(f"not {self.name}: text that is not UTF-8")
        if self._pickles:
            data = _payload(data, checksum)
        if len(data) > self._longest:
            raise too_long(self._longest)
        try:
            return self._loads(data)
        except (OSError, SerializationError):  # signed by a key that is not known here, above all
            raise
        except Exception as error:
            if not self._is_whole(data, error):
                raise Damaged(f"not {self.name}: {type(error).__name__}: {error}") from error
            refused = SerializationError(
                f"{self.name} cannot decode the item here "
                f"({type(error).__name__}: {error}); it is whole and stays stored: mend what "
                "fails, or get past it with set_aside()"
            )
            raise self._refused(refused, error) from error

    def _is_whole(self, data: Any, error: Exception) -> bool:
        """Return whether a row that cannot be loaded is no damage."""
        if isinstance(error, NOT_DAMAGE):
            return True
        if self.shipped == "pickle":
            return is_whole_pickle(data)
        if self.shipped is not None:
            return False
        return isinstance(error, _NOT_DAMAGE) or (data[:1] == b"\x80" and is_whole_pickle(data))

    def check(self, data: Any, checksum: object = None) -> None:
        """Raise ``Damaged`` unless a row holds a whole item; runs no pickle."""
        if self._pickles:
            check_pickle(_payload(data, checksum))
        else:
            self.decode(data, checksum)

    def may_be_own(self, data: Any) -> bool:
        """Return whether this serializer can have written a row; runs no pickle."""
        if not isinstance(data, (bytes, str)) or isinstance(data, NotText):
            return False
        if self.shipped == "pickle":
            return is_whole_pickle(data)
        try:
            (check_of("signed") if self.shipped == "signed" else self._loads)(data)
        except (OSError, SerializationError):
            return True
        except Exception as error:  # noqa: BLE001 - it may be any error
            return self._is_whole(data, error)
        return True


def _payload(data: Any, checksum: object) -> Any:
    """Return the pickle of a row, checked against its checksum if it has one.

    Raises:
        Damaged: it does not fit.
    """
    if not isinstance(data, bytes):
        return data
    if checksum is not None:
        if checksum == crc32(data):
            return data
        raise Damaged(BAD_SUM) from _pickle.UnpicklingError(BAD_SUM)
    try:
        return unmarked(data)
    except Damaged as damage:
        raise damage from _pickle.UnpicklingError(str(damage))


def _in_a_row(data: Any) -> tuple[bytes | str, int]:
    """Return the value of a row for ``data``, and how many bytes that takes.

    Raises:
        TypeError: a row cannot hold it.
        UnicodeEncodeError: it is text with half a character.
    """
    if isinstance(data, str):
        return data, len(data) if data.isascii() else len(data.encode())
    if isinstance(data, (bytearray, memoryview)):
        data = bytes(data)  # a copy: its serializer may use the buffer again
        return data, len(data)
    raise TypeError(f"it made {data!r:.60} of it, and a row holds bytes or text")


# -- who wrote a row? ---------------------------------------------------------------------


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
