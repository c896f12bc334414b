"""Print how the package is built: ``tools/house.py CHECKOUT [CHECKOUT ...]``, a column for each.

Files that ``tools/unasync.py`` wrote count as modules, lines and headers only.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import difflib
import inspect
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "persistqueue"
TRACED = ("Queue", "AsyncQueue", "SQLiteQueue", "AsyncSQLiteAckQueue")
GROUND = (
    "_core",
    "exceptions",
    "serializers",
    "brokerconfig",
    "jobs",
)  # everything may import these
RESTS_ON = {"_broker": {"_sql"}, "engines": {"_sql", "compat"}}  # the names of moved engines stay
FOLDERS = (*GROUND, "_files", "_sql", "_broker", "_redis", "engines", "compat", "_cli")
# In another folder, as there were before the tree was made, a word in the name tells; a guess.
WORDS = {"_cli": "commands", "_broker": "broker", "_redis": "redis", "engines": "engine"}
WORDS |= {"_sql": "sql|table|dict", "_files": "chunk|infofile"}
ASYNC = re.compile(r"\b(?:async|await) |(?<=__)a(?=(?:enter|exit|iter|next)__)|Async|async_")


class Module(NamedTuple):
    """A source file: its dotted name below the package, its package's name in parts, its text."""

    name: str
    package: list[str]
    text: str
    generated: bool

    def alike(self) -> list[str]:
        """Return the lines as a twin for threads would have them."""
        return [ASYNC.sub("", line).strip() for line in self.text.splitlines() if line.strip()]


def read(checkout: str) -> list[Module]:
    """Return the modules of a checkout's package."""
    root, found = Path(checkout, PACKAGE), []
    for path in sorted(root.rglob("*.py")):
        *parents, stem = path.relative_to(root).with_suffix("").parts
        name = ".".join(parents if stem == "__init__" else [*parents, stem])
        text = path.read_text(encoding="utf-8")
        generated = "tools/unasync.py" in text.partition("\n")[0]
        found.append(Module(name, [PACKAGE, *parents], text, generated))
    return found or sys.exit(f"{checkout}: no package {PACKAGE} there")


def folder(name: str) -> str:
    """Return the folder that a module belongs to; "top" for the public modules."""
    first, _, rest = name.partition(".")
    if first in FOLDERS or not rest:
        return first if first in FOLDERS else "top"
    return next((key for key, words in WORDS.items() if re.search(words, name)), "_core")


def header(module: Module) -> int:
    """Return the number of lines down to the last import at the top, the docstring among them."""
    end = 0
    for node in ast.parse(module.text).body:
        guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        docstring = end == 0 and isinstance(node, ast.Expr)
        if not (docstring or guard or isinstance(node, (ast.Import, ast.ImportFrom))):
            break
        end = node.end_lineno or 0
    return end


def arrows(modules: list[Module]) -> Iterator[tuple[str, str]]:
    """Yield (module, module that it imports) where the folder of the first should not."""
    names = {f"{PACKAGE}.{module.name}" for module in modules}
    for module in modules:
        found = []
        for node in ast.walk(ast.parse(module.text)):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = module.package[: len(module.package) + 1 - node.level] if node.level else []
                base = ".".join([*above, node.module or ""]).rstrip(".")
                full = [f"{base}.{alias.name}" for alias in node.names]
                found += [name if name in names else base for name in full]
        for name in (name.partition(".")[2] for name in dict.fromkeys(found) if name in names):
            mine, theirs = folder(module.name), folder(name)
            allowed = mine in ("top", "compat", "_cli") or theirs in (mine, *GROUND)
            if not (allowed or theirs in RESTS_ON.get(mine, ())):
                yield module.name, name


def twins(modules: list[Module]) -> tuple[int, int]:
    """Return the lines that async faces have in common with the module most like them, and all."""
    faces = [module for module in modules if re.search(r"\b_?async_\w+$", module.name)]
    others = [(module, module.alike()) for module in modules if module not in faces]
    equal = total = 0
    for face in faces:
        mine = Counter(face.alike())
        twin, lines = max(others, key=lambda other: (mine & Counter(other[1])).total())
        if not (face.generated or twin.generated):  # both are written by hand
            pair = difflib.SequenceMatcher(None, face.alike(), lines, autojunk=False)
            equal += sum(block.size for block in pair.get_matching_blocks())
            total += mine.total()
    return equal, total


