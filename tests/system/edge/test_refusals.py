"""A broker that does not take the device in: the log says why, and the daemon goes on counting."""

import subprocess
from pathlib import Path

import pytest

from contract.message import Health, State, instant
from contract.topics import Device
from edge.config import CameraConfig, EdgeConfig, MqttConfig
from edge.uplink.connection import BrokerError, probe, publish_stopped
from service.config import ConfigError
from service.tls import certificate_end
from tests.needs import need
from tests.system.broker import until
from tests.system.edge.lab import DEVICE, Lab

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(120)]


def openssl(folder: Path, *arguments: str) -> None:
    """Run it in a folder."""
    need("openssl")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> None:
    """ca.crt and ca.key."""
    folder.mkdir(exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3")
    openssl(folder, "req", "-x509", *curve, "-subj", "/CN=Class CA", "-keyout", "ca.key", "-out", "ca.crt")


def certificate(folder: Path, name: str, common_name: str) -> None:
    """<name>.crt and <name>.key, signed by the folder's authority."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", *curve, "-subj", f"/CN={common_name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3", "-extfile", "extensions")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")


@pytest.fixture
def keys(tmp_path):
    """A device's credentials, and the broker's beside them."""
    authority(tmp_path)
    certificate(tmp_path, "server", "localhost")
    certificate(tmp_path, "device", DEVICE.identity.replace("/", "\\/"))
    return tmp_path


@pytest.fixture
def tls_broker(keys, make_mosquitto):
    """One that wants a certificate of every client, and takes its common name for its user name."""
    return make_mosquitto(tls_lines(keys)).start()


def tls_lines(keys: Path) -> tuple[str, ...]:
    """Of mosquitto.conf."""
    return (
        f"cafile {keys}/ca.crt",
        f"certfile {keys}/server.crt",
        f"keyfile {keys}/server.key",
        "require_certificate true",
        "use_identity_as_username true",
    )


@pytest.fixture
def password_broker(tmp_path, make_mosquitto):
    """One that wants a password: `right` of the user `cam`."""
    need("mosquitto_passwd")
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "cam", "right"], check=True)
    return make_mosquitto((f"password_file {tmp_path}/passwords", "allow_anonymous false")).start()


def config(port: int, folder: Path, **mqtt: object) -> EdgeConfig:
    """A device at a broker of this machine."""
    return EdgeConfig(
        device=Device("school", "r1", "cam"),
        camera=CameraConfig("pi"),
        mqtt=MqttConfig(host="127.0.0.1", port=port, **mqtt),
        credentials=folder,
    )


def test_a_device_with_a_certificate_delivers_over_tls(keys, tls_broker):
    """Both sides are who they say."""
    lab = Lab(keys, tls_broker)
    lab.start_daemon("rate=20", mqtt={"tls": True})
    try:
        until(lambda: "connected" in lab.log("edge"), "the connection")
        state, health = (
            subprocess.run(
                [
                    *("mosquitto_sub", "-p", str(tls_broker.port), "-t", DEVICE.topic(kind), "-C", "1", "-W", "10"),
                    *("--cafile", keys / "ca.crt", "--cert", keys / "device.crt", "--key", keys / "device.key"),
                ],
                capture_output=True,
                check=True,
            ).stdout.rstrip(b"\n")
            for kind in ("state", "health")
        )
    finally:
        lab.close()

    assert State.from_json(state).state == "ready"
    assert Health.from_json(health).certificate_end == instant(certificate_end(keys / "device.crt"))
    assert "TLS" in probe(config(tls_broker.port, keys))


def test_a_broker_of_an_unknown_authority_is_refused_and_the_log_says_so(keys, tls_broker, tmp_path):
    """The daemon gives its certificate to nobody it does not know; frames wait."""
    authority(tmp_path / "others")
    (keys / "ca.crt").write_bytes((tmp_path / "others" / "ca.crt").read_bytes())
    lab = Lab(keys, tls_broker)
    daemon = lab.start_daemon("rate=20", mqtt={"tls": True})
    try:
        until(lambda: "certificate verify failed" in lab.log("edge"), "the reason")
        count = len(lab.accepted())
        until(lambda: len(lab.accepted()) > count + 20, "the daemon goes on")
    finally:
        lab.close()

    assert daemon.returncode == -9
    with pytest.raises(BrokerError, match="certificate verify failed"):
        probe(config(tls_broker.port, keys))


def test_a_wrong_password_is_refused_and_the_log_says_so(tmp_path, password_broker):
    """An error, not a connection."""
    (tmp_path / "mqtt-password").write_text("wrong\n")
    lab = Lab(tmp_path, password_broker)
    lab.start_daemon("rate=20", mqtt={"username": "cam"})
    try:
        until(lambda: "refused: Not authorized" in lab.log("edge"), "the reason")
        assert "connected" not in lab.log("edge")
    finally:
        lab.close()

    with pytest.raises(BrokerError, match="Not authorized"):
        probe(config(password_broker.port, tmp_path, tls=False, username="cam"))
    (tmp_path / "mqtt-password").write_text("right\n")
    assert "takes school.r1.cam in" in probe(config(password_broker.port, tmp_path, tls=False, username="cam"))


@pytest.mark.parametrize("client_id", ["its own", "the user name"])
def test_a_check_and_a_start_that_fails_leave_the_pause_that_waits_for_the_device(keys, make_mosquitto, client_id):
    """Our broker role takes the certificate's name for the client id, whatever a client calls itself."""
    as_role = ("use_username_as_clientid true",) if client_id == "the user name" else ()
    broker = make_mosquitto((*tls_lines(keys), *as_role)).start()
    lab = Lab(keys, broker)
    try:
        lab.start_daemon("rate=20", mqtt={"tls": True})
        until(lambda: "connected" in lab.log("edge"), "the connection")
        lab.stop_daemon()
        instructor = ("--cafile", keys / "ca.crt", "--cert", keys / "server.crt", "--key", keys / "server.key")
        order = ("mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", DEVICE.topic("set"), "-m", "pause")
        subprocess.run([*order, *instructor], check=True)

        probe(config(broker.port, keys))
        publish_stopped(config(broker.port, keys), b"stopped")
        lab.start_daemon("rate=20", mqtt={"tls": True})

        until((lab.state / "pause").exists, "the pause")
    finally:
        lab.close()


def test_a_device_that_may_write_and_not_read_is_refused_by_its_check(tmp_path, make_mosquitto):
    """Mosquitto grants the subscription all the same."""
    (tmp_path / "acl").write_text("topic write classpulse/1/school/r1/cam/#\n")
    broker = make_mosquitto((f"acl_file {tmp_path}/acl", "allow_anonymous true")).start()

    with pytest.raises(BrokerError, match="cam/state does not come back: its access list"):
        probe(config(broker.port, tmp_path, tls=False))


def test_nobody_there_is_an_error_of_the_probe(tmp_path, mosquitto):
    """`check` says so."""
    mosquitto.stop()

    with pytest.raises(BrokerError, match="refused"):
        probe(config(mosquitto.port, tmp_path, tls=False))


def test_credentials_that_cannot_be_used_are_a_fault_of_the_configuration(tmp_path):
    """Named by file, before anything is connected."""
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        probe(config(8883, tmp_path))
    with pytest.raises(ConfigError, match="mqtt-password"):
        probe(config(8883, tmp_path, tls=False, username="cam"))
    (tmp_path / "ca.crt").write_text("no certificate\n")
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        probe(config(8883, tmp_path))
