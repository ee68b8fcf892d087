"""Who may see which rooms: a file of users with argon2 hashes, sessions that expire, attempts that are limited.

No web framework here; `now` is monotonic seconds, brought by the caller.
"""

import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from contract.topics import Room, TopicError
from service.cli import UsageError

SESSION_S = 10 * 3600.0
"""A session ends after a school day, used or not."""
IDLE_S = 2 * 3600.0
"""And when no page of it has been open for so long."""
FREE_ATTEMPTS = {"name": 5, "address": 50}
"""Wrong passwords in a row for one name, and from one address, before waiting begins: a school may share an address."""
FORGET_S = 3600.0
"""Wrong passwords are forgotten so long after the last one."""
WAIT_S = 30.0
"""The first wait; every further wrong password doubles it, up to a quarter of an hour."""
_LONGEST_WAIT_S = 900.0
MIN_PASSWORD = 10
"""Characters."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_HASHER = PasswordHasher()
_MOST_SESSIONS = 10_000
_MOST_TRACKED = 10_000


class UsersError(UsageError):
    """A users file, name, room or password that cannot be used; the text says which."""


@dataclass(frozen=True, slots=True)
class User:
    """One user."""

    name: str
    hash: str
    """Argon2id, with its parameters and salt."""
    rooms: tuple[str, ...]
    """Each `site/room`, `site/*` or `*`."""

    def may_see(self, room: Room) -> bool:
        """Whether any entry of `rooms` holds this room."""
        return any(entry in ("*", f"{room.site}/*", f"{room.site}/{room.room}") for entry in self.rooms)


class Users:
    """The users file, read again when it changes."""

    def __init__(self, path: Path, hasher: PasswordHasher = _HASHER) -> None:
        self._path = path
        self._hasher = hasher
        self._stamp: tuple[int, int] | None = None
        self._users: dict[str, User] = {}

    def __len__(self) -> int:
        self._refresh()
        return len(self._users)

    def find(self, name: str) -> User | None:
        """The user of this name."""
        self._refresh()
        return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """The user if the password is right; takes the same time for a name that does not exist. Slow on purpose."""
        user = self.find(name)
        try:
            self._hasher.verify(user.hash if user else self._hash_of_nobody, password[:1000])
        except (VerificationError, InvalidHashError):
            return None
        return user

    def names(self) -> dict[str, tuple[str, ...]]:
        """Every user's rooms."""
        self._refresh()
        return {name: user.rooms for name, user in sorted(self._users.items())}

    def put(self, name: str, password: str, rooms: Iterable[str]) -> None:
        """Add a user, or give one a new password and rooms.

        Raises:
            UsersError: If the name, the password or a room will not do.
        """
        if not _NAME.fullmatch(name):
            raise UsersError(f"name {name!r} is not 1 to 32 of a-z, 0-9, dot, - and _")
        if len(password) < MIN_PASSWORD:
            raise UsersError(f"a password has at least {MIN_PASSWORD} characters")
        user = User(name, self._hasher.hash(password), tuple(_checked_room(room) for room in rooms))
        self._write({**self._current(), name: user})

    def remove(self, name: str) -> None:
        """Forget a user; the sessions end with it.

        Raises:
            UsersError: If there is none of this name.
        """
        users = self._current()
        if name not in users:
            raise UsersError(f"no user {name!r} in {self._path}")
        del users[name]
        self._write(users)

    @cached_property
    def _hash_of_nobody(self) -> str:
        """A hash that no password has; made when first needed, because that is slow."""
        return self._hasher.hash(secrets.token_urlsafe(32))

    def _current(self) -> dict[str, User]:
        self._refresh()
        return dict(self._users)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._users = None, {}
            return
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            self._users = _read(self._path)
            self._stamp = stamp

    def _write(self, users: dict[str, User]) -> None:
        """Whole or not at all, readable by the owner alone."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({name: {"hash": user.hash, "rooms": user.rooms} for name, user in users.items()}, indent=2)
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._path.exists():  # the daemon's user must be able to read what root writes
            stat = self._path.stat()
            os.chown(file.name, stat.st_uid, stat.st_gid)
            Path(file.name).chmod(stat.st_mode & 0o777)
        Path(file.name).replace(self._path)


@dataclass(slots=True)
class _Session:
    user: str
    hash: str
    ends: float
    seen: float


class Sessions:
    """Who is logged in, in memory: a restart logs everybody out."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._sessions: dict[str, _Session] = {}

    def begin(self, user: User, now: float) -> str:
        """A new session's token."""
        self._forget(now)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(user.name, user.hash, now + SESSION_S, now)
        return token

    def user(self, token: str, now: float) -> User | None:
        """Whose session this is; None if it ended, or the user is gone or has a new password."""
        session = self._sessions.get(token)
        if session is None:
            return None
        user = self._users.find(session.user)
        if user is None or user.hash != session.hash or now >= session.ends or now - session.seen >= IDLE_S:
            del self._sessions[token]
            return None
        session.seen = now
        return user

    def end(self, token: str) -> None:
        """Log out."""
        self._sessions.pop(token, None)

    def _forget(self, now: float) -> None:
        ended = [token for token, each in self._sessions.items() if now >= each.ends or now - each.seen >= IDLE_S]
        oldest = sorted(self._sessions, key=lambda token: self._sessions[token].seen)
        for token in {*ended, *oldest[: max(0, len(oldest) - _MOST_SESSIONS + 1)]}:
            del self._sessions[token]


@dataclass(slots=True)
class _Record:
    wrong: int = 0
    free_at: float = 0.0
    last: float = 0.0


Key = tuple[str, str]
"""What attempts are counted by: ("name", …) or ("address", …)."""


@dataclass(slots=True)
class Attempts:
    """Wrong passwords per key: after FREE_ATTEMPTS each costs a wait twice as long."""

    _records: dict[Key, _Record] = field(default_factory=dict)

    def wait_s(self, keys: Iterable[Key], now: float) -> float:
        """Seconds until another attempt with any of these keys is looked at; 0 for now."""
        return max([0.0, *(self._records[key].free_at - now for key in keys if key in self._records)])

    def failed(self, keys: Iterable[Key], now: float) -> None:
        """A wrong password."""
        for key in keys:
            if len(self._records) >= _MOST_TRACKED:
                del self._records[min(self._records, key=lambda each: self._records[each].last)]
            record = self._records.setdefault(key, _Record())
            record.wrong = 1 if now - record.last > FORGET_S else record.wrong + 1
            record.last = now
            beyond = record.wrong - FREE_ATTEMPTS[key[0]]
            if beyond >= 0:
                record.free_at = now + min(_LONGEST_WAIT_S, WAIT_S * 2.0 ** min(beyond, 20))

    def succeeded(self, name: Key) -> None:
        """The right password clears the name; an address stays what it was."""
        self._records.pop(name, None)


def _read(path: Path) -> dict[str, User]:
    try:
        table = json.loads(path.read_bytes())
        return {
            name: User(name, fields["hash"], tuple(_checked_room(room) for room in fields["rooms"]))
            for name, fields in table.items()
        }
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsersError(f"{path}: no users file: {error}") from error


def _checked_room(entry: str) -> str:
    site, _, room = entry.partition("/")
    try:
        if entry != "*":
            Room(site, "any" if room == "*" else room)
    except TopicError as error:
        raise UsersError(f"room {entry!r} is none of *, site/*, site/room: {error}") from error
    return entry
