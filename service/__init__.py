"""What both daemons share: configuration, command line, TLS and passwords, back-off, systemd's notifications.

May import: `contract`, msgspec and the standard library. Knows no camera, no store and no MQTT.
"""
