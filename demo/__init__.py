"""A class that anyone can run: real faces from a pip package, an embedded broker, the real daemon and aggregator."""
