"""aio-py-rq's interface: ``from persistqueue.compat.aiopyrq import Queue, UniqueQueue, Pool``.

The same names, arguments and keys, so that old and new workers share queues.  Different is what
fails there: ``synced_slaves_*``, acking items that came as bytes, the window of
``can_rollback_item`` under the names of its documentation, overdue items of a pool.
Errors of the server are redis-py's, as there.

``persistqueue.AsyncRedisQueue`` works on the same keys, waits for items, and lets each
batch fall due by itself.
"""

from .pools import Pool
from .queues import Queue
from .unique_queues import UniqueQueue

__all__ = ["Pool", "Queue", "UniqueQueue"]
