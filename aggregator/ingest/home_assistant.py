"""Rooms as devices of Home Assistant, which reads the retained `summary` topic. Pure.

Source: Home Assistant's MQTT integration, device discovery (https://www.home-assistant.io/integrations/mqtt).
"""

from importlib.metadata import version

import msgspec

from contract.labels import EMOTIONS
from contract.topics import Room, aggregator_state

_PERCENT = "{{{{ (100 * value_json.recent.{path}) | round(0) if value_json.recent{condition} else none }}}}"


def discovery(room: Room, prefix: str) -> tuple[str, bytes]:
    """Topic and payload, to be retained, that make a room a device with sensors.

    Args:
        room: Which.
        prefix: Home Assistant's discovery prefix, "homeassistant" by default.
    """
    node = f"classpulse_{room.site}_{room.room}"
    sensors = {
        "faces": _sensor(node, "faces", "{{ value_json.recent.faces | round(0) if value_json.recent else none }}"),
        "unsure": _sensor(node, "unsure", _PERCENT.format(path="unsure", condition=""), "%"),
    }
    for label in EMOTIONS:
        template = _PERCENT.format(path=f"estimate.{label}[0]", condition=" and value_json.recent.estimate")
        sensors[label] = _sensor(node, label, template, "%")
    fields = {
        "device": {"identifiers": [node], "name": f"{room.site} / {room.room}", "manufacturer": "classpulse"},
        "origin": {"name": "classpulse", "sw_version": version("classpulse")},
        "components": sensors,
        "state_topic": room.topic("summary"),
        "availability": [
            {
                "topic": aggregator_state(room.site),
                "value_template": "{{ 'online' if value_json.state in ('ready', 'degraded') else 'offline' }}",
            }
        ],
        "qos": 1,
    }
    return f"{prefix}/device/{node}/config", msgspec.json.encode(fields)


def _sensor(node: str, name: str, template: str, unit: str | None = None) -> dict[str, object]:
    sensor: dict[str, object] = {
        "platform": "sensor",
        "unique_id": f"{node}_{name}",
        "name": name,
        "value_template": template,
        "state_class": "measurement",
        "expire_after": 60,
    }
    return sensor | ({"unit_of_measurement": unit} if unit else {})
