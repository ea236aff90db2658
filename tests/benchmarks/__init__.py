"""Benchmarks: each prints one JSON line; ratios are measured within one run."""
