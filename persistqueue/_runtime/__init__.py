"""How callers wait for a store.

Nothing here knows SQL, file names or serializers.  ``policy`` decides, without I/O
and without waiting; ``batch`` carries decisions to a store in one transaction;
``threads`` waits as threads do.
"""
