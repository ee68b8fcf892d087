"""Commands beside the daemon: check, annotate, preview, bench."""
