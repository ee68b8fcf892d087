"""The cluster's roles: readable playbooks, and a real RabbitMQ with the role's configuration and users."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]
jinja2 = pytest.importorskip("jinja2", reason="the fleet's tools are in .venv-fleet")
yaml = pytest.importorskip("yaml", reason="the fleet's tools are in .venv-fleet")

from aggregator.config import AggregatorConfig  # noqa: E402
from edge.config import EdgeConfig  # noqa: E402
from service.config import load  # noqa: E402
from tests.cluster import servers  # noqa: E402
from tests.fleet.school import ANSIBLE, COMMANDS, TOPIC, School, authority, subscription  # noqa: E402
from tests.needs import need  # noqa: E402
from tests.system.broker import until  # noqa: E402

ROLE = ANSIBLE / "roles/rabbitmq"
SITES = {"north": "north-password", "south": "south-password"}
WORKER = "s3cret-s3cret-s3cret"
PAGE = "0rders-0rders-0rders"


def inventory(folder: Path) -> Path:
    """Three nodes, a database and a worker, all by name only."""
    hosts = {"rabbitmq": ["one", "two", "three"], "postgresql": ["db"], "aggregator": ["worker"]}
    groups = {name: {"hosts": {each: {} for each in names}} for name, names in hosts.items()}
    path = folder / "hosts.yml"
    path.write_text(json.dumps({"all": {"vars": {"classpulse_pki": str(folder / "pki")}, "children": groups}}))
    return path


def test_ansible_reads_the_cluster_s_playbook(tmp_path):
    """`--syntax-check`, with every role and task file that it names."""
    command = ("ansible-playbook", "-i", inventory(tmp_path), "--syntax-check", ANSIBLE / "cluster.yml")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | ansible())

    assert done.returncode == 0, done.stdout + done.stderr


def ansible() -> dict[str, str]:
    """What ansible needs from its environment here."""
    binaries = Path(__file__).parents[2] / ".venv-fleet/bin"
    return {"PATH": f"{binaries}:{os.environ['PATH']}", "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_NOCOLOR": "1"}


RENDER = """
- name: Render what the role would
  ansible.builtin.copy:
    content: "{{ lookup('template', '%(role)s.toml.j2') }}"
    dest: "%(folder)s/%(role)s-{{ inventory_hostname }}.toml"
    mode: "0644"
- name: Say what it would install
  ansible.builtin.copy:
    content: "{{ %(role)s_pins }} {{ %(role)s_broker }}"
    dest: "%(folder)s/%(role)s-{{ inventory_hostname }}.pins"
    mode: "0644"
"""


def render(folder: Path, role: str, inventory_file: Path) -> None:
    """The role's own template with its defaults and the inventory's values, by ansible, for every host of its group."""
    copy = folder / "roles" / role
    copy.mkdir(parents=True)
    for part in ("defaults", "vars", "templates"):
        (copy / part).symlink_to(ANSIBLE / "roles" / role / part)
    (copy / "tasks").mkdir()
    (copy / "tasks/main.yml").write_text(RENDER % {"role": role, "folder": folder})
    play = {"hosts": role, "connection": "local", "gather_subset": ["min"], "roles": [role]}
    play["vars"] = {"ansible_python_interpreter": sys.executable, "ansible_become": False}
    playbook = folder / f"{role}.yml"
    playbook.write_text(json.dumps([play]))
    command = ("ansible-playbook", "-i", inventory_file, playbook)
    environment = os.environ | ansible() | {"ANSIBLE_ROLES_PATH": str(folder / "roles")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cluster_s_inventory_gives_a_worker_its_nodes_and_its_database(tmp_path):
    """The example's: the daemon's own reader takes the file, and the release's cluster pins are chosen."""
    render(tmp_path, "aggregator", ANSIBLE / "inventory/cluster.yml")

    config = load(tmp_path / "aggregator-worker-2.toml", AggregatorConfig)

    assert config.amqp.hosts == ("192.168.20.11:5671", "192.168.20.13:5671", "192.168.20.12:5671")
    assert config.amqp.tls
    assert (config.postgresql.host, config.postgresql.tls) == ("192.168.20.20", True)
    assert (config.mqtt.host, config.mqtt.username) == ("192.168.20.11", "classpulse-page")
    pins, broker = (tmp_path / "aggregator-worker-2.pins").read_text().split()
    assert pins.startswith("aggregator-cluster-py3")
    assert (ANSIBLE.parent / f"requirements/{pins.rpartition('-')[0]}-py311.txt").exists()
    assert broker == "worker-2"


