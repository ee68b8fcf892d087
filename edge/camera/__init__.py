"""Sources of frames: a file, a USB camera, the Pi's own."""
