"""In front of every route: who is logged in, the login itself, and headers that browsers obey.

Plain ASGI, so that web sockets pass through it too. Without users there is one, on this machine only.
"""

import functools
import math
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.config import PageConfig
from aggregator.web import language
from aggregator.web.audit import AuditLog
from aggregator.web.language import N_, _, choose, current, span_text
from aggregator.web.passwords import Passwords, browser_cookie
from aggregator.web.templates import render
from aggregator.web.users import Sessions, User

COOKIE = "classpulse"
BROWSER_COOKIE = "classpulse-browser"
BROWSER_S = 365 * 24 * 3600
"""A browser is known for so long after the last login."""
LOCAL = User("local", "", ("*",), "administrator")
"""Everybody at this machine while there is no users file."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WRONG = N_("Name or password is wrong.")
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
    """ASGI middleware. `passwords` None: there are no users, only this machine may look, as LOCAL."""

    def __init__(self, app: ASGIApp, config: PageConfig, passwords: Passwords | None, audit: AuditLog) -> None:
        self._app = app
        self._config = config
        self._answer = _Logins(config, passwords, audit).answer if passwords else _local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its user in `state`, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["root_path"] = self._config.path
        headers = Headers(scope=scope)
        cookies = HTTPConnection(scope).cookies
        current.set(choose(cookies.get(language.COOKIE, ""), headers.get("accept-language", "")))
        answer = _misled(scope, self._config) or _foreign(scope) or _switched(scope, self._config)
        answer = answer or await self._answer(scope, receive)
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
                if self._config.https:
                    headers["strict-transport-security"] = "max-age=31536000"
                if not scope["path"].startswith(f"{self._config.path}/_nicegui/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        return guarded


class _Logins:
    """Who is logged in, login and logout."""

    def __init__(self, config: PageConfig, passwords: Passwords, audit: AuditLog) -> None:
        self._root = config.path
        self._passwords = passwords
        self._sessions = Sessions(passwords.users)
        self._audit = audit
        self._cookies = _setter(config)

    async def answer(self, scope: Scope, receive: Receive) -> Response | None:
        """What to answer in the page's place; None to let the request through."""
        came = HTTPConnection(scope)
        token = came.cookies.get(COOKIE, "")
        if scope["type"] == "http" and scope["path"] == f"{self._root}/login":
            return await self._login(Request(scope, receive))
        if scope["type"] == "http" and scope["path"] == f"{self._root}/logout":
            return self._logout(scope["method"], token)
        if self._user(token):
            _let_in(scope, lambda: self._user(token))
            return None
        if "text/html" in came.headers.get("accept", "") and scope.get("method") == "GET":
            target = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            return RedirectResponse(f"{self._root}/login?next={quote(target)}", 303)
        return PlainTextResponse("log in first", 401)

    def _user(self, token: str) -> User | None:
        return self._sessions.user(token, time.monotonic())

    async def _login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return self._form(request.query_params.get("next", ""))
        form = await _form_fields(request)
        name, target = form.get("name", "")[:64], form.get("next", "")
        address = address_of(request)
        checked = await self._passwords.check(name, form.get("password", ""), address, browser_of(request))
        user = checked.user
        if user is None:
            self._audit.refused(name, address, "wait" if checked.wait_s else "password", checked.told)
            if checked.wait_s:
                return self._form(target, wait_text(checked.wait_s), 429)
            return self._form(target, _(_WRONG), 401)
        self._audit.record(user.name, address, "login")
        response = RedirectResponse(_local_path(target, self._root), 303)
        self._cookies(response, COOKIE, self._sessions.begin(user, time.monotonic()))
        self._cookies(response, BROWSER_COOKIE, browser_cookie(user), max_age=BROWSER_S)
        return response

    def _logout(self, method: str, token: str) -> Response:
        if method != "POST":
            return PlainTextResponse("use POST", 405)
        self._sessions.end(token)
        response = RedirectResponse(f"{self._root}/login", 303)
        response.delete_cookie(COOKIE, path=self._root or "/")
        return response

    def _form(self, target: str, error: str = "", status: int = 200) -> HTMLResponse:
        fields = {"title": _("Log in"), "root": self._root, "next": _local_path(target, self._root), "error": error}
        return HTMLResponse(render("login.html", **fields), status)


