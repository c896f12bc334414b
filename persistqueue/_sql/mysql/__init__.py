"""The connection to MySQL and MariaDB, its transactions, and the stores made of them."""
