"""From windows to what a room's people are told. No I/O."""
