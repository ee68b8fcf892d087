"""Users, sessions, attempts."""

import copy
import json
import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters

from aggregator.web.users import IDLE_S, SESSION_S, Sessions, User, Users, UsersError
from contract.topics import Room

PASSWORD = "correct horse"  # noqa: S105 - of these tests


@pytest.fixture
def users(tmp_path):
    """A users file with anna, who sees one room."""
    made = Users(tmp_path / "etc" / "users.json")
    made.put("anna", PASSWORD, ["north/r101"])
    return made


def test_the_right_password_and_no_other_is_accepted(users):
    """The user comes back for the right one, nobody for a wrong one or a name that does not exist."""
    assert users.check("anna", PASSWORD).name == "anna"
    assert users.check("anna", "Correct horse") is None
    assert users.check("nobody", PASSWORD) is None
    assert users.check("anna", "") is None


def test_the_file_has_hashes_and_is_for_its_owner(users, tmp_path):
    """Nobody else can read it, and who can finds argon2id and no password."""
    path = tmp_path / "etc" / "users.json"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text()
    assert json.loads(path.read_text())["anna"]["hash"].startswith("$argon2id$")


class CountingHasher(PasswordHasher):
    """Argon2 that writes down which hashes it worked on."""

    def __init__(self):
        super().__init__()
        self.verified = []

    def verify(self, hash, password):  # noqa: A002 - named by argon2
        """Do it."""
        self.verified.append(hash)
        return super().verify(hash, password)


def test_a_name_that_does_not_exist_takes_the_same_work(tmp_path):
    """One verification with the same parameters, so that time does not tell which names there are."""
    hasher = CountingHasher()
    users = Users(tmp_path / "users.json", hasher)
    users.put("anna", PASSWORD, ["*"])

    users.check("anna", "wrong")
    users.check("nobody", "wrong")

    known, unknown = map(extract_parameters, hasher.verified)
    assert known == unknown


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_that_is_written_again_keeps_its_mode(users, tmp_path, mode):
    """Whoever may read it still may, and nobody else."""
    path = tmp_path / "etc" / "users.json"
    path.chmod(mode)

    users.put("ben", PASSWORD, ["*"])

    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("name", "password", "rooms"),
    [
        ("Anna", PASSWORD, ["*"]),
        ("<b>", PASSWORD, ["*"]),
        ("", PASSWORD, ["*"]),
        ("ben", "short", ["*"]),
        ("ben", PASSWORD, ["north"]),
        ("ben", PASSWORD, ["north/<b>"]),
        ("ben", PASSWORD, ["*/r101"]),
    ],
)
def test_names_passwords_and_rooms_are_checked(users, name, password, rooms):
    """What will not do is refused with its name, and the file stays as it was."""
    with pytest.raises(UsersError):
        users.put(name, password, rooms)

    assert [user.name for user in users.all()] == ["anna"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"anna": {}}', '{"anna": {"hash": "x", "rooms": ["?"]}}'])
def test_a_broken_file_is_an_error_that_names_it(tmp_path, text):
    """It is never taken for a file without users."""
    path = tmp_path / "users.json"
    path.write_text(text or " ")

    if text == "[]":
        path.write_text("[1]")
    with pytest.raises(UsersError, match=r"users\.json"):
        Users(path).all()


def test_rooms_are_matched_whole():
    """One room, a site, everything; never a part of a name."""
    one, site, everything = (User("x", "", (entry,)) for entry in ("north/r1", "north/*", "*"))

    assert [user.may_see(Room("north", "r1")) for user in (one, site, everything)] == [True] * 3
    assert [user.may_see(Room("north", "r11")) for user in (one, site, everything)] == [False, True, True]
    assert [user.may_see(Room("northeast", "r1")) for user in (one, site, everything)] == [False, False, True]


def test_a_session_ends_by_time_idleness_and_logout(users):
    """Whichever comes first."""
    sessions = Sessions(users)
    anna = users.find("anna")
    used, idle, left = (sessions.begin(anna, 0.0) for _ in range(3))
    for hour in range(int(SESSION_S // 3600)):
        assert sessions.user(used, hour * 3600.0)
    sessions.end(left)

    assert sessions.user(used, SESSION_S) is None
    assert sessions.user(idle, IDLE_S) is None
    assert sessions.user(left, 1.0) is None
    assert sessions.user("", 1.0) is None


def test_a_new_password_or_a_removal_ends_the_sessions(users):
    """Also when another process wrote the file."""
    sessions = Sessions(users)
    first = sessions.begin(users.find("anna"), 0.0)
    users.put("anna", PASSWORD, ["north/r101"])
    second = sessions.begin(users.find("anna"), 0.0)

    assert sessions.user(first, 1.0) is None
    assert sessions.user(second, 1.0)
    users.remove("anna")
    assert sessions.user(second, 1.0) is None


def test_the_number_of_sessions_is_bounded(users):
    """The one that was idle longest goes: logins cannot fill the memory."""
    sessions = Sessions(users)
    first = sessions.begin(users.find("anna"), 0.0)
    for number in range(10_000):
        sessions._sessions[str(number)] = copy.copy(sessions._sessions[first])
        sessions._sessions[str(number)].seen = 1.0

    newest = sessions.begin(users.find("anna"), 2.0)

    assert len(sessions._sessions) == 10_000
    assert sessions.user(first, 2.0) is None
    assert sessions.user(newest, 2.0)


def test_a_role_says_what_one_may_do():
    """A viewer looks, a teacher also pauses, and neither in a room of others."""
    viewer, teacher = (User("x", "", ("north/*",), role) for role in ("viewer", "teacher"))
    north, south = Room("north", "r1"), Room("south", "r1")

    assert [viewer.may_see(north), viewer.may_order(north)] == [True, False]
    assert [teacher.may_order(north), teacher.may_order(south)] == [True, False]


def test_users_of_a_file_without_roles_are_teachers(users, tmp_path):
    """What they could do before, they still can; the file of version 0.1 has no roles."""
    path = tmp_path / "etc" / "users.json"
    fields = json.loads(path.read_text())
    del fields["anna"]["role"]
    path.write_text(json.dumps(fields))

    assert Users(path).check("anna", PASSWORD).role == "teacher"


def test_a_change_without_a_password_keeps_it(users):
    """And a role that there is not, or a user who is not there, is refused."""
    users.put("anna", None, ["south/*"], "administrator")

    anna = users.check("anna", PASSWORD)
    assert (anna.rooms, anna.role) == (("south/*",), "administrator")
    with pytest.raises(UsersError, match="viewer, teacher, administrator"):
        users.put("anna", None, ["*"], "king")
    with pytest.raises(UsersError, match="no user 'ben'"):
        users.put("ben", None, ["*"])


def test_a_file_that_cannot_be_written_is_named():
    """The administrator reads it on the page."""
    with pytest.raises(UsersError, match=r"/proc/users\.json cannot be written"):
        Users(Path("/proc/users.json")).put("anna", PASSWORD, ["*"])
