"""Rules of a cluster that is reached by TLS: over amqps and PostgreSQL's own, with an authority that is known."""

import json
import re
import shutil
from pathlib import Path

import pytest

from contract.topics import Device
from tests.cluster.fleet import Publisher
from tests.cluster.keys import authority

pytestmark = pytest.mark.timeout(300)
PASSWORD = "guarded-by-this"  # noqa: S105 - of this test's own database


class Secured:
    """A site whose configuration asks for TLS on both ways, and for the password of a user who may not come without."""

    def __init__(self, site) -> None:
        self.site = site
        self.file: Path = site.file
        for name, text in (("amqp-password", "guest"), ("postgresql-password", PASSWORD)):
            (site.folder / name).write_text(text)
        self.trust(site.cluster.keys)
        plain, secure = json.dumps(site.cluster.amqp_hosts), [f"127.0.0.1:{node.amqps}" for node in site.cluster.nodes]
        amqp, postgresql = self.file.read_text().split("[amqp]")[1].split("[postgresql]")
        self.change(amqp, amqp.replace(plain, json.dumps(secure)).replace("tls = false\n", ""))
        self.change(postgresql, postgresql.replace("tls = false\n", 'user = "guarded"\n'))

    def trust(self, keys: Path, *more: str) -> None:
        """Give the workers the authority of `keys`, and `more` of its files."""
        for name in ("ca.crt", *more):
            shutil.copy(keys / name, self.site.folder)

    def change(self, old: str, new: str) -> None:
        """In the configuration."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))


@pytest.fixture
def secured(site) -> Secured:
    """With the right authority and names; nobody runs."""
    with site.administration() as db:
        if not db.execute("SELECT FROM pg_roles WHERE rolname = 'guarded'").fetchall():
            db.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
        db.execute("GRANT ALL ON SCHEMA public TO guarded")
    return Secured(site)


@pytest.mark.parametrize("shown", [(), ("aggregator.crt", "aggregator.key")], ids=["password", "certificate"])
def test_a_worker_stores_over_tls(secured, wait_until, shown):
    """With its password alone, and with a certificate of its own besides."""
    site = secured.site
    secured.trust(site.cluster.keys, *shown)
    declared = site.command("topology")
    assert declared.returncode == 0, declared.stderr

    site.at_work(1)
    publisher = Publisher(Device(site.name, "room-0", "cam-0"), site.ports)
    for _ in range(20):
        publisher.accept()
    wait_until(lambda: publisher.step() or not publisher.waits, "PUBACKs", 120)
    publisher.leave()

    wait_until(lambda: site.windows({publisher.device.where}) == publisher.truth, "windows", 60)
    with site.administration() as db:
        used = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'guarded'"
        assert db.execute(used).fetchall() == [(True,)]


def test_a_database_of_a_foreign_authority_is_refused(secured, tmp_path):
    """A worker ends with the name of the key to look at."""
    secured.trust(authority(tmp_path / "foreign"))

    worker = secured.site.worker().start()

    assert worker.process.wait(120) == 74
    assert re.search(r"\[postgresql\] host .*certificate verify failed.*ca\.crt", worker.said()), worker.said()


def test_a_database_under_another_name_is_refused(secured):
    """The certificate has to bear [postgresql] host."""
    before, after = secured.file.read_text().split("[postgresql]")
    secured.change(after, after.replace("127.0.0.1", "localhost"))
    assert before

    worker = secured.site.worker().start()

    assert worker.process.wait(120) == 74
    assert re.search(r"\[postgresql\] host .*does not match host name \"localhost\"", worker.said()), worker.said()


def test_a_node_of_a_foreign_authority_is_refused(secured, tmp_path, wait_until):
    """A worker says so and goes on trying; `topology` ends."""
    foreign = authority(tmp_path / "foreign")
    (worker,) = secured.site.at_work(1)
    worker.kill9()
    worker.log.unlink()
    # the database's authority stays: the connection to it is the first
    secured.change("[postgresql]\n", "[postgresql]\ntls = false\n")
    secured.change('user = "guarded"\n', "")
    secured.trust(foreign)

    declared = secured.site.command("topology")
    worker.start()

    assert declared.returncode == 74
    said = r"\[amqp\] hosts .*certificate verify failed.*ca\.crt"
    assert re.search(said, declared.stderr), declared.stderr
    wait_until(lambda: re.search(said, worker.said()), "the worker's word", 60)
    worker.check()


def test_a_node_under_another_name_is_refused(secured):
    """The certificate has to bear the name in [amqp] hosts."""
    port = secured.site.cluster.nodes[0].amqps
    amqp = secured.file.read_text().split("hosts = ")[1].split("\n")[0]
    secured.change(amqp, f'["localhost:{port}"]')

    declared = secured.site.command("topology")

    assert declared.returncode == 74
    assert re.search(r"\[amqp\] hosts .*localhost.*(mismatch|not valid for)", declared.stderr), declared.stderr


def test_a_client_certificate_of_a_foreign_authority_is_refused(secured, tmp_path):
    """A node that looks at them takes none that it does not know."""
    foreign = authority(tmp_path / "foreign")
    for name in ("aggregator.crt", "aggregator.key"):
        shutil.copy(foreign / name, secured.site.folder)

    declared = secured.site.command("topology")

    assert declared.returncode == 74
    assert "[amqp] hosts" in declared.stderr
