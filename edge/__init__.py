"""The daemon on the Pi: frames in, emotion counts out. No pixel leaves this package."""
