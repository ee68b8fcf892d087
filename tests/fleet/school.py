"""A school's broker with the role's own configuration, and a broker above it that it bridges to."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.broker import Mosquitto, until

jinja2 = pytest.importorskip("jinja2", reason="the fleet's tools are in .venv-fleet")
yaml = pytest.importorskip("yaml", reason="the fleet's tools are in .venv-fleet")

ANSIBLE = Path(__file__).parents[2] / "ansible"
ROLE = ANSIBLE / "roles/broker"
DEVICE = "north/r101/cam-1"
TOPIC = f"classpulse/1/{DEVICE}"
COMMANDS = ("mosquitto", "mosquitto_passwd", "mosquitto_pub", "mosquitto_sub")


def authority(folder: Path, *names: str) -> Path:
    """A certificate authority, and `NAME.crt` and `NAME.key` of each name, for 127.0.0.1."""
    need("openssl")
    for name in names:
        key = folder / f"{name.replace('/', '.')}.key"
        folder.mkdir(parents=True, exist_ok=True)
        make = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        subprocess.run(make, check=True, capture_output=True)
        public = subprocess.run(("openssl", "pkey", "-in", key, "-pubout"), check=True, capture_output=True).stdout
        servers = ("--server", "127.0.0.1") if "/" not in name else ()
        command = (sys.executable, ANSIBLE / "pki.py", folder / "pki", "issue", name, *servers)
        subprocess.run(command, input=public, check=True, capture_output=True)
        shutil.copy(folder / "pki/issued" / f"{name.replace('/', '.')}.crt", folder)
    for name in ("ca.crt", "ca.crl"):
        shutil.copy(folder / "pki" / name, folder)
    return folder


def rendered(folder: Path, port: int, **variables: object) -> str:
    """The role's mosquitto.conf with its defaults, in `folder` instead of the system's own places."""
    values = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    values.update(ansible_managed="a test", **variables)
    values["broker_names"] = values["broker_pki"] = values["broker_bridge_ca"] = ""
    templates = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    templates.filters["bool"] = bool  # ansible's own, not jinja's
    text = templates.from_string((ROLE / "templates/mosquitto.conf.j2").read_text()).render(values)
    moves = {
        "/run/credentials/mosquitto.service": folder,
        "/etc/mosquitto": folder,
        "/run/mosquitto": folder,
        "/var/lib/mosquitto": folder,
        "listener 8883": f"user root\nlistener {port} 127.0.0.1",
    }
    for old, new in moves.items():
        text = text.replace(old, str(new))
    return text


class School(Mosquitto):
    """A broker as the role sets it up, below another one."""

    def __init__(self, folder: Path, above: Mosquitto, above_ca: Path, **variables: object) -> None:
        need(*COMMANDS)
        super().__init__(folder)
        authority(folder, "broker", DEVICE)
        shutil.copy(ROLE / "files/classpulse.acl", folder)
        shutil.copy(above_ca, folder / "bridge-ca.crt")
        (folder / "passwd").write_text("")
        subprocess.run(("mosquitto_passwd", "-b", folder / "passwd", "fleet", "fleet"), check=True)
        way = {
            "broker_bridge_to": [f"127.0.0.1:{above.port}"],
            "broker_bridge_site": "north",
            "broker_bridge_username": "north",
            "broker_bridge_password": "secret",
        }
        (folder / "mosquitto.conf").write_text(rendered(folder, self.port, **way | variables))

    def publish(self, kind: str, text: str, *, retain: bool = False) -> None:
        """As the device, by certificate."""
        name, folder = DEVICE.replace("/", "."), self.folder
        tls = ("--cafile", folder / "ca.crt", "--cert", folder / f"{name}.crt", "--key", folder / f"{name}.key")
        where = ("-h", "127.0.0.1", "-p", str(self.port), *tls)
        options = ("-r",) if retain else ()
        say(("mosquitto_pub", *where, *options, "-q", "1", "-t", f"{TOPIC}/{kind}", "-m", text))

    @contextmanager
    def listener(self) -> Iterator[Callable[[], list[str]]]:
        """A subscriber to everything; `topic text` of what it has heard so far."""
        socket = ("--unix", self.folder / "fleet.sock", "-u", "fleet", "-P", "fleet")
        path = self.folder / "heard"
        before = self.log.read_text().count("u'fleet'")
        with path.open("w") as file, subprocess.Popen(subscription(socket), stdout=file) as process:
            until(lambda: self.log.read_text().count("u'fleet'") > before, "the subscriber")
            time.sleep(0.5)  # its subscription follows, which this broker does not log
            yield lambda: path.read_text().splitlines()
            process.kill()


class Above(Mosquitto):
    """The broker that many schools bridge to: TLS, and a user for each."""

    def __init__(self, folder: Path) -> None:
        need(*COMMANDS)
        authority(folder, "broker")
        subprocess.run(("mosquitto_passwd", "-b", "-c", folder / "passwd", "north", "secret"), check=True)
        tls = (f"cafile {folder}/ca.crt", f"certfile {folder}/broker.crt", f"keyfile {folder}/broker.key")
        super().__init__(folder, ("allow_anonymous false", f"password_file {folder}/passwd", *tls))
        self.where = ("-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(folder / "ca.crt"))
        self.where += ("-u", "north", "-P", "secret")

    def publish(self, kind: str, text: str, *, retain: bool = False) -> None:
        """As the aggregator above."""
        options = ("-r",) if retain else ()
        say(("mosquitto_pub", *self.where, *options, "-q", "1", "-t", f"{TOPIC}/{kind}", "-m", text))

    def retained(self) -> list[str]:
        """`topic text` of what it gives to whoever comes, sorted."""
        command = (*subscription(self.where), "--retained-only", "-W", "2")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return sorted(done.stdout.splitlines())


def say(command: tuple[object, ...]) -> None:
    """Publish, or fail with what the command says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def subscription(where: tuple[object, ...]) -> tuple[object, ...]:
    """The command that prints `topic text` of everything, at once."""
    return ("stdbuf", "-oL", "mosquitto_sub", *where, "-q", "1", "-F", "%t %p", "-t", "classpulse/#")


def connected(school: School, above: Above, times: int = 1) -> None:
    """Wait for the bridge's subscriptions above, so many times since both were made."""
    until(lambda: above.log.read_text().count("classpulse/1/north/+/+/set (QoS 1)") >= times, "the bridge", 60)
    assert school.process is not None