def test_a_cluster_s_inventory_tells_a_device_how_to_confirm(tmp_path):
    """The example's: user and password of its site, batches, and the broker's word for the outbox."""
    render(tmp_path, "edge", ANSIBLE / "inventory/cluster.yml")

    config = load(tmp_path / "edge-north-101.toml", EdgeConfig)

    assert (config.mqtt.host, config.mqtt.username) == ("brokers.example.org", "north")
    assert (config.outbox.confirm, config.publish.batch_s) == ("puback", 1.0)
    assert (tmp_path / "edge-north-101.pins").read_text().split()[1] == "worker-1"


def test_a_school_s_inventory_says_nothing_of_a_cluster(tmp_path):
    """The other example: mosquitto, SQLite, the aggregator's word."""
    for role in ("aggregator", "edge"):
        render(tmp_path, role, ANSIBLE / "inventory/example.yml")

    aggregator = load(tmp_path / "aggregator-hub.toml", AggregatorConfig)
    edge = load(tmp_path / "edge-room-102.toml", EdgeConfig)

    assert (aggregator.amqp, aggregator.postgresql, aggregator.mqtt.username) == (None, None, "")
    assert aggregator.mqtt.host == edge.mqtt.host == "192.168.10.2"
    assert (edge.mqtt.username, edge.outbox.confirm, edge.publish.batch_s) == ("", "stored", 0.0)
    pins, broker = (tmp_path / "aggregator-hub.pins").read_text().split()
    assert not pins.startswith("aggregator-cluster")
    assert broker == "hub"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One that PostgreSQL's user can reach."""
    with tempfile.TemporaryDirectory(prefix="classpulse-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_postgresql_takes_the_role_s_settings_and_makes_the_database_once(public_folder):
    """With TLS only, the user's password and no error in a second run."""
    need("psql")
    if lacking := servers.missing():
        pytest.skip(f"not installed: {lacking}")
    database = servers.Postgres(public_folder / "db")
    keys = authority(public_folder / "keys", "broker")
    settings(database, keys)
    database.start()
    try:
        where = ("-h", "127.0.0.1", "-p", str(database.port))
        for _ in range(2):
            command = ("psql", *where, "-U", "classpulse", "postgres", "-q", "-X", "-t", "-v", "ON_ERROR_STOP=1")
            subprocess.run(command, input=role_sql(), text=True, check=True)
        tls = (
            f"host=127.0.0.1 port={database.port} dbname=pulse user=pulse sslmode=verify-full sslrootcert={keys}/ca.crt"
        )
        assert query(tls, WORKER) == "on"
        assert query(tls, "wrong") == ""
        assert query(tls.replace("verify-full", "disable"), WORKER) == ""
    finally:
        database.crash()


def settings(database: servers.Postgres, keys: Path) -> None:
    """The role's configuration, and its kind of line for who is let in."""
    values = yaml.safe_load((ANSIBLE / "roles/postgresql/defaults/main.yml").read_text())
    values.update(ansible_managed="a test", postgresql_shared_buffers="128MB")
    text = (ANSIBLE / "roles/postgresql/templates/classpulse.conf.j2").read_text()
    text = jinja2.Template(text, trim_blocks=True).render(values)
    data = database.folder / "data"
    for ending in ("crt", "key"):
        shutil.copy(keys / f"broker.{ending}", data / f"postgresql.{ending}")
        (data / f"postgresql.{ending}").chmod(0o600)
        owner = data.stat()
        os.chown(data / f"postgresql.{ending}", owner.st_uid, owner.st_gid)
    with (data / "postgresql.conf").open("a") as file:
        file.write(text.replace("/etc/postgresql/keys", str(data)))
    line = "hostssl pulse pulse 127.0.0.0/8 scram-sha-256\nhost pulse pulse all reject\n"
    path = data / "pg_hba.conf"
    path.write_text(line + path.read_text())


def role_sql() -> str:
    """What the role tells psql, for another user than this server's own."""
    tasks = yaml.safe_load((ANSIBLE / "roles/postgresql/tasks/main.yml").read_text())
    (task,) = [each for each in tasks if each["name"] == "Create user and database"]
    text = jinja2.Template(task["ansible.builtin.command"]["stdin"]).render(postgresql_password=WORKER)
    return text.replace("classpulse", "pulse")


def query(where: str, password: str) -> str:
    """Whether the connection is encrypted, on or off; "" if there is none."""
    command = ("psql", "-X", "-A", "-t", "-c", "SHOW ssl", where)
    environment = {**os.environ, "PGPASSWORD": password}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


class Node:
    """One real node with the role's rabbitmq.conf and enabled_plugins; users come from the role's tasks."""

    def __init__(self, folder: Path) -> None:
        self.cluster = servers.Cluster(folder / "rabbitmq", 1)
        (self.rabbit,) = self.cluster.nodes
        self.folder = folder / "rabbitmq/r1"
        self.ca = authority(folder / "keys", "broker") / "ca.crt"
        (self.folder / "rabbitmq.conf").write_text(self._conf(folder / "keys"))
        shutil.copy(ROLE / "files/enabled_plugins", self.folder / "plugins")
        self.port = self.rabbit.mqtt
        self.log = self.folder / "r1@localhost.log"

    def _conf(self, keys: Path) -> str:
        values = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
        values.update(ansible_managed="a test", rabbitmq_nodes=["one"], rabbitmq_disk_free="20MB")
        text = jinja2.Template((ROLE / "templates/rabbitmq.conf.j2").read_text(), trim_blocks=True).render(values)
        moves = {
            "rabbit@one": self.rabbit.name,
            "/etc/rabbitmq/keys/rabbitmq": f"{keys}/broker",
            "/etc/rabbitmq/keys": str(keys),
            "\nlisteners.ssl.default = 5671": f"\nlisteners.ssl.1 = 127.0.0.1:{self.rabbit.amqp}",
            "mqtt.listeners.ssl.default = 8883": f"mqtt.listeners.ssl.1 = 127.0.0.1:{self.rabbit.mqtt}",
            "prometheus.tcp.ip": f"prometheus.tcp.port = {servers.free_port()}\nprometheus.tcp.ip",
        }
        for old, new in moves.items():
            assert old in text
            text = text.replace(old, new)
        return text

    def add_users(self, sites: dict[str, str] = SITES) -> str:
        """By the role's own tasks, over a `rabbitmqctl` that finds this node; what ansible said."""
        binaries = self.folder / "bin"
        binaries.mkdir(exist_ok=True)
        tool = binaries / "rabbitmqctl"
        settings = "\n".join(f"export {name}='{value}'" for name, value in self.rabbit._environment.items())
        tool.write_text(f'#!/bin/sh\n{settings}\nexec {servers._tool("rabbitmqctl")} --node {self.rabbit.name} "$@"\n')
        tool.chmod(0o755)
        tasks = [{"name": "Users", "ansible.builtin.include_role": {"name": "rabbitmq", "tasks_from": "users.yml"}}]
        variables = {"rabbitmq_sites": sites, "rabbitmq_worker_password": WORKER, "rabbitmq_page_password": PAGE}
        variables["ansible_python_interpreter"] = sys.executable
        play = [{"name": "A test", "hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]
        path = self.folder / "play.yml"
        path.write_text(json.dumps(play))
        environment = ansible()
        environment["PATH"] = f"{binaries}:{environment['PATH']}"
        environment["ANSIBLE_ROLES_PATH"] = str(ANSIBLE / "roles")
        command = ("ansible-playbook", "-c", "local", "-i", "localhost,", path)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def where(self, user: str, password: str, client: str) -> tuple[object, ...]:
        """How mosquitto's tools reach it."""
        tls = ("-h", "127.0.0.1", "-p", str(self.port), "--cafile", self.ca)
        return (*tls, "-u", user, "-P", password, "-i", client)


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Iterator[Node]:
    """Running, with users."""
    need(*COMMANDS)
    if lacking := servers.missing():
        pytest.skip(f"not installed: {lacking}")
    node = Node(tmp_path_factory.mktemp("node"))
    try:
        node.cluster.start()
        node.add_users()
        yield node
    finally:
        node.cluster.end()


def published(node: Node, user: str, password: str, topic: str) -> bool:
    """Whether a message got its PUBACK."""
    where = node.where(user, password, f"{user}.r101.cam-1")
    command = ("timeout", "20", "mosquitto_pub", *where, "-q", "1", "-t", topic, "-m", "25")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_site_speaks_below_its_own_name_only(node):
    """And only with its password; guest is gone."""
    assert published(node, "north", SITES["north"], TOPIC + "/counts")
    assert not published(node, "south", SITES["south"], TOPIC + "/counts")
    assert not published(node, "north", "wrong", TOPIC + "/counts")
    assert not published(node, "guest", "guest", TOPIC + "/counts")


def test_a_new_password_takes_the_place_of_the_old(node):
    """A site's, from the vault; the others' stay."""
    assert "changed=1" in node.add_users(SITES | {"south": "another-password"})
    try:
        assert published(node, "south", "another-password", TOPIC.replace("north", "south") + "/counts")
        assert not published(node, "south", SITES["south"], TOPIC.replace("north", "south") + "/counts")
        assert published(node, "north", SITES["north"], TOPIC + "/counts")
    finally:
        node.add_users()


def test_a_page_gives_orders_and_says_nothing_else(node):
    """To the devices of every site."""
    assert published(node, "classpulse-page", PAGE, TOPIC + "/set")
    assert not published(node, "classpulse-page", PAGE, TOPIC + "/counts")
    assert not published(node, "classpulse-page", PAGE, TOPIC.rpartition("/")[0] + "/summary")


def test_a_second_run_adds_nobody(node):
    """Users that are there stay as they are."""
    assert "changed=0" in node.add_users()


def test_a_school_s_bridge_reaches_rabbitmq(node, tmp_path):
    """What a room says goes up, an order comes down; nothing goes round."""
    heard = tmp_path / "above"
    where = node.where("north", SITES["north"], "north.listener")
    # RabbitMQ gives `classpulse/#` to nobody who may not read all of it
    listen = [str(part).replace("classpulse/#", "classpulse/1/north/#") for part in subscription(where)]
    way = {"broker_bridge_to": [f"127.0.0.1:{node.port}"], "broker_bridge_password": SITES["north"]}
    school = School(tmp_path / "school", node, node.ca, **way)
    school.start()
    with heard.open("w") as file, subprocess.Popen(listen, stdout=file) as process:
        try:
            until(lambda: "north.bridge" in node.log.read_text(), "the bridge", 90)
            until(lambda: "north.listener" in node.log.read_text(), "the listener", 90)
            tell_until_heard(school, node, heard)
            assert sorted(heard.read_text().splitlines()) == [f"{TOPIC}/counts 25", f"{TOPIC}/set pause"]
        finally:
            process.kill()
            school.stop()
            print(school.log.read_text()[-2000:], node.log.read_text()[-2000:])


def tell_until_heard(school: School, node: Node, heard: Path) -> None:
    """One message up and one order down."""
    with school.listener() as below:
        school.publish("counts", "25")
        until(lambda: f"{TOPIC}/counts 25" in heard.read_text(), "the counts above", 60)
        where = node.where("north", SITES["north"], "north.page")
        subprocess.run(("mosquitto_pub", *where, "-q", "1", "-t", f"{TOPIC}/set", "-m", "pause"), check=True)
        until(lambda: f"{TOPIC}/set pause" in below(), "the order below", 60)
