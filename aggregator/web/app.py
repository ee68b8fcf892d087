"""`classpulse-aggregator page`: the live page, in a process of its own (docs/adr/0005)."""

import argparse
import logging
import ssl
import time
from collections.abc import Iterator
from functools import partial

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from aggregator.analysis.cards import estimator_of
from aggregator.config import AggregatorConfig, PageConfig
from aggregator.store.factory import open_store
from aggregator.store.types import Store, StoreError, StoreUnavailableError
from aggregator.web.auth import LOOPBACK, AuthMiddleware
from aggregator.web.commands import CommandSender
from aggregator.web.overview import overview
from aggregator.web.reader import RoomReader
from aggregator.web.report import ReportError, file_name, read, to_csv, to_html
from aggregator.web.room import room_page
from aggregator.web.style import user_of
from aggregator.web.users import Users, UsersError
from contract.topics import Room, TopicError
from service.config import ConfigError, load

log = logging.getLogger(__name__)

STORE_S = 30.0
"""How long a store that is not there yet is waited for."""


def configure(_parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM.

    Raises:
        ConfigError: If the page may not be served as configured.
        StoreError: If there is no store.
    """
    config = load(arguments.config, AggregatorConfig)
    users = open_users(config.page)
    check_certificate(config.page)
    for warning in warnings(config.page):
        log.warning("%s", warning)
    commands = CommandSender(config.mqtt, config.credentials)
    with opened(config) as store:
        app = build(config, RoomReader(store, estimator_of(config), config.attention), commands)
        log.info("the page is at %s", address(config.page))
        settings = uvicorn.Config(
            AuthMiddleware(app, users, https=config.page.https),
            host=config.page.host,
            port=config.page.port,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=2,
            ssl_certfile=config.page.certificate,
            ssl_keyfile=config.page.key,
        )
        uvicorn.Server(settings).run()
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
    if config.host not in LOOPBACK:
        raise ConfigError(
            f"page.host = {config.host!r} is open to others, but there is no {config.users}: "
            "run `classpulse-aggregator user add NAME --rooms …` first"
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
    """Where a browser on this machine finds the page."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'https' if config.certificate else 'http'}://{host}:{config.port}/"


def build(config: AggregatorConfig, reader: RoomReader, commands: CommandSender) -> FastAPI:
    """The application; a process can have one only."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/", title="classpulse")
    def _overview(request: Request) -> None:
        overview(reader, request)

    @ui.page("/room/{site}/{room}", title="classpulse")
    def _room(request: Request, site: str, room: str) -> None:
        try:
            where = Room(site, room)
        except TopicError:
            ui.label("This room does not exist.")
            return
        room_page(reader, commands, where, request)

    for kind in ("report", "table"):
        app.get(f"/{kind}/{{site}}/{{room}}")(partial(report_answer, config))
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


def report_answer(config: AggregatorConfig, request: Request, site: str, room: str, start: int, end: int) -> Response:
    """The report of a span, seconds since 1970, as a page or as CSV; in a thread of its own, to hold up no page."""
    user = user_of(request)
    try:
        where = Room(site, room)
        if user is None or not user.may_see(where):
            return HTMLResponse("You may not see this room.", 403)
        lesson = read(config, where, start, end)
    except (TopicError, ReportError, OverflowError):
        return HTMLResponse("There is no such report.", 404)
    except StoreError:
        log.exception("no report of %s/%s", site, room)
        return HTMLResponse("The store cannot be read now. Try again later.", 503)
    if request.url.path.startswith("/report/"):
        return HTMLResponse(to_html(lesson, None))
    headers = {"content-disposition": f'attachment; filename="{file_name(lesson)}.csv"'}
    return Response(to_csv(lesson), media_type="text/csv", headers=headers)


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
