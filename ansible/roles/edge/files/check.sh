#!/bin/sh
# `classpulse-edge check` as the daemon would run it: its user, keys and folders. Stop classpulse-edge first.
exec systemd-run --quiet --pipe --wait --collect \
  --property=User=classpulse --property=SupplementaryGroups=video \
  --property=StateDirectory=classpulse --property=StateDirectoryMode=0700 \
  --property=WorkingDirectory=/var/lib/classpulse --property=UMask=0077 \
  --property=LoadCredential=ca.crt:/etc/classpulse/keys/ca.crt \
  --property=LoadCredential=device.crt:/etc/classpulse/keys/device.crt \
  --property=LoadCredential=device.key:/etc/classpulse/keys/device.key \
  --property=LoadCredential=mqtt-password:/etc/classpulse/keys/mqtt-password \
  --property=SetCredential=mqtt-password:none \
  /opt/classpulse/current/venv/bin/python -I -B -m edge check "$@"
