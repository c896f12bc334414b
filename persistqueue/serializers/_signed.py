"""Records that carry a signature, and are refused without one before anything is decoded.

A record delimits itself and is the same in a chunk and in a row::

    70 71 53 31    magic "pqS1"
    .. .. .. ..    CRC-32 of all that follows (little-endian)
    .. .. .. ..    length of the payload (little-endian)
    ..             length of the key's id
    id             UTF-8
    32 bytes       HMAC-SHA256
    payload        what the inner serializer's ``dumps`` returned

The HMAC is that of the purpose, a NUL, the id's length, the id and the payload.  The
purpose is the inner serializer's name: bytes that were signed as JSON are not a pickle.

The checksum tells rust from forgery without the key.  A record that fits its checksum and
was signed with a key that is not known here is another program's whole item: it stays stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from struct import Struct
from types import ModuleType
from typing import IO, Any, NamedTuple
from zlib import crc32

from ..exceptions import SerializationError
from . import async_pickle, pickle
from ._shared import in_memory, takes_sort_keys

MAGIC = b"pqS1"
HEAD = Struct("<4sLLB")
INFO = "info"  # the purpose of the file of that name
_CHECKED_FROM = 8  # the checksum is that of the bytes behind it
_MAC_SIZE = sha256().digest_size
_SHORTEST_KEY = 16
_LONGEST_ID = 64
_LONGEST = 0xFFFFFFFF
_SHIPPED = "persistqueue.serializers."


class BadSignature(ValueError):
    """No holder of the key has written these bytes; the message says why."""


class Sealed(NamedTuple):
    """The parts of a record that fits its checksum; its signature is not checked yet."""

    key_id: str
    signature: bytes
    payload: bytes


class Signed:
    """A serializer that signs another one's records; see ``signed``."""

    signs = True  # file queues have a framing for it

    def __init__(
        self, inner: Any, key: bytes | Mapping[str, bytes], current: str | None = None
    ) -> None:
        self._keys = _checked_keys(key)
        self._current = next(iter(self._keys)) if current is None else current
        if self._current not in self._keys:
            raise ValueError(f"there is no key with the id {current!r} to sign with")
        if inner is async_pickle or getattr(inner, "__name__", "") in ("pickle", "_pickle"):
            inner = pickle  # the same bytes
        module = inner.__name__ if isinstance(inner, ModuleType) else ""
        self.inner_name = module.removeprefix(_SHIPPED) if module.startswith(_SHIPPED) else "other"
        self.__name__ = f"signed {self.inner_name}"
        self._dumps, self._loads = in_memory(inner, getattr(inner, "__name__", repr(inner)))
        self._sorts = takes_sort_keys(self._dumps)

    def dump(self, value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
        """Write a signed record to ``fp``."""
        fp.write(self.dumps(value, sort_keys))

    def dumps(self, value: Any, sort_keys: bool = False) -> bytes:
        """Return ``value`` as a signed record; equal bytes inside are equal bytes outside."""
        sorting = {"sort_keys": True} if sort_keys and self._sorts else {}
        payload = self._dumps(value, **sorting)
        if isinstance(payload, str):
            payload = payload.encode()
        return self.seal(payload, self.inner_name)

    def load(self, fp: IO[bytes]) -> Any:
        """Read one record from ``fp``, leave ``fp`` behind it, and return its value."""
        head = fp.read(HEAD.size)
        rest = fp.read(size_of(head) - len(head)) if len(head) == HEAD.size else b""
        return self.loads(head + rest)

    def loads(self, bytes_value: bytes) -> Any:
        """Return the value of a record whose signature is good.

        Raises:
            BadSignature: it is not signed, damaged, or forged; a ``ValueError``.
            SerializationError: its key is not known here, or it cannot be decoded here.
        """
        payload = self.verify(unseal(bytes_value), self.inner_name)
        try:
            return self._loads(payload)
        except Exception as error:
            raise SerializationError(
                f"{self.inner_name} cannot decode an item whose signature is good "
                f"({type(error).__name__}: {error}); it stays stored"
            ) from error

    def seal(self, payload: bytes, purpose: str) -> bytes:
        """Return a record with this payload, signed with the current key."""
        if len(payload) > _LONGEST:
            raise ValueError("it is longer than 4 GiB")
        name = self._current.encode()
        head = HEAD.pack(MAGIC, 0, len(payload), len(name))
        signature = _signature(self._keys[self._current], purpose, name, payload)
        rest = b"".join((head[_CHECKED_FROM:], name, signature, payload))
        return b"".join((MAGIC, crc32(rest).to_bytes(4, "little"), rest))

    def verify(self, record: Sealed, purpose: str) -> bytes:
        """Return the payload, if its signature is good."""
        key = self._keys.get(record.key_id)
        if key is None:
            raise SerializationError(
                f"it was signed with the key {record.key_id!r}, which is not among those given "
                "here; it stays stored: add that key"
            )
        expected = _signature(key, purpose, record.key_id.encode(), record.payload)
        if not hmac.compare_digest(expected, record.signature):
            raise BadSignature("its signature does not fit: forged, or another key has this id")
        return record.payload

    def __repr__(self) -> str:
        return f"<signed {self.inner_name}, key {self._current!r}>"


def signed(inner: Any, key: bytes | Mapping[str, bytes], *, current: str | None = None) -> Signed:
    """Return a serializer that signs each record, and decodes none without a good signature.

    The signature is HMAC-SHA256.  Without the key, no program can write items or change
    them.  It can still delete, repeat or move whole records, from one queue to another with
    the same key, too.

    Args:
        inner: encodes the items: a module of ``persistqueue.serializers`` or any object with
            ``dumps(value)`` and ``loads(data)``, or ``dump(value, fp)`` and ``load(fp)``.
        key: at least 16 random bytes (``secrets.token_bytes(32)``); or a dict of ids (text of
            up to 64 bytes) and keys: all of them are accepted, one signs.  A key that is
            given without an id has the id ``""``.
        current: the id of the key that signs; None for the first one.

    Raises:
        TypeError, ValueError: a key is of a wrong type, or too short; there is none.
        AttributeError: ``inner`` is no serializer.
    """
    return Signed(inner, key, current)


def size_of(head: bytes) -> int:
    """Return the length of the record that begins with these ``HEAD.size`` bytes.

    Raises:
        BadSignature: no signed record begins so.
    """
    magic, _, length, name = HEAD.unpack(head)
    if magic != MAGIC or name > _LONGEST_ID:
        raise BadSignature("it is not signed")
    size: int = HEAD.size + name + _MAC_SIZE + length
    return size


def unseal(record: Any) -> Sealed:
    """Take a record apart, if it is whole; needs no key.

    Raises:
        BadSignature: it is not.
    """
    if not isinstance(record, bytes) or len(record) < HEAD.size:
        raise BadSignature("it is not signed")
    if size_of(record[: HEAD.size]) != len(record):
        raise BadSignature("its length does not fit")
    if crc32(memoryview(record)[_CHECKED_FROM:]) != HEAD.unpack_from(record)[1]:
        raise BadSignature("its checksum does not fit")
    start = HEAD.size + record[HEAD.size - 1]
    behind = start + _MAC_SIZE
    try:
        key_id = record[HEAD.size : start].decode()
    except UnicodeDecodeError as error:
        raise BadSignature("its key's id is not text") from error
    return Sealed(key_id, record[start:behind], record[behind:])


def _signature(key: bytes, purpose: str, name: bytes, payload: bytes) -> bytes:
    message = b"".join((purpose.encode(), b"\0", len(name).to_bytes(1, "little"), name, payload))
    return hmac.digest(key, message, "sha256")


def _checked_keys(key: bytes | Mapping[str, bytes]) -> dict[str, bytes]:
    keys = dict(key) if isinstance(key, Mapping) else {"": key}
    if not keys:
        raise ValueError("no key was given to sign with")
    for name, value in keys.items():
        if not isinstance(name, str):
            raise TypeError(f"the id of a key must be a str, not {type(name).__name__}")
        try:
            too_long = len(name.encode()) > _LONGEST_ID
        except UnicodeEncodeError:
            too_long = True
        if too_long:
            raise ValueError(f"the id of a key is text of up to {_LONGEST_ID} bytes, not {name!a}")
        if not isinstance(value, (bytes, bytearray)):
            raise TypeError(f"a key must be bytes, not {type(value).__name__}")
        if len(value) < _SHORTEST_KEY:
            raise ValueError(
                f"a key must have at least {_SHORTEST_KEY} bytes, this one has {len(value)}: "
                "secrets.token_bytes(32) makes a good one"
            )
    return {name: bytes(value) for name, value in keys.items()}
