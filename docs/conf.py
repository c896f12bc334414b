"""Settings of Sphinx: ``sphinx-build -W docs docs/_build/html``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import persistqueue

project = "persist-queue"
author = "The persistqueue developers"
copyright = author  # noqa: A001 - Sphinx wants this name
version = release = persistqueue.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(.*\.)?[TR]"),  # a type variable
    ("py:class", r"_?queue\..*|os\.PathLike|(Async)?Iter.*|Generator|Any|IO"),
    ("py:class", r"Abstract(Async)?ContextManager|RowId|Key|Engine"),
    ("py:class", r"collections\.abc\.(\w+View|Mapping)"),
    ("py:class", r".*\._signed\.Signed"),  # what signed() returns: a serializer
    ("py:class", r"(pathlib\.)?Path|Mapping\[str|Adapter|CoroutineEngine|(.*\.)?Recipe"),
    ("py:class", r".*aiodiskqueue\.engines\._\w+|.*Adapter"),
    ("py:class", r"RowCodec|BrokerStore|(.*\.)?BrokerQueueFace"),  # of what nobody makes by hand
    ("py:class", r"TaskSession|ThreadSession|JobCalls|JobStore|Record|Work"),  # as above
    ("py:class", r"Job(Queue)?Options|datetime|WaitingCalls|(.*\.)?Has(Calls|Clock)"),
    ("py:class", r"persistqueue\._broker\.transaction\.\w+|(Async)?JobQueue"),
    ("py:class", r"asyncio\..*"),  # the standard library's
    ("py:exc", r"Everything that .* raises\."),  # a sentence in place of a list
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"persist-queue {release}"
html_copy_source = False
