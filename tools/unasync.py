"""Write the faces for threads from those for asyncio: ``python tools/unasync.py [--check]``.

A face is a module of public methods that only differ by ``await``.  The one for asyncio is
written by hand; its twin is made of it by the replacements below, then formatted by ruff.
Three marks in the source say what the twin has more, or less:

``# threads only: CODE``
    a line that stands in the twin alone, without the mark.
``CODE  # async only``, or lines between ``# async only`` and ``# end``
    what the twin does not have.
a paragraph of a docstring that begins with ``In asyncio,``
    what the twin's docstring does not say.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "persistqueue"
FACES = (  # each "async_x.py" becomes "x.py" beside it
    "async_broker.py",
    "async_brokerqueue.py",
    "async_jobqueue.py",
    "async_mysqlqueue.py",
    "async_pdict.py",
    "async_priorityqueue.py",
    "async_queue.py",
    "async_redispool.py",
    "async_redisqueue.py",
    "async_sqlackqueue.py",
    "async_sqlqueue.py",
    "_core/async_queue.py",
    "_sql/async_ackqueue.py",
    "_sql/async_job.py",
    "_sql/async_jobqueue.py",
    "_sql/async_queue.py",
    "_sql/sqlite/async_queue.py",
)
BLOCKS = (
    (r"(?m)^( *)# async only\n(.*\n)*?\1# end\n", ""),
    (r"(?m)^.*  # async only\n", ""),
    (r"(?m)^( *)# threads only: ", r"\1"),
    (r'(?s)\n *In asyncio, .*?(?=\n\n|\n *"""\n)\n?', ""),
)
NESTED = r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"  # with what is inside
WORDS = (
    (r"\ban (``)?async with", r"a \1with"),
    (r"\basync (def|with|for)\b", r"\1"),
    (rf"\((await (?:[^()]|{NESTED})*)\)(?=[\[.])", r"\1"),
    (r"\bawait ", ""),
    (r"__a(iter|enter|exit)__", r"__\1__"),
    (r"__anext__", "__next__"),
    (r"\baclose\b", "close"),
    (r"StopAsyncIteration", "StopIteration"),
    (r"asynccontextmanager", "contextmanager"),
    (r"AbstractAsyncContextManager", "AbstractContextManager"),
    (r"\bAsync(Iterator|Generator)\b", r"\1"),
    (r"from asyncio import sleep", "from time import sleep"),
    # What is written by hand for both: how calls wait, and what queues have in common.
    (r"TaskSession", "ThreadSession"),
    (r"\b_core\.tasks\b", "_core.threads"),
    (r"\b(queue|work)_tasks\b", r"\1_threads"),
    (r"(?<=from \.)tasks\b", "threads"),
    (r", worker=[\w.]+(\([\w.]*\))?(?=\s*\))", ""),
    (r"self\._(?:worker|reading)\.run\(((?:[^()]|\([^()]*\))+)\)", r"\1()"),
    # Names: of classes, modules and errors.
    (r"\b(_?)Async(?=[A-Z])", r"\1"),
    (r"\basync_(?=[a-z])", ""),
    # Prose.
    (r"for asyncio", "for threads"),
    (r"\btask(s?)\b(?! \(``)", r"thread\1"),
    (r"\bTask(s?)\b", r"Thread\1"),
    (r"\ban (``[SBR])", r"a \1"),
)


def threads(source: str, name: str) -> str:
    """Return the twin of a face, unformatted."""
    for pattern, text in (*BLOCKS, *WORDS):
        source = re.sub(pattern, text, source)
    return f"# Written by tools/unasync.py: change {name} instead.\n{source}"


def formatted(source: str, path: Path) -> str:
    """Return a module as ruff writes it, without the imports that nothing uses."""
    fix = ["check", "--select=F401,I,RUF022", "--fix-only", "--quiet"]
    for command in (fix, ["format", "--quiet"]):
        source = subprocess.run(
            [sys.executable, "-m", "ruff", *command, f"--stdin-filename={path}", "-"],
            input=source,
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
    return source


def twin(name: str) -> tuple[Path, str]:
    """Return where the twin of a face is, and what it has to be."""
    source = PACKAGE / name
    path = source.with_name(source.name.removeprefix("async_"))
    return path, formatted(threads(source.read_text("utf-8"), source.name), path)


def main() -> int:
    """Write the twins, or with ``--check`` name those that are not what they have to be."""
    stale = []
    for name in FACES:
        path, text = twin(name)
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(text, "utf-8", newline="\n")
    for path in stale:
        print("stale:" if "--check" in sys.argv else "written:", path)
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
