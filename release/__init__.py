"""Builds and signs what is deployed, on a workstation; `verify` alone runs on devices, and needs Python only.

May import nothing of the other packages; `edge.commands.check` imports `release.verify`.
"""
