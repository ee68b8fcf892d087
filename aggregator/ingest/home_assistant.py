"""Rooms as devices of Home Assistant, which reads the retained `summary` topic and `events`. Pure.

Source: Home Assistant's MQTT integration, device discovery (https://www.home-assistant.io/integrations/mqtt).
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import msgspec

from contract.labels import EMOTIONS
from contract.topics import Device, Room, aggregator_state

_PERCENT = "{{{{ (100 * ({share})) | round(0) if value_json.recent{condition} else none }}}}"
_READ = " and value_json.recent.estimate"
EVENT = "lasting_change"


def discovery(
    room: Room, devices: Iterable[str], groups: Mapping[str, Sequence[str]], prefix: str, site: str
) -> tuple[str, bytes]:
    """Topic and payload, to be retained, that make a room a device with sensors, an event, and switches that pause.

    Args:
        room: Which.
        devices: Names of its cameras.
        groups: Group -> its labels.
        prefix: Home Assistant's discovery prefix, "homeassistant" by default.
        site: Whose aggregator speaks for the room.
    """
    node = f"classpulse_{room.site}_{room.room}"
    components: dict[str, dict[str, object]] = {
        "faces": _sensor(node, "faces", "{{ value_json.recent.faces | round(0) if value_json.recent else none }}"),
        "unsure": _sensor(node, "unsure", _PERCENT.format(share="value_json.recent.unsure", condition=""), "%"),
        "event": {
            "platform": "event",
            "unique_id": f"{node}_event",
            "name": "lasting change",
            "state_topic": room.topic("events"),
            "event_types": [EVENT],
            "value_template": f"{{{{ dict(value_json, event_type='{EVENT}') | tojson }}}}",
        },
    }
    # a group's share is the sum of its labels': the estimates are means
    for key, labels in {**{label: (label,) for label in EMOTIONS}, **groups}.items():
        share = " + ".join(f"value_json.recent.estimate.{label}[0]" for label in labels)
        components[key] = _sensor(node, key, _PERCENT.format(share=share, condition=_READ), "%")
    for name in devices:
        components[f"pause {name}"] = _pause_switch(node, Device(room.site, room.room, name))
    fields = {
        "device": {"identifiers": [node], "name": f"{room.site} / {room.room}", "manufacturer": "classpulse"},
        "origin": {"name": "classpulse", "sw_version": version("classpulse")},
        "components": components,
        "state_topic": room.topic("summary"),
        "availability": [
            {
                "topic": aggregator_state(site),
                "value_template": "{{ 'online' if value_json.state in ('ready', 'degraded') else 'offline' }}",
            }
        ],
        "qos": 1,
    }
    return f"{prefix}/device/{node}/config", msgspec.json.encode(fields)


def _pause_switch(node: str, device: Device) -> dict[str, object]:
    return {
        "platform": "switch",
        "unique_id": f"{node}_{device.device}_pause",
        "name": f"pause {device.device}",
        "command_topic": device.topic("set"),
        "payload_on": "pause",
        "payload_off": "resume",
        "state_topic": device.topic("state"),
        "value_template": "{{ 'paused' if value_json.state == 'paused' else 'running' }}",
        "state_on": "paused",
        "state_off": "running",
        "retain": False,
    }


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
