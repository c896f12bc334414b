"""The commands of ``python -m persistqueue``, one module each."""

from __future__ import annotations

from . import check, copy, move, peek, repair

COMMANDS = (check, repair, peek, move, copy)