def _local_path(target: str, root: str) -> str:
    """`target` if it is a path of this page, or the first one: nobody is sent elsewhere by a link to the login."""
    good = target.startswith(f"{root}/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good else f"{root}/"


def address_of(request: Request) -> str:
    """The browser's address; a proxy's if that is not believed."""
    return request.client.host if request.client else "?"


def browser_of(request: Request) -> str:
    """By which Passwords knows the browser; "" if it does not."""
    return request.cookies.get(BROWSER_COOKIE, "")


def wait_text(wait_s: float) -> str:
    """Why a password was not looked at."""
    return _("Too many wrong passwords: try again in {time}.").format(time=span_text(math.ceil(wait_s)))


def _let_in(scope: Scope, who: Callable[[], User | None]) -> None:
    """The page asks `state.who` again at every update, so a session that ends while a page is open ends there too."""
    scope.setdefault("state", {})["who"] = who


def _misled(scope: Scope, config: PageConfig) -> Response | None:
    """Refuse what a proxy, or its absence, would make work only half."""
    if config.https_proxy and scope["scheme"] not in ("https", "wss"):
        text = (
            "This page can only be opened through its HTTPS proxy. If you have: the proxy has to send the header "
            f"X-Forwarded-Proto: https, from one of page.proxies = {', '.join(config.proxies)}."
        )
        return PlainTextResponse(text, 403)
    if scope["path"] == config.path:
        return RedirectResponse(f"{config.path}/")
    if not scope["path"].startswith(f"{config.path}/"):
        text = f"The page is at {config.path}/ here. A proxy in front has to pass the path on as it is."
        return PlainTextResponse(text, 404)
    return None


def _foreign(scope: Scope) -> Response | None:
    """Refuse what another site's page sends; browsers tell the origin with everything but plain navigation."""
    headers = Headers(scope=scope)
    origin, host = headers.get("origin"), headers.get("host")
    changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
    if changes and origin is not None and urlsplit(origin).netloc != host:
        text = (
            f"Requests from other sites are refused: the browser says {origin}, but the request came to {host}. "
            "A proxy in front has to pass the header Host on as it is, with the port."
        )
        return PlainTextResponse(text, 403)
    return None


def _switched(scope: Scope, config: PageConfig) -> Response | None:
    """Keep the language that a link of languages.html stands for, and go back to the page that it is on."""
    folder, _slash, code = scope["path"].rpartition("/")
    if scope["type"] != "http" or folder != f"{config.path}/language" or code not in language.LANGUAGES:
        return None
    headers = Headers(scope=scope)
    came = urlsplit(headers.get("referer", ""))
    target = f"{came.path}?{came.query}" if came.query else came.path
    response = RedirectResponse(_local_path(target if came.netloc == headers.get("host") else "", config.path), 303)
    _setter(config)(response, language.COOKIE, code, max_age=BROWSER_S)
    return response


def _setter(config: PageConfig) -> Callable[..., None]:
    """Sets a cookie of this page's."""
    return functools.partial(
        Response.set_cookie, httponly=True, secure=config.https, samesite="strict", path=config.path or "/"
    )


async def _local(scope: Scope, _receive: Receive) -> Response | None:
    """Without users only this machine may look, and by its own name: another's could be anybody's."""
    if urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname not in LOOPBACK:
        return PlainTextResponse("there are no users: open the page on the machine that serves it", 403)
    _let_in(scope, lambda: LOCAL)
    return None


async def _form_fields(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
