"""A queue as a directory of chunk files.

Synchronous code without locks between threads: the session serialises the calls of a store.
"""
