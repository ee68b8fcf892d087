"""A device's health as tests need it."""

from msgspec import structs

from contract.message import Health, instant, utc


def health_at(at: float, **fields: object) -> Health:
    """What a device says at `at` of which nothing is known but `fields`."""
    required = [field.name for field in structs.fields(Health) if field.required]
    tables = {key: {} for key in ("latency_ms", "outbox_dropped", "outbox_first")}
    unknown = dict.fromkeys(("frame_age_s", "temperature_c", "throttled"))
    known = {"t": instant(utc(at)), "boot": "9f3a2c41", "confirm": "stored"}
    return Health(**dict.fromkeys(required, 0) | tables | unknown | known | fields)
