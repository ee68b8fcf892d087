"""A device's configuration as tests need it."""

from typing import Any

from contract.topics import Device
from edge.config import CameraConfig, EdgeConfig, MqttConfig


def edge_config(**tables: Any) -> EdgeConfig:
    """One at its defaults but for `tables`."""
    required = {
        "device": Device("school", "room", "pi"),
        "camera": CameraConfig(source="pi"),
        "mqtt": MqttConfig(host="localhost"),
    }
    return EdgeConfig(**{**required, **tables})
