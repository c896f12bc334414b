"""How fast the queues are; run ``python benchmark/run_benchmark.py --help``."""
