"""Configuration files: a mistake stops the start and names file, key and value."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.config import ConfigError, in_range, load, one_of


@dataclass(frozen=True, slots=True)
class Lamp:
    """A table."""

    colour: str
    watts: float = 5.0

    def __post_init__(self) -> None:
        one_of("colour", self.colour, ("red", "green"))
        in_range("watts", self.watts, 0, 100)


@dataclass(frozen=True, slots=True)
class House:
    """A whole file."""

    lamp: Lamp
    floors: int = 1
    lit: bool = False
    plan: Path | None = None
    rooms: tuple[str, ...] = ()
    spare: Lamp = field(default_factory=lambda: Lamp("red"))


def loaded(tmp_path: Path, text: str) -> House:
    """What a file with that text gives."""
    path = tmp_path / "house.toml"
    path.write_text(text)
    return load(path, House)


def test_a_file_becomes_a_dataclass_and_defaults_fill_the_rest(tmp_path):
    """Tables are dataclasses, whole numbers serve as numbers, arrays are tuples, paths are paths."""
    text = 'floors = 2\nplan = "a/b.png"\nrooms = ["hall", "bath"]\n[lamp]\ncolour = "green"\nwatts = 7\n'

    house = loaded(tmp_path, text)

    assert house == House(
        lamp=Lamp("green", 7.0), floors=2, plan=Path("a/b.png"), rooms=("hall", "bath"), spare=Lamp("red")
    )
    assert type(house.lamp.watts) is float


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "missing key lamp"),
        ("[lamp]", r"missing key lamp\.colour"),
        ('[lamp]\ncolour = "red"\nsize = 3', r"unknown key lamp\.size; known are colour, watts"),
        ('colours = 1\n[lamp]\ncolour = "red"', "unknown key colours"),
        ('[lamp]\ncolour = "blue"', "lamp: colour = 'blue' is none of red, green"),
        ('[lamp]\ncolour = "red"\nwatts = 101', "lamp: watts = 101.0 is not from 0 to 100"),
        ('[lamp]\ncolour = "red"\nwatts = nan', "lamp: watts = nan"),
        ('[lamp]\ncolour = "red"\nwatts = inf', "lamp: watts = inf"),
        ('[lamp]\ncolour = "red"\nwatts = "5"', r"lamp\.watts = '5' is not a number"),
        ('[lamp]\ncolour = "red"\nwatts = true', r"lamp\.watts = True is not a number"),
        ("[lamp]\ncolour = 3", r"lamp\.colour = 3 is not a text"),
        ("lamp = 3", "lamp = 3 is not a table"),
        ('floors = 1.5\n[lamp]\ncolour = "red"', r"floors = 1\.5 is not a whole number"),
        ('floors = true\n[lamp]\ncolour = "red"', "floors = True is not a whole number"),
        ('lit = 1\n[lamp]\ncolour = "red"', "lit = 1 is not true or false"),
        ('plan = 3\n[lamp]\ncolour = "red"', "plan = 3 is not a path"),
        ('rooms = "hall"\n[lamp]\ncolour = "red"', "rooms = 'hall' is not an array"),
        ('rooms = ["hall", 3]\n[lamp]\ncolour = "red"', r"rooms\[1\] = 3 is not a text"),
        ("lamp", "house.toml"),
        ("[lamp]\n[lamp]", "house.toml"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_value(tmp_path, text, told):
    """One line that says where to look."""
    with pytest.raises(ConfigError, match=rf"house\.toml: .*{told}" if told != "house.toml" else told):
        loaded(tmp_path, text)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    """As are files in another encoding."""
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml", House)

    (tmp_path / "latin.toml").write_bytes(b'[lamp]\ncolour = "gr\xfcn"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml: "):
        load(tmp_path / "latin.toml", House)
