"""Queues as tables: what SQLite and MySQL share, and a folder for each of them.

Synchronous code without locks between threads: the session serialises the calls of a store.
"""
