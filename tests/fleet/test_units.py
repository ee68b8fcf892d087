"""The units, as systemd itself judges them: nothing it cannot read, little that an intruder could use."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needs import need

SYSTEMD = Path(__file__).parents[2] / "systemd"
DEBIAN_BROKER = Path("/lib/systemd/system/mosquitto.service")
EXPOSURE = {
    "classpulse-edge.service": 1.5,
    "classpulse-aggregator.service": 1.2,
    "classpulse-page.service": 1.2,
    "classpulse-backup.service": 1.2,
    "mosquitto.service": 1.2,
}
"""The most that `systemd-analyze security` may give."""
MISTAKE = "ProtectHom=yes\n"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder of the units with their drop-ins, whose programs exist."""
    need("systemd-analyze")
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    if DEBIAN_BROKER.exists():
        shutil.copy(DEBIAN_BROKER, tmp_path)
    for unit in tmp_path.glob("*.service"):
        unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    return tmp_path


def unit_in(folder: Path, name: str) -> Path:
    """The unit's file; the test is skipped where Debian's mosquitto is not installed."""
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} comes with Debian's package, which is not installed")
    return path


def complaints(unit: Path) -> str:
    """What `systemd-analyze verify` says; its exit status is 0 even for a key that it does not know."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    return done.stderr


def exposure(unit: Path) -> float:
    """The overall exposure level, 0 to 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)[1])


@pytest.mark.parametrize("name", EXPOSURE)
def test_systemd_understands_every_line_of_a_unit(units, name):
    """`verify` has nothing to say."""
    assert complaints(unit_in(units, name)) == ""


def test_a_misspelt_key_is_seen(units):
    """The rule above can fail: systemd ignores an unknown key, and says so."""
    unit = units / "classpulse-edge.service"
    unit.write_text(unit.read_text().replace("ProtectHome=yes\n", MISTAKE))

    assert "ProtectHom" in complaints(unit)


@pytest.mark.parametrize(("name", "most"), EXPOSURE.items())
def test_a_unit_exposes_little(units, name, most):
    """The exposure that systemd computes stays below the limit."""
    assert exposure(unit_in(units, name)) <= most


def test_the_edge_sees_its_processor():
    """ProcSubset=pid would hide /proc/cpuinfo: TFLite then drops XNNPACK and takes ten times as long."""
    lines = (SYSTEMD / "classpulse-edge.service").read_text().splitlines()

    assert not [
        line for line in lines if line.startswith(("ProcSubset=", "InaccessiblePaths=")) and "proc" in line.lower()
    ]


def test_pixels_reach_no_disk():
    """Neither as a core nor by swapping."""
    lines = (SYSTEMD / "classpulse-edge.service").read_text().splitlines()

    assert {"LimitCORE=0", "MemorySwapMax=0"} <= set(lines)


def test_the_edge_retries_for_ever_but_not_what_stays_wrong():
    """A broken configuration or model stops the unit, anything else is tried again without end."""
    lines = (SYSTEMD / "classpulse-edge.service").read_text().splitlines()

    assert {"StartLimitIntervalSec=0", "Restart=always", "RestartPreventExitStatus=78 65"} <= set(lines)


@pytest.mark.parametrize(
    "name", ["classpulse-edge.service", "classpulse-aggregator.service", "classpulse-page.service"]
)
def test_keys_come_as_credentials(name):
    """No unit names a key in its environment or command line; systemd hands them over."""
    lines = (SYSTEMD / name).read_text().splitlines()
    naming = [line for line in lines if "/etc/classpulse/keys/" in line]

    assert naming
    assert all(line.startswith("LoadCredential=") for line in naming)
