"""Builds and signs what is deployed. Runs on a workstation, never on a device."""
