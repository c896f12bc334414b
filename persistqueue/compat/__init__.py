"""Other libraries' names on this one's classes: changing the import is the whole migration."""
