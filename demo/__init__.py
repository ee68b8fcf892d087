"""`make run`: daemon, broker and aggregator as processes, on drawn classes of real faces.

Runs from a clone and is not installed. May import every package that is; of these only benchmarks and tests import it.
"""
