"""`classpulse-aggregator page`: the live page, in a process of its own (docs/adr/0005)."""

import argparse
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.exceptions import RequestValidationError
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from aggregator.analysis.cards import estimator_of
from aggregator.config import AggregatorConfig, PageConfig, add_store, read_config
from aggregator.store.factory import open_store
from aggregator.store.types import Note, Store, StoreError, StoreUnavailableError
from aggregator.web.accounts import NO_USERS, account_page, users_page
from aggregator.web.audit import AuditLog
from aggregator.web.auth import LOOPBACK, AuthMiddleware
from aggregator.web.commands import CommandSender
from aggregator.web.devices import devices_page
from aggregator.web.language import _
from aggregator.web.lessons import compare_html, lines, list_html, month_of
from aggregator.web.overview import overview
from aggregator.web.passwords import Passwords
from aggregator.web.reader import RoomReader
from aggregator.web.report import ReportError, file_name, read, to_csv, to_html
from aggregator.web.room import room_page
from aggregator.web.style import root_of, user_of
from aggregator.web.templates import render
from aggregator.web.timetable import Timetable
from aggregator.web.users import Users, UsersError
from contract.topics import Room, TopicError
from service.config import ConfigError

log = logging.getLogger(__name__)

OF_ROOM = "/{site}/{room}"
STORE_S = 30.0
"""How long a store that is not there yet is waited for."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM.

    Raises:
        ConfigError: If the page may not be served as configured.
        StoreError: If there is no store.
    """
    config = read_config(arguments)
    users = open_users(config.page)
    check_certificate(config.page)
    for warning in warnings(config.page):
        log.warning("%s", warning)
    audit = AuditLog(config.page.audit)
    commands = CommandSender(config.mqtt, config.credentials)
    passwords = Passwords(users) if users else None
    with opened(config) as store:
        timetable = Timetable(config.lessons, config.zone)
        reader = RoomReader(store, estimator_of(config), config.attention, audit.paused_by, timetable)
        settings = uvicorn.Config(
            AuthMiddleware(build(config, reader, commands, passwords, audit), config.page, passwords, audit),
            host=config.page.host,
            port=config.page.port,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=2,
            ssl_certfile=config.page.certificate,
            ssl_keyfile=config.page.key,
            proxy_headers=config.page.https_proxy,
            forwarded_allow_ips=list(config.page.proxies),
        )
        sock = settings.bind_socket()
        log.info("the page is at %s", address(config.page))
        uvicorn.Server(settings).run([sock])
    return 0


def open_users(config: PageConfig) -> Users | None:
    """The users, or None where nobody has to log in: on this machine, as long as there is no users file.

    Raises:
        ConfigError: If the page would be open to others without users, or the file cannot be read.
    """
    users = Users(config.users)
    try:
        if config.users.exists():
            users.all()
            return users
    except UsersError as error:
        raise ConfigError(str(error)) from error
    if config.host not in LOOPBACK or config.https_proxy:
        opens = "page.https_proxy = true" if config.https_proxy else f"page.host = {config.host!r}"
        raise ConfigError(
            f"{opens} opens the page to others, but there is no {config.users}: run "
            "`classpulse-aggregator user add NAME --rooms '*' --role administrator` first"
        )
    return None


def warnings(config: PageConfig) -> Iterator[str]:
    """What the operator should know of how the page is served."""
    if not config.users.exists():
        yield "there are no users: only this machine can open the page; `classpulse-aggregator user add` adds users"
    if config.host not in LOOPBACK and not config.https:
        yield (
            f"page.host = {config.host!r} without HTTPS: others on the network can read passwords; set "
            "page.certificate and page.key, or page.https_proxy behind an HTTPS proxy"
        )


def check_certificate(config: PageConfig) -> None:
    """Raise ConfigError if certificate and key, where there are any, cannot be used."""
    if config.certificate is None:
        return
    try:
        # a key with a passphrase would otherwise ask for it at a terminal that no service has
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.certificate, config.key, password="")
    except OSError as error:
        raise ConfigError(f"page.certificate = {config.certificate}, page.key = {config.key}: {error}") from error


