"""The package's logger, ``persistqueue``, imported when there is something to say.

Importing logging takes several milliseconds, and most programs never need it from here.
"""

from __future__ import annotations


def warn(message: str, *arguments: object, traceback: bool = False) -> None:
    """Log a WARNING; with ``traceback``, that of the exception being handled too."""
    import logging

    logging.getLogger("persistqueue").warning(message, *arguments, exc_info=traceback)


def inform(message: str, *arguments: object, error: BaseException) -> None:
    """Log an INFO with the traceback of an error."""
    import logging

    logging.getLogger("persistqueue").info(message, *arguments, exc_info=error)
