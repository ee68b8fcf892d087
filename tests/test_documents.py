"""Commands that README and docs name are there: make's targets, our programs' commands, modules; most are run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.__main__ import PROGRAM as AGGREGATOR
from edge.__main__ import PROGRAM as EDGE
from tests import yunet

ROOT = Path(__file__).parents[1]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
TEXT = "\n".join(DOCUMENTS.values())
CODE = "\n".join(re.findall(r"`[^`\n]+`|^    .*$", TEXT, re.MULTILINE))
"""What stands in backticks or is indented."""

GUIDES = ("README.md", "docs/one-pi.md", "docs/deployment.md", "docs/operations.md")
"""Documents whose commands are run."""
PROGRAMS = (
    r"(?:sudo|make|python|systemctl|journalctl|ssh|mosquitto_[a-z]+|classpulse[a-z-]*|[a-z]+\.yml"
    r"|(?:ANSIBLE_CONFIG|XDG_CONFIG_HOME)=\S+) [^`\n]+"
)
RUN_HERE = {
    "make help": "make help",
    "classpulse-edge annotate PICTURE --out DIR": "classpulse-edge annotate docs/page.png --out DIR",
    "classpulse-edge bench": "classpulse-edge bench --frames 3",
}
"""A guide's command -> what a test runs, DIR being a new folder."""
RUN_ELSEWHERE = {
    "sudo apt-get install python3-venv make git": ("tests/install/test_bare_systems.py", "python3-venv,make,git"),
    "make run": ("tests/install/test_bare_systems.py", "make run SECONDS=20"),
    "make test": ("tests/install/test_bare_systems.py", '"make test"'),
    "mosquitto_sub -p PORT -v -t 'classpulse/#'": ("Makefile", "mosquitto_sub -h"),
    "make deb": ("tests/fleet/fleet.py", '"-m", "release.debian"'),
    "sudo apt install ./classpulse_0.1.0+deb13_arm64.deb": ("tests/fleet/test_debian.py", "apt-get install"),
    "classpulse setup": ("tests/fleet/test_debian.py", "classpulse setup {options}"),
    "sudo classpulse setup": ("tests/fleet/test_debian.py", "classpulse setup {options}"),
    "sudo classpulse status": ("tests/fleet/test_debian.py", '"classpulse status"'),
    "make release": ("tests/fleet/fleet.py", '"-m", "release"'),
    "make deploy INVENTORY=…": ("tests/fleet/fleet.py", '"deploy"'),
    "make test-fleet": (".ci/run", "make test-fleet"),
    "make models": ("Makefile", ".venv-litert/.ready models"),
    "make train DATA=fer2013.zip TARGETS=models/soft_labels.npz": ("tests/train/test_recipe.py", 'make("train"'),
    "make convert DATA=fer2013.zip": ("tests/train/test_recipe.py", 'make("convert"'),
    "make promote": ("tests/convert/test_promote.py", "promote"),
    "classpulse-edge check": ("tests/edge/test_check.py", '"check"'),
    "classpulse-edge preview": ("tests/edge/test_main.py", '["preview", "--port", "0"]'),
    "classpulse-aggregator page": ("tests/system/test_page.py", '"page"'),
    "classpulse-aggregator report --room SITE/ROOM --from … --to …": ("tests/system/test_page.py", '"report"'),
    # docs/one-pi.md
    "sudo classpulse setup --answers FILE": ("tests/fleet/test_debian.py", "--answers answers.toml"),
    "classpulse setup --help": ("tests/fleet/test_debian.py", "classpulse setup --help"),
    "sudo systemctl stop classpulse-edge": ("tests/fleet/test_debian.py", "sudo systemctl stop classpulse-edge"),
    "sudo classpulse edge preview": ("tests/fleet/test_debian.py", "sudo classpulse edge preview"),
    "sudo systemctl start classpulse-edge": ("tests/fleet/test_debian.py", "sudo systemctl start classpulse-edge"),
    "ssh -L 8090:localhost:8090 USER@room-1.local": ("tests/fleet/test_fleet.py", "8080:localhost:8080"),
    "sudo systemctl restart 'classpulse-*'": ("tests/fleet/test_debian.py", "sudo systemctl restart 'classpulse-*'"),
    "sudo classpulse aggregator user add bert --rooms school/room-1": (
        "tests/fleet/test_debian.py",
        "classpulse aggregator user add bert --rooms",
    ),
    "sudo classpulse setup --open-broker yes --others school/room-2/cam-1": (
        "tests/fleet/test_debian.py",
        "--open-broker yes --others",
    ),
    "sudo apt install ./classpulse-edge_….deb": ("tests/fleet/test_debian.py", 'package="classpulse-edge"'),
    "sudo classpulse setup --answers FILE --camera pi": (
        "tests/fleet/test_debian.py",
        "--answers room-2.toml --camera",
    ),
    "sudo classpulse setup --noise yes": ("tests/fleet/test_debian.py", "--noise {answer}"),
    "sudo apt install ./classpulse_NEWER….deb": ("tests/fleet/test_debian.py", "install(pi, newer)"),
    "sudo apt install --allow-downgrades ./classpulse_OLDER….deb": ("tests/fleet/test_debian.py", "--allow-downgrades"),
    "sudo classpulse aggregator backup": ("tests/fleet/test_debian.py", "sudo classpulse aggregator backup"),
    "sudo apt remove classpulse": ("tests/fleet/test_debian.py", "apt-get remove"),
    "sudo apt purge classpulse": ("tests/fleet/test_debian.py", "apt-get purge"),
    "sudo dpkg --configure -a": ("tests/fleet/test_debian.py", "dpkg --configure -a"),
    # docs/deployment.md
    "make deploy INVENTORY=school/hosts.yml": ("tests/fleet/fleet.py", '"deploy"'),
    "sudo XDG_CONFIG_HOME=/etc/classpulse/clients mosquitto_sub -v -t 'classpulse/#'": (
        "tests/fleet/test_fleet.py",
        "{LISTEN} 'classpulse/#'",
    ),
    "sudo classpulse-seen SITE/ROOM/DEVICE": ("tests/fleet/test_fleet.py", "sudo classpulse-seen"),
    "ssh -L 8080:localhost:8080 HUB": ("tests/fleet/test_fleet.py", "8080:localhost:8080"),
    "sudo classpulse-aggregator user add NAME --rooms '*'": ("tests/fleet/test_fleet.py", "user add bert --rooms '*'"),
    "ANSIBLE_CONFIG=ansible/ansible.cfg .venv-fleet/bin/ansible-playbook -i INVENTORY ansible/…": (
        "tests/fleet/fleet.py",
        "ansible-playbook",
    ),
    "sudo systemctl stop classpulse-edge; sudo classpulse-check; sudo systemctl start classpulse-edge": (
        "tests/fleet/test_fleet.py",
        "sudo systemctl stop classpulse-edge; sudo classpulse-check",
    ),
    "sudo /usr/bin/python3 /opt/classpulse/verify_release.py /opt/classpulse/current/ --installed": (
        "tests/fleet/test_fleet.py",
        "verify_release.py /opt/classpulse/current/ --installed",
    ),
    "site.yml --limit ROOM": ("tests/fleet/test_fleet.py", '"site.yml", "--limit"'),
    "site.yml --limit DEVICE": ("tests/fleet/test_fleet_rooms.py", '"site.yml", "--limit"'),
    "update.yml -e edge_allow_older=true -e aggregator_allow_older=true": (
        "tests/fleet/test_fleet_releases.py",
        '"-e", "edge_allow_older=true", "-e", "aggregator_allow_older=true"',
    ),
    "site.yml --limit ROOM -e edge_rotate_keys=true": ("tests/fleet/test_fleet_rooms.py", '"edge_rotate_keys=true"'),
    "revoke.yml -e device=SITE/ROOM/DEVICE": ("tests/fleet/test_fleet_rooms.py", '"revoke.yml", "-e"'),
    "site.yml --limit DEVICE -e edge_rotate_keys=true -e edge_reinstate=true": (
        "tests/fleet/test_fleet_rooms.py",
        '"edge_rotate_keys=true", "-e", "edge_reinstate=true"',
    ),
    # docs/operations.md
    "sudo journalctl -u classpulse-edge -n 50": ("tests/fleet/test_fleet.py", "journalctl -u classpulse-edge -n 50"),
    "sudo systemctl stop classpulse-edge; sudo classpulse-check": (
        "tests/fleet/test_fleet.py",
        "; sudo classpulse-check",
    ),
    "sudo XDG_CONFIG_HOME=/etc/classpulse/clients mosquitto_sub -v -t 'classpulse/1/+/+/+/state'": (
        "tests/fleet/test_fleet.py",
        "{LISTEN} 'classpulse/1/+/+/+/state'",
    ),
    "sudo XDG_CONFIG_HOME=/etc/classpulse/clients mosquitto_pub -q 1 -t classpulse/1/SITE/ROOM/DEVICE/set -m pause": (
        "tests/fleet/test_fleet.py",
        "{ORDER} {NORTH}/set -m pause",
    ),
    "sudo touch /var/lib/classpulse/pause": ("tests/fleet/test_fleet.py", "sudo touch /var/lib/classpulse/pause"),
    "sudo rm /var/lib/classpulse/pause": ("tests/fleet/test_fleet.py", "sudo rm /var/lib/classpulse/pause"),
    "sudo systemctl kill --kill-whom=main -s USR1 classpulse-edge": ("tests/fleet/test_fleet.py", "{KILL} USR1"),
    "sudo systemctl kill --kill-whom=main -s USR2 classpulse-edge": ("tests/fleet/test_fleet.py", "{KILL} USR2"),
    "classpulse-check --release FOLDER": ("tests/fleet/test_check.py", '"--release"'),
    "classpulse-edge run": ("systemd/classpulse-edge.service", " run"),
}
"""A guide's command -> the file that runs it, and what stands there: it wants root, a network or time."""
MEASURES = r"make (?:bench|soak|verify)|python -m (?:benchmarks|convert conditions)"
"""Commands of figures: they run for minutes, some with data that the project may not hold."""
OTHERS = r"ssh [A-Z@]+[a-z0-9.-]*$|sudo apt clean$|(?:sudo )?classpulse[a-z -]* …$"
"""Commands that are not ours, or stand for several."""


