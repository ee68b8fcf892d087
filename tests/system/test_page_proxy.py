"""The page behind real proxies, which are set up as docs/page.md says."""

import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Batch
from contract.message import State
from tests.needs import need
from tests.system.broker import Mosquitto, free_port
from tests.system.instructor import CAMERA, PASSWORD, ROOT, Stage

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.system, pytest.mark.page]

DOCUMENT = (ROOT / "docs" / "page.md").read_text()
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {certificate}
        {block}
    }}
}}
"""


def documented(program):
    """The block of the document."""
    (block,) = re.findall(rf"```{program}\n(.*?)```", DOCUMENT, re.DOTALL)
    return block


def nginx(folder, page, port, https):
    """Its command, at the root without HTTPS, below the path with it."""
    block = documented("nginx").replace("127.0.0.1:8080", f"127.0.0.1:{page}")
    certificate = f"ssl_certificate {folder}/school.crt; ssl_certificate_key {folder}/school.key;" if https else ""
    if not https:
        block = block.replace("location /classpulse/ {", "location / {")
    text = NGINX.format(folder=folder, port=port, ssl=" ssl" if https else "", certificate=certificate, block=block)
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-c", folder / "nginx.conf", "-p", folder]


def caddy(folder, page, port, https):
    """The same."""
    block = documented("caddy").replace("127.0.0.1:8080", f"127.0.0.1:{page}").replace("/etc/caddy", str(folder))
    block = block.replace("school.example:8443", f"{'https' if https else 'http'}://127.0.0.1:{port}")
    if not https:
        block = re.sub(r".*tls .*\n", "", block).replace(" /classpulse/*", "")
    (folder / "Caddyfile").write_text("{\n    admin off\n}\n" + block)
    return ["caddy", "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]


class Proxied:
    """A page behind a proxy; `address` is the proxy's."""

    def __init__(self, folder, program, https):
        self.https, self.path = https, "/classpulse" if https else ""
        self.port = free_port()
        self.page = Stage(folder, Mosquitto(folder / "mosquitto"), free_port())
        lines = 'https_proxy = true\npath = "/classpulse"\n' if https else ""
        self.page.config.write_text(self.page.config.read_text() + lines)
        state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="00000001")
        with SqliteStore(folder / "store.sqlite") as store:
            store.commit(Batch(states={CAMERA: (state, time.time())}))
        self.page.command("user", "add", "anna", "--rooms", "*", input=PASSWORD.encode())
        subject = ["-subj", "/CN=school", "-keyout", folder / "school.key", "-out", folder / "school.crt"]
        new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
        subprocess.run(new, check=True, capture_output=True)
        command = {"nginx": nginx, "caddy": caddy}[program](
            folder, self.page.address.rpartition(":")[2], self.port, https
        )
        self.page.start("page")
        self.proxy = subprocess.Popen(command, env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    @property
    def address(self):
        """Where a browser finds it."""
        return f"{'https' if self.https else 'http'}://127.0.0.1:{self.port}{self.path}/"

    def log_in(self, source, port=None, **headers):
        """The status and text of a login from another address, through the proxy or right to the page."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        if self.https and port is None:
            wire = http.client.HTTPSConnection("127.0.0.1", self.port, source_address=(source, 0), context=trusting)
        else:
            wire = http.client.HTTPConnection("127.0.0.1", port or self.port, source_address=(source, 0))
        form = urlencode({"name": "anna", "password": PASSWORD})
        wire.request(
            "POST", f"{self.path}/login", form, {"content-type": "application/x-www-form-urlencoded", **headers}
        )
        answer = wire.getresponse()
        return answer.status, answer.read().decode()

    def answers(self):
        """Whether the page does, through the proxy."""
        try:
            return self.log_in("127.0.0.1")[0] == 303
        except OSError:
            return False

    def logins(self):
        """The addresses in the audit log."""
        lines = [
            line for path in Path(self.page.config.parent, "audit").iterdir() for line in path.read_text().split("\n")
        ]
        return [json.loads(line)["address"] for line in lines if line]

    def close(self):
        """End both."""
        self.proxy.terminate()
        self.proxy.wait(20)
        self.page.close()


@pytest.fixture(params=["nginx", "caddy"])
def program(request):
    """A proxy that is installed."""
    need("openssl", "chromium", request.param)
    return request.param


@pytest.fixture(params=["http at the root", "https below a path"])
def proxied(request, program, tmp_path, wait_until):
    """The page behind it, on a port that is not the usual one."""
    made = Proxied(tmp_path, program, request.param.startswith("https"))
    wait_until(made.answers, "the page behind its proxy", 90)
    yield made
    made.close()


def test_a_browser_uses_the_page_through_the_proxy(proxied):
    """Login, links, live updates by a web socket, reports, and logout stay below the path; nothing is an error."""
    errors, sockets = [], []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = chromium.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{proxied.address}room/north/r101")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="north / r101").wait_for()
        page.wait_for_url(f"{proxied.address}room/north/r101")
        page.get_by_role("link", name="devices").click()
        page.wait_for_url(f"{proxied.address}devices")
        page.locator("tr", has_text="cam1").get_by_role("link").click()
        page.wait_for_url(f"{proxied.address}room/north/r101")
        page.get_by_role("link", name="rooms").click()
        page.wait_for_url(proxied.address)
        page.get_by_role("button", name="log out").click()
        page.wait_for_url(f"{proxied.address}login")
        chromium.close()

    assert sockets
    assert all(url.startswith(proxied.address.replace("http", "ws", 1)) for url in sockets)
    assert [line for line in errors if "401" not in line] == []


def test_the_browsers_address_is_believed_of_the_https_proxy_only(proxied):
    """Whatever the browser claims; and nobody comes past an HTTPS proxy."""
    claim = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    assert proxied.log_in("127.0.0.5", **claim)[0] == 303

    assert proxied.logins()[-1] == ("127.0.0.5" if proxied.https else "127.0.0.1")
    direct = proxied.log_in("127.0.0.5", int(proxied.page.address.rpartition(":")[2]), **claim)
    if proxied.https:
        assert direct[0] == 403
        assert "X-Forwarded-Proto: https, from one of page.proxies" in direct[1]
    else:
        assert direct[0] == 303
        assert proxied.logins()[-1] == "127.0.0.5"
