"""Which of many queues may have something for those who wait.

No I/O.  The store writes it while it works, the line of a broker reads it when a batch is
over.  What is not known counts as one: whoever waits looks, and then it is known.
"""

from __future__ import annotations


class Ready:
    """How many items wait in each queue, as far as it is known without asking.

    Attributes:
        stirred: queues that got something since the line last looked.
        unsure: anything may be anywhere: others have committed.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self.stirred: set[str] = set()
        self.unsure = True

    def in_queue(self, queue: str) -> int:
        """Return how many are there for those who wait; 1 where it is not known."""
        return self._known.get(queue, 1)

    def more(self, queue: str, count: int) -> None:
        """Note that a queue got items."""
        if queue in self._known:
            self._known[queue] += count
        self.stirred.add(queue)

    def taken(self, queue: str, count: int, most: int) -> None:
        """Note that somebody asked for ``most`` items and got ``count``."""
        if count < most:
            self._known[queue] = 0
        elif queue in self._known:
            self._known[queue] = max(self._known[queue] - count, 0)
            if self._known[queue]:
                self.stirred.add(queue)
        else:
            self.stirred.add(queue)

    def unknown(self, queue: str) -> None:
        """Forget what is known of a queue."""
        self._known.pop(queue, None)
        self.stirred.add(queue)

    def forget(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.unsure = True
