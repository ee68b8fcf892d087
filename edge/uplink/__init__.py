"""From an accepted message to its confirmation, and what the broker tells the device.

`uplink.py` imports `outbox.py` (the only importer of sqlite3) and `connection.py` (of paho), which do not know each
other. Nothing here imports the camera, vision or the daemon, whose callbacks come as Hooks.
"""
