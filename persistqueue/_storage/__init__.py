"""What is on disk.

Ordinary synchronous code: no locks between threads, no waiting, no asyncio, no
``time.sleep``.  Whoever calls a store serialises its calls (see ``_runtime``).
"""
