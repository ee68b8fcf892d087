"""`classpulse-aggregator page`: the live page, in a process of its own (docs/adr/0005)."""

import argparse
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from fastapi import FastAPI
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
from aggregator.web.lessons import compare_html, lines, list_html
from aggregator.web.notice import notice
from aggregator.web.overview import overview
from aggregator.web.passwords import Passwords
from aggregator.web.reader import RoomReader
from aggregator.web.report import ReportError, file_name, read, to_csv, to_html
from aggregator.web.room import room_page
from aggregator.web.style import user_of
from aggregator.web.timetable import Timetable
from aggregator.web.users import Users, UsersError
from contract.topics import Room, TopicError
from service.config import ConfigError

log = logging.getLogger(__name__)

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
        reader = RoomReader(store, estimator_of(config), config.attention, audit.paused_by, timetable, config.zone)
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
            len(users)
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
    app.add_exception_handler(RequestValidationError, no_such_page)
    nicegui_app.add_exception_handler(404, no_such_page)

    @ui.page("/", title="classpulse")
    def _overview(request: Request) -> None:
        overview(reader, request)

    @ui.page("/room/{site}/{room}", title="classpulse")
    def _room(request: Request, site: str, room: str) -> Response | None:
        try:
            where = Room(site, room)
        except TopicError as error:
            return no_such_page(request, error)
        if not may_see(request, where):
            return notice(config.page.path, _("Not for you"), _("You may not see this room."), 403)
        room_page(reader, commands, audit, partial(keep_note, config), where, request)
        return None

    @ui.page("/devices", title="devices - classpulse")
    def _devices(request: Request) -> None:
        devices_page(reader, request)

    _account_pages(config.page.path, passwords, audit)
    for kind in ("report", "table"):
        app.get(f"/{kind}/{{site}}/{{room}}")(partial(report_answer, config))
    app.get("/lessons/{site}/{room}")(partial(lessons_answer, config, reader.timetable))
    app.get("/compare/{site}/{room}")(partial(compare_answer, config))
    ui.run_with(
        app,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=None,
        message_history_length=0,
        reconnect_timeout=10.0,
    )
    return app


def _account_pages(root: str, passwords: Passwords | None, audit: AuditLog) -> None:
    @ui.page("/account", title="your password - classpulse")
    def _account(request: Request) -> Response | None:
        if passwords is None:
            return notice(root, _("No users"), _(NO_USERS), 404)
        account_page(passwords, audit, request)
        return None

    @ui.page("/users", title="users - classpulse")
    def _users(request: Request) -> Response | None:
        if passwords is None:
            return notice(root, _("No users"), _(NO_USERS), 404)
        user = user_of(request)
        if user is None or user.role != "administrator":
            return notice(root, _("Not for you"), _("Only an administrator may see the users."), 403)
        users_page(passwords.users, audit, request)
        return None


def no_such_page(request: Request, _error: Exception) -> Response:
    """Our own page for an address that nothing is at."""
    return notice(request.scope.get("root_path", ""), _("No such page"), _("There is nothing at this address."), 404)


def may_see(request: Request, room: Room) -> bool:
    """Whether the user who asks may see the room."""
    user = user_of(request)
    return user is not None and user.may_see(room)


def keep_note(config: AggregatorConfig, room: Room, note: Note) -> None:
    """Write it, with a connection of its own: the pages' one only reads.

    Raises:
        StoreError: If it cannot be written.
    """
    with open_store(config) as store:
        store.add_note(room, note)


def report_answer(config: AggregatorConfig, request: Request, site: str, room: str, start: int, end: int) -> Response:
    """The report of a span, seconds since 1970, as a page or as CSV; in a thread of its own, to hold up no page."""

    def made(where: Room) -> Response:
        lesson = read(config, where, start, end)
        if request.url.path.startswith(f"{config.page.path}/report/"):
            return HTMLResponse(to_html(lesson, config.zone))
        headers = {"content-disposition": f'attachment; filename="{file_name(lesson, config.zone)}.csv"'}
        return Response(to_csv(lesson), media_type="text/csv", headers=headers)

    return _guarded(config, made, request, site, room)


def lessons_answer(config: AggregatorConfig, timetable: Timetable, request: Request, site: str, room: str) -> Response:
    """The list of a room's lessons."""

    def made(where: Room) -> Response:
        found = lines(config, timetable, where, int(time.time()))
        return HTMLResponse(list_html(where, found, timetable.problem(where), config))

    return _guarded(config, made, request, site, room)


def compare_answer(config: AggregatorConfig, request: Request, site: str, room: str) -> Response:
    """Two of its lessons over one another."""
    chosen = request.query_params.getlist("lesson")
    return _guarded(config, lambda where: HTMLResponse(compare_html(config, where, chosen)), request, site, room)


def _guarded(
    config: AggregatorConfig, made: Callable[[Room], Response], request: Request, site: str, room: str
) -> Response:
    """What is made for a user who may see the room, or why not."""
    try:
        where = Room(site, room)
        if not may_see(request, where):
            return notice(config.page.path, _("Not for you"), _("You may not see this room."), 403)
        return made(where)
    except ReportError as error:
        return notice(config.page.path, _("No such report"), str(error), 404)
    except (TopicError, OverflowError):
        return notice(config.page.path, _("No such report"), _("There is no report of this room and time."), 404)
    except StoreError:
        log.exception("no report of %s/%s", site, room)
        return notice(config.page.path, _("Not now"), _("The store cannot be read now. Try again later."), 503)


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
