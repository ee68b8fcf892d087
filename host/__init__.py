"""The command `classpulse` of one installed host: `setup`, `status`, and the services' own commands as their users.

`answers` and `ask` hold the questions, `files` turns answers into files and back (pure), `system` runs the commands of
Debian and systemd.
May import edge.config and aggregator.config; a host may lack either side's packages.
"""
