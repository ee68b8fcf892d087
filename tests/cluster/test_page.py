"""The page in a real browser on a PostgreSQL store that it may only read."""

import shutil
import subprocess
import sys
import time

import pytest

from aggregator.store.postgresql import PostgresqlStore
from aggregator.store.types import Batch
from contract.message import State
from contract.topics import Device
from tests.cluster.fleet import batch, message
from tests.needs import need
from tests.system.broker import answers, free_port, until

sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture
def reader(place, tmp_path):
    """The address of a page whose database user may SELECT and nothing else; a lesson of 20 minutes is there."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="00000001")
    with PostgresqlStore(place.database, place.folder) as store:
        store.commit(batch(device, *(message(ago, now - 10 * ago) for ago in range(120))))
        store.commit(Batch(states={device: (state, now)}))
    user, port = f"reader_{place.database.database}", free_port()
    with place.administration() as db:
        db.execute(f"CREATE ROLE {user} LOGIN")
        db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
    config = tmp_path / "aggregator.toml"
    config.write_text(
        f'site = "{place.name}"\n[mqtt]\nhost = "127.0.0.1"\ntls = false\n'
        '[amqp]\nhosts = ["127.0.0.1:1"]\ntls = false\n'
        f'[postgresql]\nhost = "127.0.0.1"\nport = {place.database.port}\ndatabase = "{place.database.database}"\n'
        f'tls = false\nuser = "{user}"\n[page]\nport = {port}\nusers = "{tmp_path / "users.json"}"\n'
    )
    page = subprocess.Popen([sys.executable, "-m", "aggregator", "--config", config, "page"])
    address = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{address}/lessons/{place.name}/r1"), "the page", 60)
    yield address
    page.terminate()
    assert page.wait(20) == 0


def test_a_store_that_may_only_be_read_is_told_where_the_person_looks(place, reader):
    """A note is refused in words that say why, its text stays, and the page goes on."""
    need("chromium")
    with sync_api.sync_playwright() as playwright:
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
        page = playwright.chromium.launch(**options).new_page()
        page.goto(f"{reader}/room/{place.name}/r1")
        page.get_by_label("such as group work").fill("group work")
        for button in ("mark now", "name lesson"):
            page.get_by_role("button", name=button).click()
            page.get_by_text("Not kept: this page may only read the store.").first.wait_for(timeout=30_000)
            assert page.get_by_label("such as group work").input_value() == "group work"

        page.get_by_role("link", name="all lessons of this room").click()
        page.get_by_role("checkbox").wait_for()
        page.locator("td a").first.click()
        page.get_by_text("Minute by minute").wait_for()
