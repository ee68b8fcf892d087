"""What both daemons share: configuration, command line, TLS, back-off, systemd's notify."""
