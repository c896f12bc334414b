"""How one record stands in a chunk: where it begins, where it ends, is it whole.

A framing turns an item into the bytes of a record and finds records in a block of
a chunk.  Reading never runs past the block: ``Short`` says how much is needed.

The four shipped serializers are *native*: their records can be delimited without
running any item's code, so ``info`` may be overwritten in place and rebuilt from
the chunks.  Any other serializer is *foreign*: its ``load`` alone knows where a
record ends and may read as much as it likes.  A framing is *checked* if its records have
checksums: then no changed byte makes two records of one, or one of two.  A line has neither that
nor a length: one newline more or less may do it.

Pickled records carry a checksum.  In front of each stands a pickle no-op of 17
bytes that every unpickler skips::

    80 04      PROTO 4
    43 0c      SHORT_BINBYTES, 12 bytes:
        70 71 52 31    magic "pqR1"
        .. .. .. ..    length of the pickle behind the no-op (little-endian)
        .. .. .. ..    its CRC-32
    30         POP

Records without it (persist-queue's own) are read as they are.
"""

from __future__ import annotations

import io
import operator
import pickle
from struct import Struct
from typing import IO, TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from ..exceptions import SerializationError
from ..serializers._coroutines import Driven, Unawaited, is_coroutine_function, refuse_coroutine
from ..serializers._shared import LENGTH
from .block import (
    NOT_DAMAGE,
    Block,
    Damaged,
    Short,
    cannot_decode,
    cannot_encode,
    is_whole_pickle,
    too_long,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..serializers import Serializer
    from .signedframing import SignedFraming

_NO_OP = Struct("<8sLLc")
_NO_OP_START = b"\x80\x04\x43\x0cpqR1"
_NO_OP_SIZE = _NO_OP.size
_SUMS, _SUMS_AT = Struct("<LL"), len(_NO_OP_START)
_LONGEST = 0xFFFFFFFF
_MOST_DAMAGED = len(_NO_OP_START) // 2
_LONG_VALUE = b"XB"  # pickle's opcodes for text and bytes with a length of four bytes
_TUPLES = b"t\x85\x86\x87\x91"  # pickle's opcodes for immutable values that hold others
BAD_SUM, _BAD_MARK = "its checksum does not fit", "its checksum is damaged"
_FEW = 2  # cannot do it in 4 KiB


def marked(payload: bytes) -> bytes:
    """Return a pickle behind the no-op with its checksum."""
    if len(payload) > _LONGEST:
        return payload  # no room for its length in the no-op: stored bare
    return _no_op(payload) + payload


def unmarked(data: bytes) -> bytes:
    """Return the pickle in ``data``, which is whole, or ``data`` if it has no checksum.

    Raises:
        Damaged: its checksum does not fit, or is damaged itself.
    """
    if data.startswith(_NO_OP_START):
        payload = data[_NO_OP_SIZE:]
        if data[:_NO_OP_SIZE] != _no_op(payload):
            raise Damaged(BAD_SUM)
        return payload
    if _is_disguised(data[: len(_NO_OP_START)], len(data)):
        raise Damaged(_BAD_MARK)
    return data


def _no_op(payload: bytes) -> bytes:
    """Return what stands in front of a pickle."""
    return _NO_OP.pack(_NO_OP_START, len(payload), crc32(payload), b"0")


def _is_disguised(start: bytes, size: int = _LONGEST) -> bool:
    """Return whether bytes are the beginning of a no-op that is damaged.

    A bare pickle of text or bytes that are 64 KiB long begins with an opcode and the length, which
    may be any bytes.

    Args:
        size: of the whole pickle, or more: such a length is less.
    """
    alike: int = sum(map(operator.eq, start, _NO_OP_START))
    if alike <= _MOST_DAMAGED:
        return False
    return start[2] not in _LONG_VALUE or int.from_bytes(start[3:7], "little") > size


class PickleFraming:
    """Checksummed pickles; upstream's bare ones are read as well."""

    name = "pickle"
    native = checked = True
    lines = False

    def encode(self, item: Any) -> bytes:
        try:
            payload = pickle.dumps(item, 4)
        except Exception as error:
            raise cannot_encode(self.name, item, error) from error
        return marked(payload)

    def decode(self, block: Block, at: int) -> tuple[Any, int]:
        if not block.data.startswith(_NO_OP_START, at):
            return self._decode_bare(block, at)
        payload, end = self._payload(block, at)
        if len(payload) > block.longest:
            raise too_long(block.longest)
        try:
            return pickle.loads(payload), end
        except Exception as error:
            raise cannot_decode(self.name, error) from error

    def boundary(self, block: Block, at: int) -> int:
        """Return where the record ends, without running any code of it."""
        if block.data.startswith(_NO_OP_START, at):
            return self._payload(block, at)[1]
        self._refuse_disguise(block, at)
        return at + _length_of_pickle(block.stream(block.base + at, None))

    def candidate(self, data: bytes, at: int) -> int:
        """Return where the next record may begin, or -1."""
        return data.find(_NO_OP_START, at)

    def _refuse_disguise(self, block: Block, at: int) -> None:
        """Refuse bytes that are no bare pickle: above all, our own no-op with a damaged byte.

        A bare one shares the first two bytes with it; read as such, a record of ours
        would go unchecked.
        """
        rest = block.limit - block.base - at
        block.need(at, max(2, min(len(_NO_OP_START), rest)))  # 2: the shortest pickle
        data = block.data
        if _is_disguised(data[at : at + len(_NO_OP_START)]):
            raise Damaged(_BAD_MARK)
        if data[at] != 0x80:
            raise Damaged("no pickle begins here")

    def dump_info(self, value: dict[str, Any]) -> bytes:
        return pickle.dumps(value, 4)

    def load_info(self, raw: bytes) -> Any:
        return plain_pickle(raw)

    def _payload(self, block: Block, at: int) -> tuple[bytes, int]:
        """Return the pickle behind a no-op, which is whole, and where it ends."""
        data, start = block.data, at + _NO_OP_SIZE
        have = len(data)
        if start > have:
            block.need(at, _NO_OP_SIZE)
        length, checksum = _SUMS.unpack_from(data, at + _SUMS_AT)
        end = start + length
        if end > have:
            block.need(at, _NO_OP_SIZE + length)
        payload = data[start:end]
        if crc32(payload) != checksum or not length:  # zeros fit a checksum of zero
            raise Damaged(BAD_SUM)
        return payload, end

    def _decode_bare(self, block: Block, at: int) -> tuple[Any, int]:
        self._refuse_disguise(block, at)
        stream = block.stream(block.base + at, block.longest)
        try:
            return pickle.load(stream), at + stream.tell()
        except Exception as error:
            end = self.boundary(block, at)  # Damaged if it is no pickle at all
            if end - at > block.longest:
                raise too_long(block.longest) from None
            if not is_whole_pickle(block.stream(block.base + at, end - at).read()):
                raise Damaged(f"not a pickle: {error}") from error
            raise cannot_decode(self.name, error) from error


class PlainFraming:
    """The framing of msgpack, cbor2 and json: bytes from ``dumps``, a frame around them.

    Args:
        wrap: puts the frame around a payload.
        find: returns where payload starts and stops and where the record ends.
        candidate: returns where the next record may begin, or -1.
    """

    native, checked = True, False

    def __init__(
        self,
        name: str,
        module: Any,
        wrap: Callable[[bytes], bytes],
        find: Callable[[Block, int], tuple[int, int, int]],
        candidate: Callable[[bytes, int], int],
    ) -> None:
        self.name = name
        self._dumps: Callable[[Any], bytes] = module.dumps
        self._loads: Callable[[bytes], Any] = module.loads
        self._wrap, self._find, self.candidate = wrap, find, candidate
        self.lines = wrap is _wrap_line

    def encode(self, item: Any) -> bytes:
        try:
            return self._wrap(self._dumps(item))
        except Exception as error:
            raise cannot_encode(self.name, item, error) from error

    def decode(self, block: Block, at: int) -> tuple[Any, int]:
        start, stop, end = self._find(block, at)
        if stop - start > block.longest:
            raise too_long(block.longest)
        try:
            return self._loads(block.data[start:stop]), end
        except NOT_DAMAGE as error:
            raise cannot_decode(self.name, error) from error
        except Exception as error:
            raise Damaged(f"not {self.name}: {error}") from error

    def boundary(self, block: Block, at: int) -> int:
        """Return where the record ends (decoding these runs no code)."""
        return self.decode(block, at)[1]

    def dump_info(self, value: dict[str, Any]) -> bytes:
        return self._wrap(self._dumps(value))

    def load_info(self, raw: bytes) -> Any:
        block = Block(0, 0, raw, len(raw), len(raw), lambda at, _: io.BytesIO(raw[at:]))
        start, stop, _ = self._find(block, 0)
        try:
            if self.name == "cbor2":
                _refuse_tags(raw[start:stop])
            return self._loads(raw[start:stop])
        except Exception as error:  # in so few bytes, nesting too deep is damage, too
            raise Damaged(f"not {self.name}: {error}") from error


def _wrap_length(payload: bytes) -> bytes:
    return LENGTH.pack(len(payload)) + payload


def _find_length(block: Block, at: int) -> tuple[int, int, int]:
    block.need(at, LENGTH.size)
    (length,) = LENGTH.unpack_from(block.data, at)
    if not length:
        raise Damaged("a length of zero")
    block.need(at, LENGTH.size + length)
    start = at + LENGTH.size
    return start, start + length, start + length


def _no_candidate(data: bytes, at: int) -> int:
    return -1


def _wrap_line(payload: bytes) -> bytes:
    return payload + b"\n"


def _find_line(block: Block, at: int) -> tuple[int, int, int]:
    stop = block.data.find(b"\n", at)
    if stop < 0:
        if block.end >= block.limit:
            raise Damaged("no newline ends it")
        raise Short(2 * (len(block.data) - at) + 1)
    return at, stop, stop + 1


def _next_line(data: bytes, at: int) -> int:
    return data.find(b"\n", at - 1) + 1 or -1


class ForeignFraming:
    """A user's serializer: only its own ``load`` knows where a record ends."""

    native = checked = lines = False

    def __init__(self, name: str, serializer: Serializer) -> None:
        self.name = name
        self._serializer = serializer

    def encode(self, item: Any) -> bytes:
        buffer = io.BytesIO()
        try:
            refuse_coroutine(self._serializer.dump(item, buffer))
        except Exception as error:
            raise cannot_encode(self.name, item, error) from error
        return buffer.getvalue()

    def decode(self, block: Block, at: int) -> tuple[Any, int]:
        stream = block.stream(block.base + at, None)
        try:
            item = self._serializer.load(stream)
            refuse_coroutine(item)
            return item, at + stream.tell()
        except OSError:  # the disk's, or that of a service which load asks
            raise
        except (*NOT_DAMAGE, ImportError, Unawaited) as error:
            raise cannot_decode(self.name, error) from error
        except Exception as error:
            raise Damaged(f"{self.name}.load raised {type(error).__name__}: {error}") from error

    def boundary(self, block: Block, at: int) -> int:
        end = self.decode(block, at)[1]
        if block.base + end > block.limit:
            raise Damaged("it ends behind the end of the data")
        return end

    def candidate(self, data: bytes, at: int) -> int:
        return -1

    def dump_info(self, value: dict[str, Any]) -> bytes:
        return self.encode(value)

    def load_info(self, raw: bytes) -> Any:
        value = self._serializer.load(io.BytesIO(raw))
        try:
            refuse_coroutine(value)
        except Unawaited as error:
            raise SerializationError(f"{self.name} cannot decode info: {error}") from error
        return value


Framing: TypeAlias = "PickleFraming | PlainFraming | ForeignFraming | SignedFraming"


def framing_of(serializer: Any) -> Framing:
    """Return the framing for a serializer: a shipped module, or any object.

    Raises:
        AttributeError: it has no ``dump`` or no ``load``.
        TypeError: they are coroutine functions, which nothing here drives.
    """
    for verb in ("dump", "load"):
        if not callable(getattr(serializer, verb, None)):
            raise AttributeError(
                f"a serializer needs dump(value, fp) and load(fp); {serializer!r} has no {verb}"
            )
    if getattr(serializer, "signs", None) is True:
        from .signedframing import SignedFraming  # it loads hashlib, which few queues need

        return SignedFraming(serializer)
    name = _name_of(serializer)
    ours = name.removeprefix("persistqueue.serializers.")
    if name in ("pickle", "_pickle") or (ours != name and ours in ("pickle", "async_pickle")):
        return PickleFraming()
    if ours != name and ours in ("msgpack", "cbor2"):
        return PlainFraming(ours, serializer, _wrap_length, _find_length, _no_candidate)
    if ours != name and ours == "json":
        return PlainFraming(ours, serializer, _wrap_line, _find_line, _next_line)
    if is_coroutine_function(serializer.dump) or is_coroutine_function(serializer.load):
        raise TypeError(f"{name} has coroutine functions: only AsyncQueue can use it")
    return ForeignFraming(name, serializer)


def recognise(raw: bytes) -> str | None:
    """Return which of our serializers can have written these bytes of an ``info``."""
    if b"chunksize" not in raw:
        return None
    if raw.startswith(b"pqS1"):
        return "signed"
    if raw[:1] == b"\x80":
        return "pickle"
    if raw[:1] == b"{":
        return "json"
    return {b"\x84": "msgpack", b"\xa4": "cbor2"}.get(raw[4:5])


def plain_pickle(raw: bytes) -> Any:
    """Return the value of a pickle, running no code that it names."""
    _refuse_tuples(raw)
    return _Inert(io.BytesIO(raw)).load()


class _Inert(pickle.Unpickler):
    """Reads plain values; a pickle that would call into a class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _refuse_tuples(raw: bytes) -> None:
    """Raise ``Damaged`` for a pickle with tuples: a few nested ones take years to hash."""
    if len(raw) - len(raw.translate(None, _TUPLES)) - raw.count(b"tail") <= _FEW:
        return  # these bytes may stand for anything
    import pickletools  # 5 ms

    for opcode, _, _ in pickletools.genops(raw):
        if opcode.code.encode("latin-1") in _TUPLES:
            raise Damaged("it holds tuples")


def _refuse_tags(data: bytes) -> None:
    """Raise ``Damaged`` for CBOR that holds more than numbers, text, lists and maps.

    Raises:
        IndexError: it ends too early.
    """
    at, left = 0, 1
    while left:
        left -= 1
        major, value = divmod(data[at], 32)
        at += 1
        if value > 23:
            size = 1 << value - 24
            value = int.from_bytes(data[at : at + size], "big")
            at += size
        if major > 5:
            raise Damaged("it holds tags")
        at += value if major in (2, 3) else 0
        left += value * {4: 1, 5: 2}.get(major, 0)


def _name_of(serializer: Any) -> str:
    if isinstance(serializer, Driven):
        serializer = serializer.inner
    name: str = getattr(serializer, "__name__", type(serializer).__qualname__)
    return name


def _length_of_pickle(stream: IO[bytes]) -> int:
    """Walk a pickle's opcodes up to its STOP, running none of them."""
    import pickletools  # 5 ms, and only damage and records without a checksum need it

    try:
        for _ in pickletools.genops(stream):
            pass
    except Exception as error:
        raise Damaged(f"not a pickle: {error}") from error
    return stream.tell()
