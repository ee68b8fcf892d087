"""One host by Debian packages: three commands to counts on the page, reboot, upgrade, bad input, purge."""

import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fleet.fleet import PICTURES, PROJECT, build_deb, draw_class
from tests.fleet.lab import ADMIN, SWITCH, Host, call, wait_for
from tests.needs import need

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]
OLD, NEW = "0.1.9", "0.2.0"
ANSWERS = f"""
people_only = false
site = "greenfield"
room = "room-1"
camera = "file:{PICTURES}"
min_faces = 3
page_user = "anna"
page_password = "correct horse"
"""
ANONYMOUS = """
import socket
broker = socket.create_connection(("127.0.0.1", 1883))
broker.sendall(bytes.fromhex("100d00044d5154540402003c000161"))
print(broker.recv(4).hex())
"""
"""CONNECT without a user; prints the CONNACK."""
FRAMES = """
import sqlite3, sys
store = sqlite3.connect("file:/var/lib/classpulse-aggregator/store.sqlite?mode=ro", uri=True)
query = "SELECT coalesce(sum(frames), 0) FROM windows WHERE start >= ? AND start < ?"
print(store.execute(query, [float(each) for each in sys.argv[1:]]).fetchone()[0])
"""
ROOMS = """
import sqlite3
store = sqlite3.connect("file:/var/lib/classpulse-aggregator/store.sqlite?mode=ro", uri=True)
print(store.execute("SELECT DISTINCT room FROM windows WHERE frames > 0").fetchall())
"""
APT = "env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes"
RELEASES = "/opt/classpulse/releases"
UNITS = ("classpulse-aggregator", "classpulse-page", "classpulse-edge")
LOGIN = """
import http.cookiejar, ssl, urllib.parse, urllib.request
context = ssl.create_default_context(cafile="/etc/classpulse/keys/own-ca.crt")
cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
browser = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), cookies)
browser.addheaders = [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://127.0.0.1:8443")]
form = urllib.parse.urlencode({"name": "anna", "password": "correct horse", "next": "/"}).encode()
print(browser.open("https://127.0.0.1:8443/login", form).read().decode())
"""
"""What a browser does, with the certificate checked; prints the overview."""
LIBRARIES = "stat --format '%n %i %Y' /opt/classpulse/libraries/*"
KILLED = """
"$@" >/dev/null 2>&1 &
while ! eval "$until"; do kill -0 $! || exit; done
kill -KILL $!
pkill --signal KILL --exact 'dpkg|classpulse.post' || true
"""
"""Start a command and kill it, and what dpkg runs of ours, as soon as `until` is true."""


@pytest.fixture(scope="module")
def debs(lab_folder: Path, tell: Callable[[str, str], None]) -> dict[str, Path]:
    """The old version for both Debians."""
    need("dpkg-deb")
    with ThreadPoolExecutor() as pool:
        made = dict(
            zip(("12", "13"), pool.map(lambda debian: build_deb(lab_folder, OLD, debian), ("12", "13")), strict=True)
        )
    for debian, path in made.items():
        tell(f"package classpulse for Debian {debian}, amd64", f"{path.stat().st_size / 1e6:.0f} MB")
    return made


def bring(host: Host, deb: Path) -> str:
    """Put a package on the host; where."""
    shutil.copy(deb, host.root / "root")
    return f"/root/{deb.name}"


def install(host: Host, deb: Path) -> None:
    """As the README says; apt has no network but its own cache."""
    host.run(f"{APT} {bring(host, deb)}")


def prepare(host: Host) -> None:
    """A class before its file camera, and a clock that is right."""
    draw_class(host)
    (host.root / "root/answers.toml").write_text(ANSWERS)
    (host.root / "etc/tmpfiles.d/clock.conf").write_text("f /run/systemd/timesync/synchronized\n")
    host.run(f"chmod -R a+rX {PICTURES}; systemd-tmpfiles --create clock.conf")


def written_mb(host: Host, since: float) -> float:
    """What was written to the host's disk for programs since a time."""
    places = (host.folder / "upper/usr", host.folder / "upper/opt")
    found = call("find", *places, "-type", "f", "-newerct", f"@{since}", "-printf", "%s\n").stdout
    return sum(map(int, found.split())) / 1e6


def active(host: Host) -> list[str]:
    """Which of our services run, or would after a reboot."""
    said = host.run(
        f"for unit in {' '.join(UNITS)}; do systemctl is-active $unit; systemctl is-enabled $unit; done", check=False
    )
    return [word for word in said.split() if word in ("active", "activating", "enabled")]


