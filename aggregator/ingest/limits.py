"""Bounds on what one device can make the aggregator store. No clock: messages bring the time of their receipt."""

from collections.abc import Collection
from datetime import datetime

from msgspec import structs

from aggregator.store.types import Arrival
from aggregator.store.windows import AHEAD_S, window_start
from contract.message import HORIZON_S, MessageError
from contract.topics import Device

OTHER_MODEL = "other"
"""Stands for every model of a device beyond MODELS whose card is not here."""
MODELS = 4
RATE = 300.0
"""Messages of a device per second in the long run; it replays with up to 200 (`[mqtt] replay_hz`)."""
BURST = 100_000.0
"""Messages at once: what waits at the broker after more than a day in which the aggregator was away."""
BYTES = 256 * 1024.0
"""The same for bytes per second; a busy device sends 2 KB."""
BYTES_BURST = 256e6
STRAY_WINDOWS = 720
"""Windows per hour in messages whose times are not believed: of a clock that is not synchronised, far ahead, or with
frames of more than seven days ago. A device that counts all the time needs 360. Believed times lie in a week, which
bounds their windows."""
_HOUR_S = 3600.0


class _Use:
    """What one device has used."""

    def __init__(self, now: float) -> None:
        self.messages, self.bytes, self.refilled_at = BURST, BYTES_BURST, now
        self.models: set[str] = set()
        self.stray: set[int] = set()
        self.stray_since = now


class Limits:
    """Remembers what each device has used."""

    def __init__(self, known_models: Collection[str]) -> None:
        """`known_models`: by the hash that messages carry, those whose card is here."""
        self._known = known_models
        self._uses: dict[Device, _Use] = {}

    def admit(self, device: Device, size: int, received: float) -> None:
        """Count a message of `size` bytes.

        Raises:
            MessageError: With reason "rate" if the device sends too many, or too much.
        """
        use = self._use(device, received)
        passed_s = max(0.0, received - use.refilled_at)
        use.messages = min(BURST, use.messages + passed_s * RATE)
        use.bytes = min(BYTES_BURST, use.bytes + passed_s * BYTES)
        use.refilled_at = received
        if use.messages < 1 or use.bytes < size:
            raise MessageError("rate", f"more than {RATE:g} messages or {BYTES:g} bytes per second for long")
        use.messages -= 1
        use.bytes -= size

    def bounded(self, arrival: Arrival) -> Arrival:
        """The message, with OTHER_MODEL if its device has named too many models.

        Raises:
            MessageError: With reason "rate" if the device opens too many windows.
        """
        use = self._use(arrival.device, arrival.received)
        if not 0 <= arrival.received - use.stray_since < _HOUR_S:
            use.stray, use.stray_since = set(), arrival.received
        stray = _stray(arrival)
        if stray and len(use.stray | stray) > STRAY_WINDOWS:
            raise MessageError("rate", f"more than {STRAY_WINDOWS} windows per hour of times that are not believed")
        use.stray |= stray
        model = arrival.message.model
        if model is None or model in self._known or model in use.models:
            return arrival
        if len(use.models) < MODELS:
            use.models.add(model)
            return arrival
        return arrival._replace(message=structs.replace(arrival.message, model=OTHER_MODEL))

    def _use(self, device: Device, now: float) -> _Use:
        use = self._uses.get(device)
        if use is None:
            use = self._uses[device] = _Use(now)
        return use


def _stray(arrival: Arrival) -> set[int]:
    """The starts of windows whose time is not believed."""
    frames, received = arrival.message.frames, arrival.received
    oldest = arrival.newest
    if len(frames) > 1:
        oldest = datetime.fromisoformat(min(frame.t for frame in frames)).timestamp()
    if arrival.message.synced and received - HORIZON_S <= oldest and arrival.newest <= received + AHEAD_S:
        return set()
    return {window_start(frame.time) for frame in frames}
