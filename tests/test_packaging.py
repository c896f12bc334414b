"""What is shipped, what it needs, and that README, .ci/run and tox.ini do what they say."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import ROOT, blocks_of

import persistqueue

PATHS = {
    "persistqueue",
    "tests",
    "benchmark",
    "docs",
    "examples",
    "tools",
    "setup.py",
    "pyproject.toml",
    "requirements.txt",
    "extra-requirements.txt",
    "tox.ini",
    "README.rst",
    "LICENSE",
    "CHANGELOG.rst",
    ".ci",
    ".gitignore",
}
_IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
{statement}
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new - sys.stdlib_module_names - {{"persistqueue"}}))
print("asyncio" in sys.modules)
"""


# -- the commands ---------------------------------------------------------------------------


def commands() -> list[str]:
    """Return the commands of README.rst, in their order."""
    blocks = blocks_of(ROOT / "README.rst")
    return [block.code.strip() for block in blocks if block.language == "console"]


def ci_run() -> list[str]:
    """Return the lines of .ci/run."""
    return (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_runs_the_demonstration() -> None:
    """It is one line, and makes an environment of its own."""
    command = commands()[0]
    assert command.endswith("&& .venv/demo/bin/python examples/demo.py")
    assert {".venv/demo"} == set(re.findall(r"\.venv/\w+", command))


def test_ci_runs_the_second_command_of_readme() -> None:
    """It is one line, and the last of the script, so that its status is the script's."""
    assert commands()[1] == ci_run()[-1]
    assert commands()[1].endswith("python -m pytest")


def test_the_environment_of_the_second_command_is_ignored_by_git() -> None:
    """A run leaves nothing that could be committed by mistake."""
    (folder,) = set(re.findall(r"\.venv/\w+", commands()[1]))
    assert ".venv/test" == folder
    assert "/.venv/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(os.name == "nt", reason="a bash script")
@pytest.mark.parametrize("fails", ["venv", "pip", "pytest", "nothing"])
def test_ci_fails_when_a_step_does(fails: str, tmp_path: Path) -> None:
    """Whichever step fails, .ci/run does; run from elsewhere, with no standard input."""
    project, tools = tmp_path / "project", tmp_path / "tools"
    shutil.copytree(ROOT / ".ci", project / ".ci")
    fake = f'#!/bin/sh\necho "$PWD $*" >> "{tmp_path}/log"\n[ "$2" != {fails} ]\n'
    for python in (tools / "python3", project / ".venv" / "test" / "bin" / "python"):
        python.parent.mkdir(parents=True)
        python.write_text(fake)
        python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(project / ".ci" / "run")],
        cwd=tmp_path,
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (fails == "nothing") == (done.returncode == 0)
    log = (tmp_path / "log").read_text().splitlines()
    assert {"venv": 1, "pip": 2, "pytest": 3, "nothing": 3}[fails] == len(log)
    assert all(line.startswith(f"{project} -m ") for line in log)


def test_tox_has_the_environments() -> None:
    """Those that the documentation names; bench passes its arguments on."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    listed = set(tox["tox"]["env_list"].split(", "))
    sections = {section.removeprefix("testenv:") for section in tox.sections()}
    assert {"py310", "py311", "py312", "py313", "pep8", "types", "cover", "docs"} <= listed
    assert {"pep8", "types", "cover", "bench", "docs", "torture"} <= sections
    bench = tox["testenv:bench"]["commands"]
    assert "python benchmark/run_benchmark.py 1000 {posargs}" == bench


# -- what is shipped ------------------------------------------------------------------------


class Built(NamedTuple):
    """Both distributions, made from a copy of the checkout."""

    source: list[str]  # files of the sdist
    wheel: Path  # built from the sdist, not from the checkout
    metadata: Message


def build(kind: str, project: Path, into: Path) -> Path:
    """Build one distribution without a network and return its file."""
    code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(into)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    return into / done.stdout.splitlines()[-1]


def not_shipped(folder: str, names: list[str]) -> list[str]:
    """Return what a fresh clone would not have."""
    top = Path(folder) == ROOT
    return [name for name in names if name == "__pycache__" or (top and name not in PATHS)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel that is made of it."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77, as pyproject.toml says")
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "checkout", ignore=not_shipped)
    sdist = build("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        names = [Path(name).parts[1:] for name in archive.getnames()]
        if sys.version_info >= (3, 12):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    wheel = build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = email.message_from_bytes(archive.read(inside))
    return Built(["/".join(parts) for parts in names], wheel, metadata)


def test_the_sdist_holds_the_project(built: Built) -> None:
    """Tests, docs, examples and benchmark too, and what setup.py reads; no leftovers."""
    missing = [path for path in PATHS if path not in {name.split("/")[0] for name in built.source}]
    assert [] == missing
    assert {"tests/conftest.py", "docs/conf.py", "examples/demo.py", ".ci/run"} <= set(built.source)
    assert [] == [name for name in built.source if ".cache" in name or name.endswith(".pyc")]


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    """Every module and py.typed, and no tests."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = [
        path for path in (ROOT / "persistqueue").rglob("*") if path.suffix in (".py", ".typed")
    ]
    assert {path.relative_to(ROOT).as_posix() for path in sources} == names
    assert "persistqueue/py.typed" in names


def test_the_version_is_that_of_the_package(built: Built) -> None:
    """It is written down once, in persistqueue/__init__.py."""
    assert persistqueue.__version__ == built.metadata["Version"]
    assert "persist-queue" == built.metadata["Name"]
    assert "BSD-3-Clause" == built.metadata["License-Expression"]


def test_the_extras_are_those_of_the_requirements_files(built: Built) -> None:
    """requirements.txt is the extra "async", extra-requirements.txt the extra "extra"."""
    wanted: dict[str, list[str]] = {}
    for line in built.metadata.get_all("Requires-Dist", []):
        extra = re.search(r"extra == ['\"](\w+)", line)
        wanted.setdefault(extra[1] if extra else "", []).append(line.partition(";")[0].strip())
    for extra, file in (("async", "requirements.txt"), ("extra", "extra-requirements.txt")):
        text = (ROOT / file).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines == wanted[extra]
    assert wanted["redis"] == [line for line in wanted["extra"] if line.startswith("redis")]
    assert {"async", "extra", "redis", "test", "docs", "bench"} == set(wanted)
    assert "" not in wanted  # nothing is needed without an extra


@pytest.mark.parametrize(
    "statement",
    ["import persistqueue", "from persistqueue import Queue", "from persistqueue import *"],
)
def test_the_wheel_works_with_the_standard_library_alone(
    built: Built, statement: str, tmp_path: Path
) -> None:
    """No site-packages: nothing else is imported; asyncio with all names only."""
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _IMPORT.format(statement=statement), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (f"\n{'*' in statement}\n", "") == (done.stdout, done.stderr)


# -- names ----------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    """``__all__`` names nothing that does not exist, and ``dir`` shows it."""
    for name in persistqueue.__all__:
        assert getattr(persistqueue, name) is not None
    assert set(persistqueue.__all__) <= set(dir(persistqueue))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy lookup does not turn a typing error into something else."""
    with pytest.raises(AttributeError, match="Qeue"):
        persistqueue.Qeue  # noqa: B018