def setup(host: Host, options: str = "--answers answers.toml") -> str:
    """What `classpulse setup` says, and its exit status."""
    return host.run(f"classpulse setup {options} 2>&1; echo exit $?", check=False)


def frames(host: Host, start: float = 0, end: float = 1e11) -> int:
    """What the host has stored of the windows that began between these times, in seconds since 1970."""
    return int(host.run(f"runuser -u classpulse-aggregator -- python3 -c '{FRAMES}' {start} {end}"))


@pytest.fixture(scope="module")
def pi(hosts: dict[str, Host], debs: dict[str, Path], tell: Callable[[str, str], None]) -> Host:
    """A Debian 12 host after README's commands."""
    host = hosts["pi12"]
    prepare(host)
    started = time.monotonic()
    install(host, debs["12"])
    installed = time.monotonic()
    said = setup(host)
    assert said.endswith("exit 0\n"), said
    tell(
        "one host: apt install; classpulse setup to the first counts",
        f"{installed - started:.0f} s; {time.monotonic() - installed:.0f} s",
    )
    tell("its environment", host.run("du -sm /opt/classpulse | cut -f1").strip() + " MB")
    return host


def test_three_commands_bring_counts_to_the_page(pi):
    """The page knows the room, by HTTPS, after a login; the state is told; no packaged file differs."""
    (pi.root / "root/login.py").write_text(LOGIN)

    assert "room-1" in pi.run("python3 /root/login.py")
    assert pi.run("dpkg --verify classpulse") == ""
    status = pi.run("classpulse status")
    assert len(status.splitlines()) <= 10
    assert "WRONG" not in status
    assert re.search(r"faces +[5-9]\.\d on average", status)


@pytest.fixture(scope="module")
def pi13(hosts: dict[str, Host]) -> Host:
    """A Debian 13 host before any of them."""
    prepare(hosts["pi13"])
    return hosts["pi13"]


@pytest.mark.parametrize("debian", ["12", "13"])
def test_lintian_finds_nothing(debs, debian):
    """In the whole package, with every wheel."""
    need("lintian")

    told = call("lintian", "--fail-on", "error,warning", debs[debian], check=False)

    assert (told.returncode, told.stdout) == (0, "")


def test_chromium_shows_the_counts(pi):
    """A person logs in and opens the room."""
    need("chromium")
    command = [PROJECT / ".venv/bin/python", "tests/fleet/browser.py", f"https://{pi.address}:8443/"]

    shown = call("ip", "netns", "exec", SWITCH, *command, "anna", "correct horse", "room-1", cwd=PROJECT).stdout

    assert re.search(r"faces\s+[5-9]\b", shown), shown


def test_commands_run_as_the_services_users(pi):
    """From root's own folder, with their folders and passwords; nothing is written beside."""
    before = pi.run("ls -A /root")
    pi.run("cd /root; echo 'another word' | classpulse aggregator user add bert --rooms greenfield/room-1")

    users = pi.run("cd /root; classpulse aggregator user list").splitlines()
    assert users == ["anna: administrator, *", "bert: teacher, greenfield/room-1"]
    assert pi.run("ls -A /root") == before
    assert pi.run("stat -c %U /var/lib/classpulse-aggregator/users.json").strip() == "classpulse-aggregator"


def test_the_broker_hears_this_host_alone_and_nobody_without_a_password(pi):
    """Until setup is told to open it, and then with TLS."""
    listening = pi.run("ss -Hltn 'sport = 1883 or sport = 8883'")
    assert [line.split()[3] for line in listening.splitlines()] == ["127.0.0.1:1883"]
    answer = pi.run(f"python3 -c '{ANONYMOUS}'").strip()
    assert answer == "20020005"  # CONNACK, not authorised


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("sudo classpulse aggregator backup", "checked"),
        ("sudo systemctl stop classpulse-edge; sudo classpulse edge preview --minutes 0.1", "http://"),
        ("sudo systemctl start classpulse-edge; systemctl is-active classpulse-edge", "active"),
        ("sudo systemctl restart 'classpulse-*'; systemctl is-active 'classpulse-*'", "active\nactive\nactive\n"),
        ("classpulse setup --help", "--open-broker"),
    ],
)
def test_a_command_of_the_document_runs(pi, command, shown):
    """As docs/one-pi.md has it, typed by who may use sudo and is not root."""
    assert shown in pi.run(f"({command}) 2>&1", user=ADMIN, check=False)


def test_a_reboot_counts_again(pi):
    """All services start with the machine."""
    booted, before = pi.booted_at(), frames(pi)
    pi.run("systemctl reboot", check=False)
    wait_for(
        "another boot",
        lambda: (
            pi.run("true; systemctl show --property=UserspaceTimestampMonotonic --value", check=False).strip()
            not in ("", booted)
        ),
    )

    wait_for("more frames", lambda: frames(pi) > before, timeout_s=120)


