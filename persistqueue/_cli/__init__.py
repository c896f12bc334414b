"""The commands of ``python -m persistqueue``; ``COMMANDS`` in ``__main__`` lists them."""
