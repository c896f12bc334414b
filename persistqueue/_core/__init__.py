"""The ground: what a store is, how calls wait for it, and how items become bytes.

Nothing here knows a backend: no SQL, no chunk files, no server.  ``waiters`` and ``inflight``
decide, without I/O and without waiting; ``batch`` carries decisions to a store in one
transaction; ``threads`` and ``tasks`` wait as threads and as asyncio tasks do.
"""
