"""What `make run` accepts as its options."""

import pytest

from demo.options import OptionError, Options, read


def test_nothing_given_is_the_drawn_class_on_a_broker_of_our_own():
    """Make passes empty variables for what was not given."""
    assert read({"CAMERA": "", "BROKER": "", "MIN_FACES": "", "SECONDS": "0"}) == Options()


def test_options_come_from_the_environment():
    """Every variable reaches its field."""
    options = read({"CAMERA": "usb:0", "BROKER": "broker.lan:1883", "MIN_FACES": "1", "SECONDS": "20", "FRESH": "1"})

    assert options == Options(camera="usb:0", broker="broker.lan:1883", min_faces=1, seconds=20.0, fresh=True)
    assert (options.host, options.port) == ("broker.lan", 1883)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER", "localhost"),
        ("BROKER", "localhost:"),
        ("BROKER", ":1883"),
        ("BROKER", "localhost:99999"),
        ("SECONDS", "soon"),
        ("SECONDS", "-1"),
        ("MIN_FACES", "1.5"),
        ("FRESH", "yes"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(name: str, value: str):
    """The person sees which variable is wrong."""
    with pytest.raises(OptionError, match=f"{name}={value}"):
        read({name: value})