def guides() -> set[str]:
    """Every command in the guides' code, without what is said behind a `#`."""
    texts = "\n".join(DOCUMENTS[name] for name in GUIDES)
    found = re.findall(rf"(?:^    |`|&& )({PROGRAMS})", texts.replace(" && ", "\n    "), re.MULTILINE)
    return {command.partition("  #")[0].strip() for command in found}


def test_every_command_of_the_guides_is_run_by_a_test_or_measures():
    """A new one belongs into one of the tables above; one that no guide has any more, out of it."""
    known = {*RUN_HERE, *RUN_ELSEWHERE}

    assert {command for command in guides() if not re.match(f"{MEASURES}|{OTHERS}", command)} == known
    missing = {name: words for name, (file, words) in RUN_ELSEWHERE.items() if words not in (ROOT / file).read_text()}
    assert missing == {}


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_command_of_a_guide_runs_as_it_is_written(command, tmp_path):
    """From the clone, with this environment's programs; what is in capitals is the user's."""
    if command.startswith("classpulse-edge") and not (ROOT / "models/yunet.tflite").exists():
        pytest.skip(yunet.MISSING)
    line = RUN_HERE[command].replace("DIR", str(tmp_path))
    settings = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    ended = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, env=settings, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_make_target_that_is_named_exists():
    """Make says what it would do, which fails for a target that is not there."""
    targets = set(re.findall(r"(?:^ {4}|`|&& )make ([a-z][a-z-]+)", CODE, re.MULTILINE))
    assert {"run", "test", "help"} <= targets

    command = ("make", "-C", ROOT, "INVENTORY=x", "-n")
    ended = {name: subprocess.run([*command, name], capture_output=True, check=False) for name in targets}

    assert [name for name, process in ended.items() if process.returncode] == []


def test_an_inventory_that_does_not_exist_is_named():
    """Ansible itself would warn, find no hosts and end well."""
    command = ("make", "-C", ROOT, "-o", ".venv-fleet/.ready", "deploy", "INVENTORY=school/host.yml")

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode
    assert "make: INVENTORY=school/host.yml does not exist" in ended.stderr


@pytest.mark.parametrize("program", [EDGE, AGGREGATOR], ids=lambda program: program.name)
def test_every_command_that_is_named_exists(program):
    """A command that was renamed is renamed in the documents, too."""
    named = set(re.findall(rf"\b{program.name}(?: --[a-z-]+ [^ `]+)* ([a-z]+)", CODE))

    assert named
    assert named <= set(program.commands)


def test_every_module_that_is_named_exists():
    """`python -m` finds it in a clone."""
    named = set(re.findall(r"python -m ([a-z_.]+)", CODE)) - {"pip", "venv", "pytest"}

    assert named
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


def test_every_file_that_is_linked_exists():
    """A link that leads nowhere is found here."""
    links = [(name, link) for name, text in DOCUMENTS.items() for link in re.findall(r"\]\(([^)#:]+)\)", text)]

    assert [(name, link) for name, link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
