"""Helpers shared by several kinds of tests and the benchmarks."""
