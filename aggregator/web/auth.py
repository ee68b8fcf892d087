"""The gate in front of every route: who is logged in, the login itself, and headers that browsers should obey.

Plain ASGI, so that web sockets pass through it too. Without users there is one, on this machine only.
"""

import asyncio
import html
import logging
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.web.users import Attempts, Key, Sessions, User, Users

log = logging.getLogger(__name__)
audit = logging.getLogger("classpulse.audit")

COOKIE = "classpulse"
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


class Gate:
    """ASGI middleware. `users` None: only this machine may look, as LOCAL."""

    def __init__(self, app: ASGIApp, users: Users | None, *, https: bool) -> None:
        self._app = app
        self._users = users
        self._https = https
        self._sessions = Sessions(users) if users else None
        self._attempts = Attempts()
        self._hashing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its user in `state`, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _foreign(scope) or (await self._ask(scope, receive) if self._sessions else _local(scope))
        guarded = self._with_headers(scope, send)
        if answer is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, guarded)

    async def _ask(self, scope: Scope, receive: Receive) -> Response | None:
        """Whose session is it? What to answer in the page's stead; None to let it through."""
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
        return self._sessions.user(token, time.monotonic()) if self._sessions else None

    async def _login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return _form(request.query_params.get("next", "/"))
        form = await _form_fields(request)
        name, target = form.get("name", "")[:64], _local_path(form.get("next", "/"))
        address = request.client.host if request.client else "?"
        keys = (("name", name), ("address", address))
        async with self._hashing:  # so that many attempts at once cannot pass before the first has failed
            wait = self._attempts.wait_s(keys, time.monotonic())
            user = None if wait > 0 or not self._users else await self._check(name, form.get("password", ""), keys)
        if user is None or self._sessions is None:
            audit.warning(
                "login refused name=%r address=%s reason=%s", name, address, "wait" if wait > 0 else "password"
            )
            trouble = f"Too many wrong passwords: try again in {wait:.0f} seconds." if wait > 0 else _WRONG
            return _form(target, trouble, 429 if wait > 0 else 401)
        audit.info("login name=%r address=%s", name, address)
        response = RedirectResponse(target, 303)
        token = self._sessions.begin(user, time.monotonic())
        response.set_cookie(COOKIE, token, httponly=True, secure=self._https, samesite="strict", path="/")
        return response

    async def _check(self, name: str, password: str, keys: tuple[Key, Key]) -> User | None:
        user = await asyncio.to_thread(self._users.check, name, password) if self._users else None
        if user is None:
            self._attempts.failed(keys, time.monotonic())
        else:
            self._attempts.succeeded(keys[0])
        return user

    def _logout(self, method: str, token: str) -> Response:
        if method != "POST":
            return PlainTextResponse("use POST", 405)
        if self._sessions:
            self._sessions.end(token)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _POLICY.items():
                    headers[name] = value
                if self._https:
                    headers["strict-transport-security"] = "max-age=31536000"
                if not scope["path"].startswith("/_nicegui/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        return guarded


def _let_in(scope: Scope, who: Callable[[], User | None]) -> None:
    """The page asks `state.who` again at every update, so a session that ends while a page is open ends there too."""
    scope.setdefault("state", {})["who"] = who


def _foreign(scope: Scope) -> Response | None:
    """Refuse what another site's page sends; browsers tell the origin with everything but plain navigation."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
    if changes and origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return PlainTextResponse("a request from another site", 403)
    return None


def _local(scope: Scope) -> Response | None:
    """Without users only this machine may look, and by its own name: another's could be anybody's."""
    if urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname not in LOOPBACK:
        return PlainTextResponse("without users only this machine may look", 403)
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


def _form(target: str, trouble: str = "", status: int = 200) -> HTMLResponse:
    alert = f'<p role="alert">{html.escape(trouble)}</p>' if trouble else ""
    return HTMLResponse(_LOGIN.format(next=html.escape(_local_path(target), quote=True), alert=alert), status)


_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>classpulse: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
body {{ font: 20px system-ui, sans-serif; display: grid; place-content: center; min-height: 100dvh; margin: 0 }}
form {{ display: grid; gap: .6rem; width: min(22rem, 88vw) }}
h1 {{ font-size: 2rem; margin: 0 0 .6rem }}
input, button {{ font: inherit; padding: .7rem .8rem; border-radius: .5rem; border: 2px solid #767676 }}
button {{ background: #0072b2; color: #fff; border-color: #0072b2; margin-top: .6rem; cursor: pointer }}
:focus-visible {{ outline: 3px solid #e69f00; outline-offset: 2px }}
[role=alert] {{ border-left: 5px solid #d55e00; padding-left: .8rem; margin: 0 }}
</style></head><body><form method="post" action="/login"><h1>classpulse</h1>{alert}
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="next" value="{next}"><button>Log in</button></form></body></html>
"""
