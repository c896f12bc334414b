"""The thread on which an async queue's store works: one of its own, so hops keep their order.

A hop that carries a batch is *started*: it must come to its end even when nobody waits for
it any more, because ``asyncio.run`` cancels every task when it ends.  One that a single
caller wants (opening) is *run*, and awaited as any coroutine is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Hops(Protocol):
    """What the asyncio shell asks of a thread."""

    @property
    def running(self) -> bool:
        """Whether anything was started or run since the last ``stop``."""

    def start(self, function: Callable[..., None], *args: Any) -> None:
        """Have ``function`` called on the thread, after whatever was started before."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have it called on the thread, and return what it returns."""

    def stop(self) -> None:
        """Let the thread end when it has nothing more to do."""

    def forget(self) -> None:
        """Forget the thread: it is a parent process's."""


class FileHops:
    """A thread for a store of files; started with the first hop.

    Args:
        wrap: ``aiofiles.os.wrap``.
    """

    def __init__(self, wrap: Callable[..., Callable[..., Awaitable[Any]]]) -> None:
        self._wrap = wrap
        self._executor: ThreadPoolExecutor | None = None

    @property
    def running(self) -> bool:
        return self._executor is not None

    def start(self, function: Callable[..., None], *args: Any) -> None:
        self._thread().submit(function, *args)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._wrap(function)(*args, executor=self._thread())

    def stop(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def forget(self) -> None:
        self._executor = None

    def _thread(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="persistqueue")
        return self._executor