def read_measures(modules: list[Module]) -> dict[str, str]:
    """Return the rows of the table that reading shows."""
    sizes = {module.name or "__init__": len(module.text.splitlines()) for module in modules}
    total, longest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    by_hand = [module.text for module in modules if not module.generated]
    kept = sum(len(text.splitlines()) for text in by_hand)
    nodes = [node for text in by_hand for node in ast.walk(ast.parse(text))]
    raised = [ast.unparse(n.exc) for n in nodes if isinstance(n, ast.Raise) and n.exc]
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    documented = [*functions, *(n for n in nodes if isinstance(n, (ast.ClassDef, ast.Module)))]
    words = "\n".join(ast.get_docstring(node) or "" for node in documented)
    pronouns = len(re.findall(r"(?i)\b(?:somebody|nobody|whoever|whatever)\b", words))
    return {
        "modules / lines / lines kept by hand": f"{len(modules)} / {total:,} / {kept:,}",
        "modules under 60 lines": f"{sum(size < 60 for size in sizes.values())}",
        "share of headers": f"{sum(map(header, modules)) / max(1, total):.0%}",
        "longest module": f"{longest} {sizes[longest]}",
        "async lines equal to sync ones, by hand": "{:,} of {:,}".format(*twins(modules)),
        "uses of Any": f"{sum(isinstance(n, ast.Name) and n.id == 'Any' for n in nodes):,}",
        "NotImplementedError stubs": f"{sum('NotImplementedError' in text for text in raised)}",
        "functions that fill `into`": f"{sum('into:' in ast.unparse(f.args) for f in functions)}",
        "pronouns per 1,000 words": f"{1000 * pronouns / max(1, len(words.split())):.1f}",
        "imports against the arrows": f"{len(list(arrows(modules)))}",
    }


async def passed(kind: type[Any], path: str, calls: list[str]) -> str:
    """Return how many calls, in how many files, the second put, get and ack of a queue take."""
    queue, found = kind(path), []
    verbs = [["put", "item"], ["get"], ["ack", "item"] if hasattr(queue, "ack") else ["task_done"]]
    for verb, *arguments in [*verbs, *verbs, ["close"]]:  # the first ones open files and import
        calls.clear()
        result = getattr(queue, verb)(*arguments)
        if isinstance(result, Awaitable):
            await result
        found.append(f"{len(calls)} in {len(set(calls))}")
    return ", ".join(found[3:6])


def run_measures(checkout: str) -> dict[str, str]:
    """Return the rows that a run shows; called in a process of its own."""
    sys.path.insert(0, checkout)
    package, rows = __import__(PACKAGE), {}
    with contextlib.suppress(AttributeError, ImportError):
        package.RedisQueue  # noqa: B018 - loads it
        own = [name.partition(".")[2] for name in sys.modules if name.split(".")[0] == PACKAGE]
        other = [name for name in own if folder(name) not in ("_redis", "top", *GROUND)]
        rows["modules loaded for RedisQueue, of other backends"] = f"{len(own)}, {len(other)}"
    public = filter(inspect.isclass, (getattr(package, name) for name in sorted(package.__all__)))
    homes = [(kind.__name__, [base.__module__ for base in kind.__mro__]) for kind in public]
    depth, name = max((sum(m.startswith(PACKAGE) for m in found), name) for name, found in homes)
    rows["own classes of the deepest public class"] = f"{depth} {name}"
    calls: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package.__path__[0]):
            calls.append(frame.f_code.co_filename)

    sys.setprofile(note)
    threading.setprofile(note)
    for name in filter(package.__dict__.get, TRACED):
        with tempfile.TemporaryDirectory() as path, contextlib.suppress(ImportError):
            found = asyncio.run(passed(getattr(package, name), str(Path(path, "queue")), calls))
            rows[f"calls in files of put, get, ack: {name}"] = found
    sys.setprofile(None)
    return rows


def table(checkouts: list[str]) -> Iterator[str]:
    """Yield the lines of the table; for a single checkout, then its imports against the arrows."""
    columns = []
    for checkout in checkouts:
        columns.append(read_measures(read(checkout)))
        ran = subprocess.check_output([sys.executable, __file__, "--run", checkout])
        columns[-1].update(json.loads(ran))
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [("", *checkouts), *((name, *(c.get(name, "-") for c in columns)) for name in names)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    yield from ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    yield from (f"{a} -> {b}" for a, b in arrows(read(checkouts[0])) if len(columns) == 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(run_measures(str(Path(sys.argv[2]).resolve()))))
    else:
        print(*table(sys.argv[1:] or sys.exit(__doc__)), sep="\n")
