"""The blocks of code that README.rst and the pages in docs/ show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_DIRECTIVE = re.compile(r"( *)\.\. code-block:: *(\S*)")


class Block(NamedTuple):
    """A block of code on a page."""

    page: Path
    line: int  # number of its first line
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return every block of code on a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        if match := _DIRECTIVE.fullmatch(line):
            start = number + 2  # behind an empty line
            indent = len(match[1]) + 4
            end = start
            while end < len(lines) and (not lines[end] or lines[end].startswith(" " * indent)):
                end += 1
            code = "\n".join(line[indent:] for line in lines[start:end]).rstrip() + "\n"
            found.append(Block(page, start + 1, match[2], code))
    return found
