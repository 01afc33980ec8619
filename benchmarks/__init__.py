"""Benchmarks: the asv suite of this package, and `python -m benchmarks.peers` beside it."""
