"""A fleet of devices that exist only as messages."""
