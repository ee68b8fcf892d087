"""From the broker to the store: sources, batches, the daemon."""
