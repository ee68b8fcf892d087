"""The live page: rooms at a glance, one room while teaching. The only importer of the web framework besides its parts.

A process of its own (docs/adr/0005): it reads the store, which another process writes, and a page that is slow or fails
costs no message.
"""

import argparse
import logging
import time

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request
from starlette.responses import HTMLResponse

from aggregator.config import AggregatorConfig, PageConfig
from aggregator.daemon import cards_in
from aggregator.orders import Orders
from aggregator.page_feed import Feed
from aggregator.page_frame import user_of
from aggregator.page_gate import LOOPBACK, Gate
from aggregator.page_overview import overview
from aggregator.page_room import Drawings, room_page
from aggregator.report import ReportError, read, to_html
from aggregator.store import Store, StoreError, open_store
from aggregator.users import Users, UsersError
from contract.config import ConfigError, load
from contract.topics import Room, TopicError

log = logging.getLogger(__name__)

_STORE_S = 30.0
"""How long the store is waited for."""


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
    if users is None:
        log.warning("no users: only this machine may look; `classpulse-aggregator user add` makes some")
    with _opened(config) as store, Orders(config.mqtt, config.credentials) as orders:
        feed = Feed(store, cards_in(config.models_dir), config.attention)
        app = build(config, feed, orders)
        log.info("the page is at %s", address(config.page))
        settings = uvicorn.Config(
            Gate(app, users, https=config.page.tls or config.page.https_proxy),
            host=config.page.host,
            port=config.page.port,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        if config.page.tls:
            settings.ssl_certfile = str(config.credentials / "page.crt")
            settings.ssl_keyfile = str(config.credentials / "page.key")
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


def address(config: PageConfig) -> str:
    """Where a browser on this machine finds the page."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'https' if config.tls else 'http'}://{host}:{config.port}/"


def build(config: AggregatorConfig, feed: Feed, orders: Orders) -> FastAPI:
    """The application; a process can have one only."""
    drawings = Drawings()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/", title="classpulse")
    def _overview(request: Request) -> None:
        overview(feed, request)

    @ui.page("/room/{site}/{room}", title="classpulse")
    def _room(request: Request, site: str, room: str) -> None:
        try:
            where = Room(site, room)
        except TopicError:
            ui.label("There is no such room.")
            return
        room_page(feed, orders, drawings, where, request)

    @app.get("/report/{site}/{room}")
    def _report(request: Request, site: str, room: str, start: int, end: int) -> HTMLResponse:
        return report_answer(config, request, site, room, (start, end))

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


def report_answer(
    config: AggregatorConfig, request: Request, site: str, room: str, span: tuple[int, int]
) -> HTMLResponse:
    """The report of a span, seconds since 1970; in a thread of its own, so that a long lesson holds up no page."""
    user = user_of(request)
    try:
        where = Room(site, room)
        if user is None or not user.may_see(where):
            return HTMLResponse("You may not see this room.", 403)
        return HTMLResponse(to_html(read(config, where, *span), None))
    except (TopicError, ReportError, OverflowError):
        return HTMLResponse("There is no such report.", 404)


def _opened(config: AggregatorConfig) -> Store:
    """The store, for reading; a daemon that starts at the same time may still have to make it."""
    deadline = time.monotonic() + _STORE_S
    while True:
        try:
            return open_store(config, writable=False)
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
