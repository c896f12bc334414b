"""Many named queues in one SQLite database: one store, one line of waiting calls."""
