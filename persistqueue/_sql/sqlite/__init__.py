"""The connection to SQLite, its transactions, its files, and the stores made of them."""
