"""From an accepted message to its confirmation, and what the broker tells the device."""
