"""A load generator: devices that exist only as messages, at a real broker. Imports no other benchmark."""
