"""Signed records in chunks, and a signed ``info`` (``serializers/_signed`` has their format).

A record's length and checksum can be seen without a key, so chunks are scanned and damage is
told from forgery as with the other native framings.  ``info`` is JSON in a signed record
with a purpose of its own, for any serializer of the items.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..exceptions import SerializationError
from ..serializers._signed import HEAD, INFO, MAGIC, BadSignature, Signed, size_of, unseal
from .block import Block, Damaged, cannot_encode, too_long

if TYPE_CHECKING:
    from ..serializers._signed import Sealed


class SignedFraming:
    """Signed records.

    Args:
        serializer: checks the signatures; None to look at checksums only, and decode nothing.
        strict: checks them also where a record's end is all that is asked for.
    """

    name = "signed"
    native = checked = True
    lines = False

    def __init__(self, serializer: Signed | None, *, strict: bool = False) -> None:
        self._signed = serializer
        self.strict = strict and serializer is not None
        self._purpose = f"{INFO} {serializer.inner_name}" if serializer else INFO

    def encode(self, item: Any) -> bytes:
        signed = self._known()
        try:
            return signed.dumps(item)
        except Exception as error:
            raise cannot_encode(signed.inner_name, item, error) from error

    def decode(self, block: Block, at: int) -> tuple[Any, int]:
        data, end = self._whole(block, at)
        try:
            return self._known().loads(data), end
        except BadSignature as error:
            raise Damaged(str(error)) from error

    def boundary(self, block: Block, at: int) -> int:
        """Return where the record ends; it fits its checksum."""
        data, end = self._whole(block, at)
        try:
            record = unseal(data)
            if self.strict:
                signed = self._known()
                signed.verify(record, signed.inner_name)
        except BadSignature as error:
            raise Damaged(str(error)) from error
        return end

    def candidate(self, data: bytes, at: int) -> int:
        """Return where the next record may begin, or -1."""
        return data.find(MAGIC, at)

    def dump_info(self, value: dict[str, Any]) -> bytes:
        return self._known().seal(json.dumps(value).encode(), self._purpose)

    def load_info(self, raw: bytes) -> Any:
        """Return the value, if its signature is good.

        A damaged one can be rebuilt; one that is whole and signed with a key that is not known
        says that the keys are wrong, or that it is forged: then nothing is to be touched.
        """
        try:
            record = unseal(raw[: size_of(raw[: HEAD.size])])
        except (BadSignature, ValueError) as error:
            raise Damaged(str(error)) from error
        return json.loads(record.payload if self._signed is None else self._verified(record))

    def _verified(self, record: Sealed) -> bytes:
        signed = self._known()
        try:
            return signed.verify(record, self._purpose)
        except SerializationError as error:
            raise SerializationError(f"info cannot be read: {error}") from error
        except BadSignature as error:
            raise SerializationError(
                f"info: {error}, or what is signed here is not {signed.inner_name}; nothing was "
                "touched. Give the right key; if info was forged, rename it: it is then "
                "rebuilt from the signed items"
            ) from error

    def _whole(self, block: Block, at: int) -> tuple[bytes, int]:
        """Return a record as long as its head says, and where it ends."""
        block.need(at, HEAD.size)
        try:
            size = size_of(block.data[at : at + HEAD.size])
        except BadSignature as error:
            raise Damaged(str(error)) from error
        block.need(at, size)
        if size > block.longest:
            raise too_long(block.longest)
        return block.data[at : at + size], at + size

    def _known(self) -> Signed:
        if self._signed is None:
            raise SerializationError(
                "without its key, what is signed can be neither decoded nor written"
            )
        return self._signed