def test_an_upgrade_with_a_full_outbox_keeps_everything(pi, debs, lab_folder, tell):
    """What the broker did not take before is stored after it; configuration and users stay."""
    wheels = lab_folder / "unpacked"
    call("dpkg-deb", "-x", debs["12"], wheels)
    newer = build_deb(lab_folder, NEW, "12", wheels=wheels / "usr/lib/classpulse/wheels")
    configured, libraries = pi.run("cat /etc/classpulse/*.toml"), pi.run(LIBRARIES)
    pi.run("systemctl stop mosquitto")
    away = time.time() + 20  # a span that ends now may be on its way
    time.sleep(45)
    began, started = time.time(), time.monotonic()

    install(pi, newer)
    tell("upgrade of one host", f"{time.monotonic() - started:.0f} s, {written_mb(pi, began):.0f} MB written")
    back = time.time() - 10
    assert frames(pi, away, back) == 0
    pi.run("systemctl start mosquitto")

    wait_for("what was counted meanwhile", lambda: frames(pi, away, back) > 0, timeout_s=120)
    assert pi.run("cat /etc/classpulse/*.toml") == configured
    assert "anna" in pi.run("classpulse aggregator user list")
    assert NEW in pi.run("readlink /opt/classpulse/current")
    assert pi.run("ls /opt/classpulse/releases | wc -l").strip() == "1"
    assert pi.run(LIBRARIES) == libraries


def test_a_downgrade_counts_on(pi, debs):
    """The way back from a version that does not please: apt is told that it is meant."""
    before = frames(pi)

    pi.run(f"{APT} --allow-downgrades /root/{debs['12'].name}")

    assert OLD in pi.run("readlink /opt/classpulse/current")
    wait_for("more frames", lambda: frames(pi) > before, timeout_s=120)


def test_an_installation_that_was_killed_leaves_the_version_before_in_use_until_it_is_mended(pi):
    """By what dpkg itself advises."""
    pi.run(f"until='ls -d {RELEASES}/{NEW}+*/venv'; set -- {APT} /root/classpulse_{NEW}+deb12_amd64.deb; {KILLED}")

    assert OLD in pi.run("readlink /opt/classpulse/current")
    assert active(pi) == ["active", "enabled"] * 3
    before = frames(pi)
    wait_for("more frames", lambda: frames(pi) > before, timeout_s=120)

    pi.run("DEBIAN_FRONTEND=noninteractive dpkg --configure -a")
    assert NEW in pi.run("readlink /opt/classpulse/current")
    assert pi.run(f"ls {RELEASES} | wc -l").strip() == "1"
    assert pi.run("dpkg --verify classpulse") == ""


def test_a_setup_that_was_killed_starts_nothing_and_is_mended_by_another(pi):
    """Not even after a reboot: services are switched off before a file is written."""
    pi.run("rm /etc/classpulse/edge.toml")
    pi.run(f"until='test -e /etc/classpulse/edge.toml'; set -- classpulse setup --answers answers.toml; {KILLED}")
    assert "enabled" not in active(pi)

    said = setup(pi)

    assert said.endswith("exit 0\n"), said


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ('camera = "usb:7"', "FAIL camera: usb:7: /dev/video7 does not exist"),
        ('camera = "usb:8"', "FAIL camera: usb:8: /dev/video8 cannot be opened; does another program use it?"),
        ('broker = "127.0.0.1:1883"\nbroker_ca = "/etc/classpulse/keys/own-ca.crt"', "FAIL broker: 127.0.0.1:1883"),
        ('broker = "127.0.0.1:1883"\nbroker_ca = "/etc/hostname"', "broker_ca = '/etc/hostname' is no PEM certificate"),
    ],
)
def test_wrong_answers_start_nothing_and_the_right_ones_mend_it(pi, answers, told):
    """One line that says what, and how to go on."""
    before = active(pi)
    key = answers.partition(" ")[0]
    kept = "\n".join(line for line in ANSWERS.splitlines() if not line.startswith(f"{key} "))
    pi.run("touch /dev/video8; chmod 666 /dev/video8")  # no camera, so opening it fails as a busy one's does
    (pi.root / "root/wrong.toml").write_text(f"{kept}\n{answers}\n")

    said = setup(pi, "--answers wrong.toml")

    assert told in said
    assert not said.endswith("exit 0\n")
    assert active(pi) == ([] if "FAIL" in told else before)


