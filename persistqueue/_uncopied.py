"""What holds something open is not copied: a copy that is dropped would close the original."""

from __future__ import annotations

from typing import NoReturn


def uncopied(self: object) -> NoReturn:
    """Refuse ``copy`` and ``pickle``; a class has it as its ``__getstate__``.

    A subclass may say how it is copied all the same, by any of the methods that Python has
    for that.

    Raises:
        TypeError: always.
    """
    raise TypeError(
        f"a {type(self).__name__} cannot be copied or pickled: make another one with the same "
        "arguments, in each process; any number of them may share what is stored"
    )
