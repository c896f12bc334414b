"""Queues and pools on a Redis server: scripts, connections, leases."""
