"""Scripts that measure and print; run one with `python -m benchmarks.NAME`."""
