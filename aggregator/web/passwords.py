"""Looks at passwords: away from the event loop, few at a time, and more and more slowly after wrong ones.

Guessing must not lock the right person out, so guesses are counted for a name at an address before they are counted
for a name. A browser in which somebody has logged in before is known by a cookie and waits for nobody else's mistakes.
Source of that cookie: OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
"""

import asyncio
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from itsdangerous import Signer

from aggregator.web.users import User, Users

FREE_ATTEMPTS = {"pair": 5, "browser": 10, "name": 50, "address": 50}
"""Wrong passwords in a row before waiting begins: for a name at an address, in a known browser, for a name whatever
the address, and from an address whatever the name, for a school may share one."""
FORGET_S = 3600.0
"""Wrong passwords are forgotten so long after the last one."""
WAIT_S = 30.0
"""The first wait; every further wrong password doubles it, up to a quarter of an hour."""
_LONGEST_WAIT_S = 900.0
_MOST_TRACKED = 10_000
_MOST_WAITING, _MOST_OF_ONE = 12, 4
"""Passwords that wait to be looked at, and of them those of one address or browser; more are refused at once."""
_BUSY_S = 2.0

Key = tuple[str, str]
"""What attempts are counted by: ("name", …) and so on, of FREE_ATTEMPTS."""


@dataclass(slots=True)
class _Record:
    wrong: int = 0
    free_at: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class Attempts:
    """Wrong passwords per key: after FREE_ATTEMPTS each costs a wait twice as long."""

    _records: dict[Key, _Record] = field(default_factory=dict)

    def wait_s(self, keys: Iterable[Key], now: float) -> float:
        """Seconds until another attempt with any of these keys is looked at; 0 for now."""
        return max([0.0, *(self._records[key].free_at - now for key in keys if key in self._records)])

    def failed(self, keys: Iterable[Key], now: float) -> int:
        """A wrong password: how many in a row by now, if it is the first of a key or begins a wait; else 0."""
        told = 0
        for key in keys:
            if len(self._records) >= _MOST_TRACKED:
                del self._records[min(self._records, key=lambda each: self._records[each].last)]
            record = self._records.setdefault(key, _Record())
            record.wrong = 1 if now - record.last > FORGET_S else record.wrong + 1
            record.last = now
            beyond = record.wrong - FREE_ATTEMPTS[key[0]]
            if beyond >= 0:
                record.free_at = now + min(_LONGEST_WAIT_S, WAIT_S * 2.0 ** min(beyond, 20))
            if record.wrong == 1 or beyond >= 0:
                told = max(told, record.wrong)
        return told

    def succeeded(self, keys: Iterable[Key]) -> None:
        """The right password clears all but the address, from which somebody may guess between logins of others."""
        for key in keys:
            if key[0] != "address":
                self._records.pop(key, None)


class _Queue:
    """One at a time; few wait."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = Counter[str]()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[bool]:
        """Wait for a turn; False at once if too many do, all together or from the same place."""
        if self._waiting.total() >= _MOST_WAITING or self._waiting[who] >= _MOST_OF_ONE:
            yield False
            return
        self._waiting[who] += 1
        try:
            async with self._lock:
                yield True
        finally:
            self._waiting[who] -= 1
            self._waiting += Counter()  # forgets who does not wait any more


class Checked(NamedTuple):
    """What came of a password."""

    user: User | None
    """None if it is wrong or was not looked at."""
    wait_s: float = 0.0
    """Above 0 it was not looked at; so many seconds from now one will be."""
    told: int = 0
    """Above 0 it is for the audit log, too: the first that is wrong, or one that begins a wait; so many in a row."""


class Passwords:
    """Checks passwords for the login and for those who change theirs."""

    def __init__(self, users: Users, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self.users = users
        self._clock = clock
        self._attempts = Attempts()
        self._queues = {"browser": _Queue(), "address": _Queue()}

    async def check(self, name: str, password: str, address: str, browser: str = "") -> Checked:
        """Look at a password; `browser` is the cookie that `browser_cookie` gave, "" if there is none."""
        keys = self._keys(name, address, browser)
        if wait_s := self._attempts.wait_s(keys, self._clock()):
            return Checked(None, wait_s)
        async with self._queues["browser" if keys[0][0] == "browser" else "address"].turn(keys[-1][1]) as turn:
            if not turn:
                return Checked(None, _BUSY_S)
            if wait_s := self._attempts.wait_s(keys, self._clock()):  # those before may have been wrong
                return Checked(None, wait_s)
            user = await asyncio.to_thread(self.users.check, name, password)
        if user is None:
            return Checked(None, told=self._attempts.failed(keys, self._clock()))
        self._attempts.succeeded(keys)
        return Checked(user)

    def _keys(self, name: str, address: str, browser: str) -> list[Key]:
        """A known browser that made too many mistakes itself is like any other."""
        known: list[Key] = [("browser", browser)]
        if self._knows(name, browser) and not self._attempts.wait_s(known, self._clock()):
            return known
        return [("pair", f"{name} {address}"), ("name", name), ("address", address)]

    def _knows(self, name: str, browser: str) -> bool:
        user = self.users.find(name)
        return user is not None and _signer(user).validate(browser)


def browser_cookie(user: User) -> str:
    """What a browser is given by which it is known to be the user's, until the user has a new password."""
    return _signer(user).sign(secrets.token_hex(8)).decode()


def _signer(user: User) -> Signer:
    """Signs with the hash of the password: its salt is secret, random, and changes with the password."""
    return Signer(user.hash, user.name, digest_method=hashlib.sha256)
