"""Windows and names of messages in SQLite or PostgreSQL."""
