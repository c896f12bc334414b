"""What pyproject.toml cannot say: the extras, and what a source distribution holds.

requirements.txt and extra-requirements.txt are the only place in which the optional
dependencies of the package are written down.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Return the requirements that a file lists, without its comments."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [stripped for line in lines if (stripped := line.partition("#")[0].strip())]


def only(package: str) -> list[str]:
    """Return the requirement of one package, of those in extra-requirements.txt."""
    return [line for line in requirements("extra-requirements.txt") if line.startswith(package)]


class SourceDistribution(sdist):
    """The whole project: what setup.py reads, and tests, docs, examples, benchmark and tools."""

    FILES = ("*.txt", "*.rst", "tox.ini", ".gitignore")
    TREES = (".ci", "tests", "benchmark", "docs", "examples", "tools")
    LEFT_OUT = ("docs/_build", "benchmark/results", "benchmark/.cache")

    def make_distribution(self) -> None:
        """Add what setuptools does not find by itself, then pack."""
        for pattern in self.FILES:
            self.filelist.include(pattern)
        for tree in self.TREES:
            self.filelist.graft(tree)
        for tree in self.LEFT_OUT:
            self.filelist.prune(tree)
        self.filelist.global_exclude("*.py[cod]")
        super().make_distribution()


setup(
    cmdclass={"sdist": SourceDistribution},
    extras_require={
        "async": requirements("requirements.txt"),
        "extra": requirements("extra-requirements.txt"),
        "redis": only("redis"),
        "test": [
            "coverage>=7.3",
            "docutils>=0.20",
            "eventlet>=0.36",
            "hypothesis>=6.90",
            "msgspec>=0.19",
            "mypy>=1.13",
            "pip>=23",
            "pydantic>=2.5",
            "pytest>=7.4",
            "pytest-xdist>=3.3",
            *only("redis"),
            "ruff>=0.9",
            "setuptools>=77",
            "starlette>=0.37",
            "uvicorn>=0.30",
            "uvloop>=0.19; sys_platform != 'win32'",
        ],
        "docs": ["furo>=2024.1.29", "sphinx>=7.2"],
        "bench": ["matplotlib>=3.7"],
    },
)
