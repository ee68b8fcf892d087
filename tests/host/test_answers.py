"""What `classpulse setup` asks, takes and refuses."""

import pytest

from host.answers import HERE, NAMES, Answers, parse, question
from host.ask import ask
from service.config import ConfigError, build


def typed(*lines: str):
    """A person who types these lines, then only Enter; and what was asked."""
    left, asked = list(lines), []

    def read(text: str) -> str:
        asked.append(text)
        return left.pop(0) if left else ""

    return read, asked


def test_the_law_comes_first_and_people_only_is_its_answer():
    """Somebody who only presses Enter reads no expressions."""
    read, asked = typed()

    answers = ask({}, camera=True, hub=True, read=read, read_secret=read)

    assert answers.people_only
    assert "Article 5(1)(f)" in asked[0]
    assert asked[0].endswith("[yes]: ")


def test_todays_answers_are_the_defaults():
    """An empty line keeps each."""
    today = {"people_only": False, "site": "north", "room": "r101", "lessons": ("mon-fri 08:00-12:30",), "min_faces": 7}
    read, asked = typed()

    answers = ask(today, camera=True, hub=True, read=read, read_secret=read)

    assert answers == Answers(**today)
    assert any("[mon-fri 08:00-12:30]" in each for each in asked)


def test_an_answer_that_cannot_be_used_is_asked_again(capsys):
    """Each with one line that says why."""
    read, _ = typed("perhaps", "no", "Big School", "school", "room-1", "cam-1", "webcam", "usb:0")

    answers = ask({}, camera=True, hub=True, read=read, read_secret=read)

    assert (answers.people_only, answers.site, answers.camera) == (False, "school", "usb:0")
    said = capsys.readouterr().out
    assert "'perhaps' is neither yes nor no" in said
    assert "  site = 'Big School' is not 1 to 32" in said
    assert "'webcam' is none of pi, usb:<number>, file:<path>" in said


def test_a_camera_alone_asks_for_the_broker_and_nothing_of_a_page(tmp_path):
    """The package classpulse-edge has no broker of its own."""
    authority = tmp_path / "ca.crt"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    enter = [""] * 8
    read, asked = typed(*enter, "", "hub.local", str(authority), "", "secret")

    answers = ask({}, camera=True, hub=False, read=read, read_secret=read)

    assert (answers.broker, answers.broker_ca, answers.broker_password) == ("hub.local", str(authority), "secret")
    assert not any(question(name) in each for name in ("noise", "page_user") for each in asked)


def test_noise_is_asked_about_where_expressions_are_read_and_off_by_default():
    """One question."""
    read, asked = typed("no")

    answers = ask({}, camera=True, hub=True, read=read, read_secret=read)

    assert not answers.noise
    assert next(each for each in asked if question("noise") in each).endswith("[no]: ")


def test_a_broker_elsewhere_needs_an_authority():
    """Without one there is no TLS, and the password would travel for everybody to read."""
    with pytest.raises(ConfigError, match="needs broker_ca"):
        build({"broker": "hub.local"}, Answers)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ({"site": "A"}, "site = 'A'"),
        ({"min_faces": 0}, "min_faces = 0"),
        ({"lessons": ["monday"]}, "'monday', which is not like mon-fri 08:00-12:30"),
        ({"time_zone": "Berlin"}, "Berlin"),
        ({"page_password": "short"}, "at least 10"),
        ({"others": ["room-2"]}, "is not site/room/camera"),
        ({"page_passwort": "x"}, "unknown key page_passwort"),
    ],
)
def test_an_answers_file_is_refused_with_key_and_value(mistake, told):
    """As the services' own configurations are."""
    with pytest.raises(ConfigError, match=r".") as error:
        build(mistake, Answers)

    assert told in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_has_a_question(name):
    """Its docstring."""
    assert len(question(name)) > 10


def test_always_means_no_lesson_hours():
    """So that hours can be taken away again."""
    assert parse("lessons", "always") == ()
    assert parse("lessons", "mon 08:00-09:00, tue 08:00-09:00") == ("mon 08:00-09:00", "tue 08:00-09:00")


def test_an_authority_is_a_file_or_its_own_text(tmp_path):
    """A further camera's answers file carries the text."""
    text = "-----BEGIN CERTIFICATE-----\nabc\n"
    (tmp_path / "ca.crt").write_text(text)
    (tmp_path / "key").write_text("no certificate")

    assert Answers(broker="b", broker_ca=text).authority == text
    assert Answers(broker="b", broker_ca=str(tmp_path / "ca.crt")).authority == text
    for wrong in ("key", "none"):
        with pytest.raises(ValueError, match=f"{wrong}' is no PEM|{wrong}': No such file"):
            _ = Answers(broker="b", broker_ca=str(tmp_path / wrong)).authority
    assert Answers().broker == HERE
