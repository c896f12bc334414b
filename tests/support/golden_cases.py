"""What the directories under ``golden/`` hold, and how they were made.

They were written once by the release that they are named after, and stay as they are:
a later release that writes anything else adds a folder of its own.  ``persistqueue`` is
whatever the path leads to; persist-queue 1.1.0 has the same calls::

    PYTHONPATH=. python tests/golden_cases.py persistqueue-2.0
    PYTHONPATH=<folder with persist-queue 1.1.0> python tests/golden_cases.py persist-queue-1.1.0
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden"
SERIALIZERS = ("pickle", "msgpack", "cbor2", "json")

#: No two equal strings in one item, and nothing that a library may encode in two ways.
ITEMS: list[Any] = [
    None, 0, -1, 2**40, 1.5, "", "ž 🐎\n", {"name": "job", "retries": 3, "ok": True},
    {"a": {"b": {"c": None}}}, "x" * 300, False, "last",
]  # fmt: skip


class Case(NamedTuple):
    """A queue into which so many of ``ITEMS`` were put, and so many of those finished."""

    chunksize: int
    put: int
    done: int
    stray: bytes = b""  # behind the head, as a put leaves it that was killed

    @property
    def stored(self) -> list[Any]:
        return ITEMS[self.done : self.put]


CASES = {
    "fresh": Case(100, 12, 0),
    "chunk-exactly-full": Case(4, 4, 0),
    "three-chunks-full": Case(4, 12, 0),
    "half-consumed": Case(4, 11, 6),
    "chunk-just-consumed": Case(4, 6, 4),
    "all-consumed": Case(4, 8, 8),
    "one-item-a-chunk": Case(1, 5, 2),
    "killed-put": Case(100, 3, 1, b"\x80\x04half an item"),
}


def write(path: Path, serializer: str, case: Case, **options: Any) -> dict[str, Any]:
    """Write the directory of a case and return what its ``info`` says."""
    from persistqueue import Queue

    module = importlib.import_module(f"persistqueue.serializers.{serializer}")
    queue: Any = Queue(str(path), chunksize=case.chunksize, serializer=module, **options)
    for item in ITEMS[: case.put]:
        queue.put(item)
    for expected in ITEMS[: case.done]:
        assert expected == queue.get()
        queue.task_done()
    queue.__del__()
    info: dict[str, Any] = queue.info
    if case.stray:
        number, _, offset = info["head"]
        with open(queue._qfile(number), "r+b") as chunk:
            chunk.truncate(offset)
            chunk.seek(offset)
            chunk.write(case.stray)
    return info


def write_supplement(path: Path, serializer: str) -> None:
    """Write a queue whose ``info`` says that the head was flushed, and what else is finished."""
    from persistqueue import Queue

    module = importlib.import_module(f"persistqueue.serializers.{serializer}")
    with Queue[Any](path, chunksize=5, serializer=module, durability="process") as queue:
        queue.put_many(range(12))
        items = queue.get_many(12)
        queue.sync()
        for item in (0, 3, 2, *range(5, 9)):
            queue.task_done(item=items[item])


def main(release: str) -> None:
    """Write every case with every serializer."""
    upstream = release.startswith("persist-queue-")
    options = {} if upstream else {"durability": "process"}  # it reserves no space ahead
    infos: dict[str, dict[str, Any]] = {}
    for serializer in SERIALIZERS:
        for name, case in CASES.items():
            path = GOLDEN / release / serializer / name
            path.parent.mkdir(parents=True, exist_ok=True)
            infos[f"{serializer}/{name}"] = write(path, serializer, case, **options)
            (path / ".lock").unlink(missing_ok=True)
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(info)}" for name, info in infos.items())
    if not upstream:
        for serializer in SERIALIZERS:
            path = GOLDEN / "supplement" / serializer
            write_supplement(path, serializer)
            (path / ".lock").unlink(missing_ok=True)
    (GOLDEN / release / "infos.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
