"""What is kept: windows, which messages they contain, and the last status of every device; in SQLite or PostgreSQL.

May import contract, service and aggregator.config, but nothing else of aggregator: everybody else reads from here.
`sqlite` and `postgresql` are loaded by `factory` only, so that a process needs the library of its own store alone.
"""
