"""What the boots of a device tell: that it is two devices, or that one ended without a goodbye. No clock."""

from collections.abc import Iterable, Mapping

from aggregator.store.types import Arrival
from contract.message import State
from contract.topics import Device

_OVERLAP_S = 5.0
"""A restart takes longer than nothing, and a clock that is set anew may step back a little."""
_MAX_BOOTS = 4

Span = tuple[float, float]


class DuplicateDevices:
    """Finds devices that share an id: two boots of one device whose frames were taken at the same time."""

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


class Goodbyes:
    """Finds daemons that were killed or lost their power: what they took in their last second may be lost.

    Nobody knows how many messages that were: their numbers ended with the process.
    """

    def __init__(self) -> None:
        self._boots: dict[Device, dict[str, bool]] = {}
        """Whether each boot has said `stopped`, in the order of their first word."""

    def restore(self, said: Mapping[Device, State]) -> None:
        """What each device said last."""
        self._boots = {device: {state.boot: state.state == "stopped"} for device, state in said.items()}

    def check(self, said: Iterable[tuple[Device, State]]) -> list[tuple[Device, str, str]]:
        """The boots that were followed by another one, and had not said `stopped`; and that other one."""
        found = []
        for device, state in said:
            boots = self._boots.setdefault(device, {})
            if boots and state.boot not in boots and not boots[last := next(reversed(boots))]:
                found.append((device, last, state.boot))
            # an old boot's word may come again, from a broker that was killed
            boots[state.boot] = boots.get(state.boot, False) or state.state == "stopped"
            if len(boots) > _MAX_BOOTS:
                del boots[next(iter(boots))]
        return found
