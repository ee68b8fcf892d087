"""What people run by hand: `classpulse-aggregator watch | user | report | export | topology`.

Each module has `configure` (its arguments) and `run` (its exit code), and is imported only when its command is called.
May import everything of the aggregator; nothing imports it.
"""