def test_running_setup_again_mends_what_wrong_answers_left(pi):
    """With everything that was counted before."""
    before = frames(pi)

    said = setup(pi)

    assert said.endswith("exit 0\n"), said
    assert frames(pi) >= before > 0


def test_a_package_of_another_debian_or_without_room_is_refused(pi13, debs):
    """Before anything is unpacked."""
    other = pi13.run(f"{APT} {bring(pi13, debs['12'])} 2>&1", check=False)
    pi13.run("mkdir -p /opt; mount -t tmpfs -o size=100m tmpfs /opt")
    small = pi13.run(f"{APT} {bring(pi13, debs['13'])} 2>&1", check=False)
    pi13.run("umount /opt")

    assert "python3 (< 3.12)" in other
    assert re.search(r"classpulse: \d+ MB of room are needed on /opt, (99|100) MB are free: make room", small)
    assert pi13.run("ls -A /opt") == ""


def test_a_package_for_another_processor_is_refused(pi13, debs, tmp_path):
    """Before anything is unpacked."""
    call("dpkg-deb", "-R", debs["13"], tmp_path / "opened")
    shutil.rmtree(tmp_path / "opened/usr")
    control = tmp_path / "opened/DEBIAN/control"
    control.write_text(control.read_text().replace("Architecture: amd64", "Architecture: arm64"))
    other = tmp_path / debs["13"].name.replace("amd64", "arm64")
    call("dpkg-deb", "--build", tmp_path / "opened", other)

    said = pi13.run(f"{APT} {bring(pi13, other)} 2>&1", check=False)

    assert "arm64" in said
    assert pi13.run("ls -A /opt") == ""


def test_debian_13_counts_people_only(pi13, debs):
    """Python 3.13, no expressions: what the law asks for in most classrooms."""
    pi13.run("apt-get -qq --yes --fix-broken install; dpkg --configure -a", check=False)
    install(pi13, debs["13"])

    said = setup(pi13, "--answers answers.toml --people-only yes")

    assert said.endswith("exit 0\n"), said
    assert "emotions are switched off" in said
    assert "people only" in pi13.run("classpulse status")


def test_noise_is_switched_on_and_off_by_setup(pi):
    """Of camera and page together; counts go on."""
    for answer, span in {"yes": "20.0", "no": "0.0"}.items():
        said = setup(pi, f"--answers answers.toml --noise {answer}")

        assert said.endswith("exit 0\n"), said
        assert f"span_s = {span}" in pi.run("cat /etc/classpulse/edge.toml")
        assert ("epsilon = 2.0" in pi.run("cat /etc/classpulse/aggregator.toml")) == (answer == "yes")


def test_a_second_room_sends_to_the_first(pi, pi13, debs, lab_folder):
    """As docs/one-pi.md says: the broker is opened, one file is copied, the other host gets the cameras' package."""
    identity = "greenfield/room-2/cam-1"
    call("dpkg-deb", "-x", debs["13"], lab_folder / "unpacked-13")
    wheels = lab_folder / "unpacked-13/usr/lib/classpulse/wheels"
    pi13.run("dpkg --purge classpulse")
    install(pi13, build_deb(lab_folder, OLD, "13", package="classpulse-edge", wheels=wheels))

    said = setup(pi, f"--answers answers.toml --open-broker yes --others {identity}")
    assert said.endswith("exit 0\n"), said
    told = "copy /etc/classpulse/others/greenfield.room-2.cam-1.toml to its host"
    assert told in said
    shutil.copy(pi.root / "etc/classpulse/others/greenfield.room-2.cam-1.toml", pi13.root / "root/room-2.toml")
    said = setup(pi13, f"--answers room-2.toml --camera file:{PICTURES} --broker {pi.address}")

    assert said.endswith("exit 0\n"), said
    wait_for("frames of the second room", lambda: "room-2" in pi.run(f"python3 -c '{ROOMS}'"))


def test_remove_keeps_data_and_purge_takes_all(pi):
    """Files, users and the broker's part; mosquitto goes on."""
    pi.run("apt-get remove -qq --yes classpulse")
    assert "edge.toml" in pi.run("ls /etc/classpulse")
    assert "store.sqlite" in pi.run("ls /var/lib/classpulse-aggregator")
    assert active(pi).count("active") == 0

    pi.run("apt-get purge -qq --yes classpulse")

    others = "^/(root|var/(log|cache)|proc|sys|run)"
    assert pi.run(f"find / -xdev -name '*classpulse*' | grep -v -E '{others}'", check=False) == ""
    assert pi.run("getent passwd classpulse classpulse-aggregator", check=False) == ""
    assert pi.run("systemctl is-active mosquitto").strip() == "active"
