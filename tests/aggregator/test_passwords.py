"""How fast passwords can be guessed, and that guessing locks nobody out."""

import asyncio

import pytest

from aggregator.web.passwords import FORGET_S, WAIT_S, Attempts, Passwords, browser_cookie
from aggregator.web.users import Users

PASSWORD = "correct horse"  # noqa: S105 - of these tests
SCHOOL, ELSEWHERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A users file with anna and ben."""
    made = Users(tmp_path_factory.mktemp("users") / "users.json")
    for name in ("anna", "ben"):
        made.put(name, PASSWORD, ["*"])
    return made


class Quick:
    """Users whose passwords are compared without argon2; counts how many are at it at a time."""

    def __init__(self, users):
        self.find, self.users, self.checked = users.find, users, 0

    def check(self, name, password):
        """Right or wrong."""
        self.checked += 1
        return self.users.find(name) if password == PASSWORD else None


@pytest.fixture
def passwords(users):
    """Without a wait: time stands still."""
    return Passwords(Quick(users), clock=lambda: 0.0)


def tried(passwords, times, name="anna", password="wrong", address=SCHOOL, browser=""):  # noqa: S107 - as above
    """The results of trying a password one after the other."""

    async def each():
        return [await passwords.check(name, password, address, browser) for _ in range(times)]

    return asyncio.run(each())


def test_attempts_are_free_at_first_and_then_cost_more_and_more():
    """Five wrong passwords are free; each further one doubles the wait; an hour later all is forgotten."""
    attempts, key = Attempts(), ("pair", "anna 10.0.0.1")
    waits = []
    now = 0.0
    for _ in range(8):
        attempts.failed([key], now)
        waits.append(attempts.wait_s([key], now))
        now += waits[-1]

    assert waits[:4] == [0, 0, 0, 0]
    assert waits[4:] == [30, 60, 120, 240]
    attempts.failed([key], now + FORGET_S + 1)
    assert attempts.wait_s([key], now + FORGET_S + 1) == 0


def test_the_number_of_addresses_that_are_remembered_is_bounded():
    """The oldest is forgotten: a crowd of addresses cannot fill the memory."""
    attempts = Attempts()
    for number in range(10_020):
        attempts.failed([("address", str(number))], float(number))

    assert len(attempts._records) == 10_000
    assert ("address", "10019") in attempts._records
    assert ("address", "0") not in attempts._records


def test_five_wrong_passwords_stop_the_guesser_and_not_the_teacher(passwords):
    """Who guesses waits; the teacher at another address does not."""
    assert [result.wait_s for result in tried(passwords, 6)] == [0, 0, 0, 0, 0, WAIT_S]

    assert tried(passwords, 1, password=PASSWORD)[0].wait_s == WAIT_S
    assert tried(passwords, 1, password=PASSWORD, address=ELSEWHERE)[0].user.name == "anna"


def test_a_known_browser_waits_for_nobody_elses_mistakes(passwords, users):
    """Though it has the guesser's address, and the name is under attack from everywhere."""
    for number in range(60):
        tried(passwords, 1, address=f"10.1.0.{number}")
    tried(passwords, 6)
    assert tried(passwords, 1, password=PASSWORD, address="10.2.0.1")[0].wait_s > 0

    known = browser_cookie(users.find("anna"))

    assert tried(passwords, 1, password=PASSWORD, browser=known)[0].user.name == "anna"


def test_a_known_browser_cannot_guess_without_end_either(passwords, users):
    """A pupil at the teacher's machine: ten, then as many as any browser, then none."""
    known = browser_cookie(users.find("anna"))

    results = tried(passwords, 30, browser=known)

    assert [bool(result.wait_s) for result in results] == [False] * 15 + [True] * 15


@pytest.mark.parametrize("browser", ["x", ".", "12.34", "é.é", "ben", "forged"])
def test_a_cookie_that_is_not_for_this_name_is_none(passwords, users, browser):
    """Made up, or another user's own."""
    if browser == "ben":
        browser = browser_cookie(users.find("ben"))
    if browser == "forged":
        browser = "0" + browser_cookie(users.find("anna"))
    tried(passwords, 5)

    assert tried(passwords, 1, password=PASSWORD, browser=browser)[0].wait_s > 0


def test_a_new_password_makes_the_browser_unknown(tmp_path):
    """Who had the old one is a stranger."""
    users = Users(tmp_path / "users.json")
    users.put("anna", PASSWORD, ["*"])
    known = browser_cookie(users.find("anna"))
    users.put("anna", PASSWORD, ["*"])
    passwords = Passwords(Quick(users), clock=lambda: 0.0)
    tried(passwords, 5)

    assert tried(passwords, 1, password=PASSWORD, browser=known)[0].wait_s > 0


def test_an_address_waits_after_fifty_wrong_passwords_whatever_the_names(passwords):
    """A right one in between clears its name, not the address: somebody may try names between logins of others."""
    for number in range(49):
        assert tried(passwords, 1, name=f"name-{number}")[0].wait_s == 0
    assert tried(passwords, 1, password=PASSWORD)[0].user.name == "anna"
    assert tried(passwords, 1, name="name-50")[0].wait_s == 0

    assert tried(passwords, 1, password=PASSWORD)[0].wait_s == WAIT_S


def together(passwords, *calls):
    """The results of passwords that come at once."""

    async def all_of_them():
        return await asyncio.gather(*(passwords.check(*call) for call in calls))

    return asyncio.run(all_of_them())


def test_of_passwords_that_come_at_once_few_are_looked_at(passwords, users):
    """Forty guesses from one address cost four; the teacher elsewhere, and in a known browser, is not kept waiting."""
    guesses = [("anna", "wrong", SCHOOL, "")] * 40
    known = browser_cookie(users.find("anna"))

    results = together(passwords, *guesses, ("anna", PASSWORD, ELSEWHERE, ""), ("anna", PASSWORD, SCHOOL, known))

    assert passwords.users.checked == 6
    assert [result.user and result.user.name for result in results[40:]] == ["anna", "anna"]
    assert all(result.wait_s for result in results[4:40])


def test_guesses_from_everywhere_do_not_queue_without_end(passwords, users):
    """Twelve wait; the others are told to come again, but a known browser has a queue of its own."""
    guesses = [("ben", "wrong", f"10.1.0.{number}", "") for number in range(40)]
    known = browser_cookie(users.find("anna"))

    results = together(passwords, *guesses, ("anna", PASSWORD, SCHOOL, known))

    assert passwords.users.checked == 13
    assert results[-1].user.name == "anna"


def test_wrong_passwords_that_wait_together_are_counted_before_the_next_is_looked_at(passwords):
    """The fifth mistake stops those that were already in the queue."""
    tried(passwords, 3)

    results = together(passwords, *[("anna", "wrong", SCHOOL, "")] * 4)

    assert [bool(result.wait_s) for result in results] == [False, False, True, True]


def test_hashing_does_not_hold_up_the_page(users):
    """The event loop turns while argon2 works."""
    passwords, turns = Passwords(users), 0

    async def both():
        nonlocal turns
        checking = asyncio.create_task(passwords.check("anna", PASSWORD, SCHOOL))
        while not checking.done():
            turns += 1
            await asyncio.sleep(0)
        return await checking

    assert asyncio.run(both()).user.name == "anna"
    assert turns > 10
