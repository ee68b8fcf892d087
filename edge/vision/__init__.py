"""From a frame to what is counted in it."""
