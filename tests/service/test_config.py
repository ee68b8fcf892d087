"""Configuration files: a mistake stops the start and names file, key and value."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from service.config import ConfigError, load


@dataclass(frozen=True, slots=True)
class Lamp:
    """A table."""

    colour: Literal["red", "green"]
    watts: Annotated[float, Meta(ge=0, le=100)] = 5.0

    def __post_init__(self) -> None:
        if self.colour == "green" and self.watts > 50:
            raise ValueError(f"colour = {self.colour!r} takes 50 watts, not {self.watts!r}")


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
        ('[lamp]\ncolour = "blue"', r"lamp\.colour = 'blue': invalid enum value 'blue', known are red, green"),
        ('[lamp]\ncolour = "red"\nwatts = 101', r"lamp\.watts = 101: expected `float` <= 100"),
        ('[lamp]\ncolour = "red"\nwatts = nan', r"lamp\.watts = nan: expected `float` >= 0"),
        ('[lamp]\ncolour = "red"\nwatts = inf', r"lamp\.watts = inf: expected `float` <= 100"),
        ('[lamp]\ncolour = "red"\nwatts = "5"', r"lamp\.watts = '5': expected `float`, got `str`"),
        ('[lamp]\ncolour = "red"\nwatts = true', r"lamp\.watts = True: expected `float`, got `bool`"),
        ("[lamp]\ncolour = 3", r"lamp\.colour = 3: expected `str`"),
        ("lamp = 3", "lamp = 3: expected a table"),
        ('floors = 1.5\n[lamp]\ncolour = "red"', r"floors = 1\.5: expected `int`, got `float`"),
        ('floors = true\n[lamp]\ncolour = "red"', "floors = True: expected `int`, got `bool`"),
        ('lit = 1\n[lamp]\ncolour = "red"', "lit = 1: expected `bool`, got `int`"),
        ('plan = 3\n[lamp]\ncolour = "red"', "plan = 3: expected"),
        ('rooms = "hall"\n[lamp]\ncolour = "red"', "rooms = 'hall': expected `array`, got `str`"),
        ('rooms = ["hall", 3]\n[lamp]\ncolour = "red"', r"rooms\[1\] = \['hall', 3\]: expected `str`, got `int`"),
        ('[lamp]\ncolour = "green"\nwatts = 60', "lamp: colour = 'green' takes 50 watts, not 60.0"),
        ("lamp", "house.toml"),
        ("[lamp]\n[lamp]", "house.toml"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_value(tmp_path, text, told):
    """One line that says where to look."""
    with pytest.raises(ConfigError, match=rf"house\.toml: .*{told}" if told != "house.toml" else told):
        loaded(tmp_path, text)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path):
    """Whoever fills a configuration in need not start the daemon once per key."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, 'floors = "two"\ndoors = 1\n[lamp]\nwatts = -1\n')

    assert str(caught.value).partition("house.toml: ")[2].split("; ") == [
        "unknown key doors",
        "known are lamp, floors, lit, plan, rooms, spare",
        "floors = 'two': expected `int`, got `str`",
        "missing key lamp.colour",
        "lamp.watts = -1: expected `float` >= 0.0",
    ]


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    """As are files in another encoding."""
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml", House)

    (tmp_path / "latin.toml").write_bytes(b'[lamp]\ncolour = "gr\xfcn"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml: "):
        load(tmp_path / "latin.toml", House)
