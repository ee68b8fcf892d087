"""Finds devices that share an id: two boots of one device whose frames were taken at the same time. No clock."""

from aggregator.store.types import Arrival
from contract.topics import Device

_OVERLAP_S = 5.0
"""A restart takes longer than nothing, and a clock that is set anew may step back a little."""
_MAX_BOOTS = 4

Span = tuple[float, float]


class DuplicateDevices:
    """Remembers when the last boots of every device took their frames."""

    def __init__(self) -> None:
        self._spans: dict[Device, dict[str, Span]] = {}
        self._found: set[Device] = set()

    def check(self, arrivals: list[Arrival]) -> list[Device]:
        """Devices that turn out to be two; each is returned once."""
        found = []
        for device, message, _, taken in arrivals:
            if not message.synced:
                continue
            spans = self._spans.setdefault(device, {})
            first, last = spans.get(message.boot, (taken, taken))
            spans[message.boot] = min(first, taken), max(last, taken)
            if len(spans) > 1 and device not in self._found and _overlap(spans, message.boot):
                self._found.add(device)
                found.append(device)
            if len(spans) > _MAX_BOOTS:
                del spans[next(iter(spans))]
        return found


def _overlap(spans: dict[str, Span], boot: str) -> bool:
    first, last = spans[boot]
    return any(min(last, end) - max(first, begin) > _OVERLAP_S for name, (begin, end) in spans.items() if name != boot)
