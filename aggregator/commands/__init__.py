"""Commands beside the daemon and the page."""
