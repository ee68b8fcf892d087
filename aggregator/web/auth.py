"""In front of every route: who is logged in, the login itself, and headers that browsers obey.

Plain ASGI, so that web sockets pass through it too. Without users there is one, on this machine only.
"""

import asyncio
import html
import logging
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.web.users import Attempts, Sessions, User, Users

log = logging.getLogger(__name__)
audit = logging.getLogger("classpulse.audit")

COOKIE = "classpulse"
_LOGIN = Template(Path(__file__).with_name("login.html").read_text())
LOCAL = User("local", "", ("*",))
"""Everybody at this machine while there is no users file."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WRONG = "Name or password is wrong."
_MOST_FORM = 4096
_POLICY = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""The front end compiles its templates in the browser, which needs 'unsafe-eval'; nothing comes from another host."""


class AuthMiddleware:
    """ASGI middleware. `users` None: only this machine may look, as LOCAL."""

    def __init__(self, app: ASGIApp, users: Users | None, *, https: bool) -> None:
        self._app = app
        self._https = https
        self._answer = _Logins(users, https=https).answer if users else _local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its user in `state`, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _foreign(scope) or await self._answer(scope, receive)
        guarded = self._with_headers(scope, send)
        if answer is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, guarded)

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_POLICY)
                if self._https:
                    headers["strict-transport-security"] = "max-age=31536000"
                if not scope["path"].startswith("/_nicegui/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        return guarded


class _Logins:
    """Who is logged in, login and logout."""

    def __init__(self, users: Users, *, https: bool) -> None:
        self._users = users
        self._https = https
        self._sessions = Sessions(users)
        self._attempts = Attempts()
        self._hashing = asyncio.Lock()

    async def answer(self, scope: Scope, receive: Receive) -> Response | None:
        """What to answer in the page's place; None to let the request through."""
        headers = Headers(scope=scope)
        token = _token(headers)
        if scope["type"] == "http" and scope["path"] == "/login":
            return await self._login(Request(scope, receive))
        if scope["type"] == "http" and scope["path"] == "/logout":
            return self._logout(scope["method"], token)
        if self._user(token):
            _let_in(scope, lambda: self._user(token))
            return None
        if "text/html" in headers.get("accept", "") and scope.get("method") == "GET":
            return RedirectResponse(f"/login?next={quote(scope['path'])}", 303)
        return PlainTextResponse("log in first", 401)

    def _user(self, token: str) -> User | None:
        return self._sessions.user(token, time.monotonic())

    async def _login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return _form(request.query_params.get("next", "/"))
        form = await _form_fields(request)
        name, target = form.get("name", "")[:64], _local_path(form.get("next", "/"))
        address = request.client.host if request.client else "?"
        async with self._hashing:  # so that many attempts at once cannot pass before the first has failed
            wait, user = await self._check(name, form.get("password", ""), address)
        if user is None:
            reason, status = ("wait", 429) if wait > 0 else ("password", 401)
            audit.warning("login refused name=%r address=%s reason=%s", name, address, reason)
            return _form(
                target, f"Too many wrong passwords: try again in {wait:.0f} seconds." if wait else _WRONG, status
            )
        audit.info("login name=%r address=%s", name, address)
        response = RedirectResponse(target, 303)
        token = self._sessions.begin(user, time.monotonic())
        response.set_cookie(COOKIE, token, httponly=True, secure=self._https, samesite="strict", path="/")
        return response

    async def _check(self, name: str, password: str, address: str) -> tuple[float, User | None]:
        """Seconds to wait before the next attempt is looked at, and the user if the password is right."""
        keys = (("name", name), ("address", address))
        wait = self._attempts.wait_s(keys, time.monotonic())
        if wait > 0:
            return wait, None
        user = await asyncio.to_thread(self._users.check, name, password)
        if user is None:
            self._attempts.failed(keys, time.monotonic())
        else:
            self._attempts.succeeded(keys[0])
        return 0.0, user

    def _logout(self, method: str, token: str) -> Response:
        if method != "POST":
            return PlainTextResponse("use POST", 405)
        self._sessions.end(token)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response


def _let_in(scope: Scope, who: Callable[[], User | None]) -> None:
    """The page asks `state.who` again at every update, so a session that ends while a page is open ends there too."""
    scope.setdefault("state", {})["who"] = who


def _foreign(scope: Scope) -> Response | None:
    """Refuse what another site's page sends; browsers tell the origin with everything but plain navigation."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
    if changes and origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return PlainTextResponse("requests from other sites are refused", 403)
    return None


async def _local(scope: Scope, _receive: Receive) -> Response | None:
    """Without users only this machine may look, and by its own name: another's could be anybody's."""
    if urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname not in LOOPBACK:
        return PlainTextResponse("there are no users: open the page on the machine that serves it", 403)
    _let_in(scope, lambda: LOCAL)
    return None


def _token(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _local_path(target: str) -> str:
    """`target` if it is a path of this site, or the first page: nobody is sent elsewhere by a link to the login."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good else "/"


async def _form_fields(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _form(target: str, error: str = "", status: int = 200) -> HTMLResponse:
    alert = f'<p role="alert">{html.escape(error)}</p>' if error else ""
    return HTMLResponse(_LOGIN.substitute(next=html.escape(_local_path(target)), alert=alert), status)
