"""A room's summary, and how it is written and read. No clock, no I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct, json, to_builtins

from aggregator.analysis.mix import Mix
from contract.labels import EMOTIONS
from contract.message import SCHEMA, Payload, Time
from contract.topics import Room


class DeviceState(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device last said of itself."""

    state: str
    reason: str


class Summary(Payload, frozen=True, kw_only=True):
    """One payload of a room's retained `summary` topic."""

    schema: Literal[1] = SCHEMA
    t: Time
    """When it was made, by the aggregator's clock."""
    site: str
    room: str
    newest: Time | None
    """When the newest frame was taken, by its device's clock; None before the first."""
    age_s: float | None
    """Age of the newest frame; negative if its device's clock is ahead."""
    recent: Mix | None
    """The last minute; None without a frame in it."""
    lesson: Mix | None
    lesson_start: Time | None
    """Both None while there is no lesson: no synchronised frame in the last ten minutes."""
    trend: dict[str, float] | None
    """Label -> share in `recent` less share in `lesson`."""
    devices: dict[str, DeviceState]

    def __post_init__(self) -> None:
        Room(self.site, self.room)
        for t in filter(None, (self.t, self.newest, self.lesson_start)):
            datetime.fromisoformat(t)
        if self.trend is not None and self.trend.keys() != set(EMOTIONS):
            raise ValueError(f"trend has the labels {', '.join(self.trend)}")

    @property
    def where(self) -> Room:
        """Whose it is."""
        return Room(self.site, self.room)

    @property
    def over(self) -> bool:
        """Whether there is neither a lesson nor a camera that could begin one."""
        return self.lesson is None and all(each.state in ("stopped", "lost") for each in self.devices.values())

    def to_json(self) -> bytes:
        """The payload, with four decimals and without groups, which protocol v1 does not have."""
        fields = to_builtins(self)
        for mix in filter(None, (fields["recent"], fields["lesson"])):
            del mix["groups"]
        return json.encode(_rounded(fields))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, tuple | list) else value
