"""Who may see which rooms and do what there: a file of users with argon2 hashes, and sessions that expire.

No web framework here; `now` is monotonic seconds, brought by the caller.
"""

import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import MsgspecError, Struct, convert, json

from aggregator.web.language import _
from contract.topics import Room, TopicError
from service.cli import UsageError

SESSION_S = 10 * 3600.0
"""A session ends after a school day, used or not."""
IDLE_S = 2 * 3600.0
"""And when no page of it has been open for so long."""
MIN_PASSWORD = 10
"""Characters."""
_MOST_PASSWORD = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_HASHER = PasswordHasher()
_MOST_SESSIONS = 10_000


Role = Literal["viewer", "teacher", "administrator"]
"""A viewer sees rooms; a teacher also pauses and resumes there; an administrator also says who the users are. A user
of a file that was written before there were roles is a teacher."""
ROLES: tuple[Role, ...] = get_args(Role)


class UsersError(UsageError):
    """A users file, name, room or password that cannot be used; the text says which."""


class User(Struct, frozen=True):
    """One user."""

    name: str
    hash: str
    """Argon2id, with its parameters and salt."""
    rooms: tuple[str, ...]
    """Each `site/room`, `site/*` or `*`."""
    role: Role = "teacher"

    def __post_init__(self) -> None:
        """Raise UsersError if an entry of `rooms` will not do."""
        for entry in self.rooms:
            site, _slash, room = entry.partition("/")
            try:
                if entry != "*":
                    Room(site, "any" if room == "*" else room)
            except TopicError as error:
                text = _("room {room} is none of *, site/*, site/room, with names of 1 to 32 of a-z, 0-9 and -")
                raise UsersError(text.format(room=repr(entry))) from error

    def may_see(self, room: Room) -> bool:
        """Whether any entry of `rooms` holds this room."""
        return any(entry in ("*", f"{room.site}/*", f"{room.site}/{room.room}") for entry in self.rooms)

    def may_order(self, room: Room) -> bool:
        """Whether the user may pause and resume there."""
        return self.role != "viewer" and self.may_see(room)


class Users:
    """The users file, read again when it changes."""

    def __init__(self, path: Path, hasher: PasswordHasher = _HASHER) -> None:
        self._path = path
        self._hasher = hasher
        self._stamp: tuple[int, int] | None = None
        self._users: dict[str, User] = {}
        self._changing = threading.Lock()

    def find(self, name: str) -> User | None:
        """The user of this name."""
        self._refresh()
        return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """The user if the password is right; takes the same time for a name that does not exist. Slow on purpose."""
        user = self.find(name)
        try:
            self._hasher.verify(user.hash if user else self._hash_of_nobody, password[:_MOST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return None
        return user

    def all(self) -> list[User]:
        """Every user, by name."""
        self._refresh()
        return [user for _, user in sorted(self._users.items())]

    def put(self, name: str, password: str | None, rooms: Iterable[str], role: Role = "teacher") -> None:
        """Add a user, or change one, who keeps the password if that is None. Slow with a password, on purpose.

        Raises:
            UsersError: If the name, the password, a room or the role will not do, or the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise UsersError(_("name {name} is not 1 to 32 of a-z, 0-9, dot, - and _").format(name=repr(name)))
        if password is not None and not MIN_PASSWORD <= len(password) <= _MOST_PASSWORD:
            text = _("a password has {least} to {most} characters")
            raise UsersError(text.format(least=MIN_PASSWORD, most=_MOST_PASSWORD))
        hashed = None if password is None else self._hasher.hash(password)
        if role not in ROLES:
            raise UsersError(_("role {role} is none of {roles}").format(role=repr(role), roles=", ".join(ROLES)))
        with self._changing:
            users = {user.name: user for user in self.all()}
            if hashed is None and name not in users:
                raise UsersError(_("no user {name} in {file}").format(name=repr(name), file=self._path))
            users[name] = User(name, hashed or users[name].hash, tuple(rooms), role)
            self._write(users)

    def remove(self, name: str) -> None:
        """Forget a user; the sessions end with it.

        Raises:
            UsersError: If there is none of this name, or the file cannot be written.
        """
        with self._changing:
            users = {user.name: user for user in self.all()}
            if name not in users:
                raise UsersError(_("no user {name} in {file}").format(name=repr(name), file=self._path))
            del users[name]
            self._write(users)

    @cached_property
    def _hash_of_nobody(self) -> str:
        """A hash that no password has; made when first needed, because that is slow."""
        return self._hasher.hash(secrets.token_urlsafe(32))

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
        table = {each.name: {"hash": each.hash, "rooms": each.rooms, "role": each.role} for each in users.values()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # the daemon's user must be able to read what root writes
            there = self._path.exists()
            stat = (self._path if there else self._path.parent).stat()
            with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
                file.write(json.format(json.encode(table)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            made = Path(file.name)
            os.chown(made, stat.st_uid, stat.st_gid)
            if there:
                made.chmod(stat.st_mode & 0o777)
            made.replace(self._path)
        except OSError as error:
            raise UsersError(
                _("{file} cannot be written: {reason}").format(file=self._path, reason=error.strerror)
            ) from error


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


def _read(path: Path) -> dict[str, User]:
    try:
        table = json.decode(path.read_bytes(), type=dict[str, dict[str, object]])
        return {name: convert({**fields, "name": name}, User) for name, fields in table.items()}
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}") from error
    except MsgspecError as error:
        raise UsersError(_("{file}: no users file: {reason}").format(file=path, reason=error)) from error