def address(config: PageConfig) -> str:
    """Where a browser finds the page; behind an HTTPS proxy, where the proxy does."""
    host = config.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - everywhere: this machine's own address is one of them
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing, but shows which address would (RFC 5737: nobody's)
                host = probe.getsockname()[0]
            except OSError:
                host = "127.0.0.1"
    bracketed = f"[{host}]" if ":" in host else host
    return f"{'https' if config.certificate else 'http'}://{bracketed}:{config.port}{config.path}/"


def build(
    config: AggregatorConfig, reader: RoomReader, commands: CommandSender, passwords: Passwords | None, audit: AuditLog
) -> FastAPI:
    """The application; a process can have one only."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for each in (app, nicegui_app):
        for error in (403, 404, RequestValidationError, TopicError, ReportError, StoreError):
            each.add_exception_handler(error, refusal)

    @ui.page("/")
    def _overview(request: Request) -> None:
        overview(reader, request)

    @ui.page("/room" + OF_ROOM)
    def _room(request: Request, where: Visible) -> None:
        room_page(reader, commands, audit, partial(keep_note, config), where, request)

    @ui.page("/devices")
    def _devices(request: Request) -> None:
        devices_page(reader, request)

    _account_pages(app, passwords, audit)
    _reports(app, config, reader.timetable)
    ui.run_with(
        app,
        title="classpulse",
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=None,
        message_history_length=0,
        reconnect_timeout=10.0,
    )
    return app


def _account_pages(app: FastAPI, passwords: Passwords | None, audit: AuditLog) -> None:
    if passwords is None:
        for path in ("/account", "/users"):
            app.get(path)(no_users)
        return

    @ui.page("/account")
    def _account(request: Request) -> None:
        account_page(passwords, audit, request)

    @ui.page("/users", dependencies=[Depends(administrator)])
    def _users(request: Request) -> None:
        users_page(passwords.users, audit, request)


def _reports(app: FastAPI, config: AggregatorConfig, timetable: Timetable) -> None:
    """What is made anew for each who asks, in a thread of its own, to hold up no page; times: seconds since 1970."""

    @app.get("/report" + OF_ROOM)
    def _report(where: Visible, start: int, end: int) -> HTMLResponse:
        return HTMLResponse(to_html(read(config, where, start, end), config.zone))

    @app.get("/table" + OF_ROOM)
    def _table(where: Visible, start: int, end: int) -> Response:
        lesson = read(config, where, start, end)
        headers = {"content-disposition": f'attachment; filename="{file_name(lesson, config.zone)}.csv"'}
        return Response(to_csv(lesson), media_type="text/csv", headers=headers)

    @app.get("/lessons" + OF_ROOM)
    def _lessons(where: Visible, month: str = "") -> HTMLResponse:
        shown = month_of(month, time.time(), config.zone)
        found = lines(config, timetable, where, shown, int(time.time()))
        return HTMLResponse(list_html(where, shown, found, timetable.problem(where), config))

    @app.get("/compare" + OF_ROOM)
    def _compare(where: Visible, lesson: Annotated[Sequence[str], Query()] = ()) -> HTMLResponse:
        return HTMLResponse(compare_html(config, where, lesson))


def refusal(request: Request, error: Exception) -> Response:
    """Why there is nothing to see at an address, as a page of ours."""
    if isinstance(error, StoreError):
        log.error("%s: %s", request.url.path, error)
        title, text, status = _("Not now"), _("The store cannot be read now. Try again later."), 503
    elif isinstance(error, ReportError):
        title, text, status = _("No such report"), str(error), 404
    elif isinstance(error, HTTPException) and error.status_code == 403:
        title, text, status = _("Not for you"), error.detail, 403
    else:
        title, text, status = _("No such page"), _("There is nothing at this address."), 404
    return notice(request, title, text, status)


def no_users(request: Request) -> Response:
    """The answer where nobody has to log in."""
    return notice(request, _("No users"), _(NO_USERS), 404)


def notice(request: Request, title: str, text: str, status: int) -> Response:
    """A page that says why there is nothing else to see, and leads back."""
    return HTMLResponse(render("notice.html", root=root_of(request), title=title, text=text), status)


async def administrator(request: Request) -> None:
    """Let nobody else through."""
    user = user_of(request)
    if user is None or user.role != "administrator":
        raise HTTPException(403, _("Only an administrator may see the users."))


async def visible(request: Request, site: str, room: str) -> Room:
    """The room of an address, for a user who may see it."""
    where, user = Room(site, room), user_of(request)
    if user is None or not user.may_see(where):
        raise HTTPException(403, _("You may not see this room."))
    return where


Visible = Annotated[Room, Depends(visible)]


def keep_note(config: AggregatorConfig, room: Room, note: Note) -> None:
    """Write it, with a connection of its own: the pages' one only reads.

    Raises:
        StoreError: If it cannot be written.
    """
    with open_store(config) as store:
        store.add_note(room, note)


def opened(config: AggregatorConfig) -> Store:
    """The store, for reading; a daemon that starts at the same time may still have to make it.

    Raises:
        StoreError: At once if it is of a newer version or none of ours; if it is missing, after STORE_S.
    """
    deadline = time.monotonic() + STORE_S
    while True:
        try:
            return open_store(config, writable=False)
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
