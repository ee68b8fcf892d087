"""Measurements of every part, for people: they print and assert nothing. `make bench` and its siblings run them.

Run from a clone and not installed. May import every package, and the servers that tests start; nothing imports them but
tests.
"""
