"""Notices devices that share an id: two boots of one device whose frames were taken at the same time. No clock."""

from aggregator.batch import Arrival
from contract.topics import Device

_OVERLAP_S = 5.0
"""A restart takes longer than nothing, and a clock that is set anew may step back a little."""
_BOOTS = 4

Span = tuple[float, float]


class Twins:
    """Remembers when the last boots of every device took their frames."""

    def __init__(self) -> None:
        self._spans: dict[Device, dict[str, Span]] = {}
        self._told: set[Device] = set()

    def note(self, arrivals: list[Arrival]) -> list[Device]:
        """Devices that turn out to be two; each is told once."""
        found = []
        for device, message, _ in arrivals:
            if not message.synced or device in self._told:
                continue
            spans = self._spans.setdefault(device, {})
            first, last = spans.pop(message.boot, (float("inf"), float("-inf")))
            times = [frame.t.timestamp() for frame in message.frames]
            spans[message.boot] = first, last = min(first, *times), max(last, *times)
            if len(spans) > _BOOTS:
                del spans[next(iter(spans))]
            others = (span for boot, span in spans.items() if boot != message.boot)
            if any(min(last, other[1]) - max(first, other[0]) > _OVERLAP_S for other in others):
                self._told.add(device)
                found.append(device)
        return found
