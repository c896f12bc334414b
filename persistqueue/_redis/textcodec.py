"""How an item becomes the text of a value in Redis that aio-py-rq's workers read, too.

Text is stored as it is.  Anything else becomes text, and text is what comes out.
"""

from __future__ import annotations

import json
from typing import Any

from .._core.block import Damaged, cannot_encode, too_long
from ..exceptions import ItemTooLarge


class TextCodec:
    """Encodes and decodes values.

    Args:
        plain: anything but text becomes ``str(item)``, as in aio-py-rq's unique queue; else
            compact JSON.
        longest: bytes of the longest value that is written or loaded.
    """

    name = "text"

    def __init__(self, *, plain: bool, longest: int) -> None:
        self._plain = plain
        self._longest = longest

    def encode(self, item: Any) -> bytes:
        """Return the bytes of a value.

        Raises:
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        try:
            data = self._text(item).encode()
        except Exception as error:
            raise cannot_encode(self.name, item, error) from error
        if len(data) > self._longest:
            raise ItemTooLarge(
                f"the item is {len(data)} bytes long once encoded, "
                f"max_item_bytes is {self._longest}; nothing was stored"
            )
        return data

    def _text(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, (bytes, bytearray, memoryview)):
            return bytes(item).decode()
        if self._plain:
            return str(item)
        return json.dumps(item, ensure_ascii=False, separators=(",", ":"))

    def decode(self, data: bytes) -> str:
        """Return the text that a value holds.

        Raises:
            Damaged: it is not UTF-8.
            ItemTooLarge: it is too long.
        """
        if len(data) > self._longest:
            raise too_long(self._longest)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Damaged(f"not text: {error}") from error
