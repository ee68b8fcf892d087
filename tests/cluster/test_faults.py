"""Rules of a cluster whose parts are killed, frozen and restarted: nothing is lost and nothing counted twice."""

import socket
import time

import psycopg
import pytest

from aggregator.config import AmqpConfig
from aggregator.ingest.amqp import AmqpSource, declare_topology
from contract.topics import Device
from tests.cluster.fleet import Fleet, Publisher, fleet_of
from tests.needs import moved_clock

pytestmark = pytest.mark.timeout(900)
_LONG_S = 240
"""A node that starts on a busy machine."""


class Scene:
    """A fleet at work, and what the database has made of it."""

    def __init__(self, site, fleet: Fleet, wait_until) -> None:
        self.site, self.fleet, self.wait_until = site, fleet, wait_until

    def stored(self) -> int:
        """Names of messages in the database."""
        settings = self.site.database
        with psycopg.connect(
            host=settings.host, port=settings.port, dbname=settings.database, user=settings.user, connect_timeout=60
        ) as db:
            return int(db.execute("SELECT count(*) FROM messages").fetchall()[0][0])

    def flows(self) -> None:
        """Until brokers take messages and workers commit them."""
        confirmed, stored = self.fleet.confirmed, self.stored()
        self.wait_until(lambda: self.fleet.confirmed > confirmed + 60, "PUBACKs", _LONG_S)
        self.wait_until(lambda: self.stored() > stored + 60, "commits", _LONG_S)

    def comes_true(self) -> None:
        """Until every window equals the truth; then each message is there once."""
        self.fleet.producing = False
        self.wait_until(lambda: self.fleet.settled, "PUBACK of everything", _LONG_S)
        truth = self.fleet.truth()
        rooms = {publisher.device.where for publisher in self.fleet.publishers}
        self.wait_until(lambda: self.stored() >= self.fleet.accepted, "every message in the database", _LONG_S)
        assert self.stored() == self.fleet.accepted
        assert self.site.windows(rooms) == truth


def test_every_window_equals_the_truth_whatever_is_killed(site, cluster, postgres, wait_until):
    """Workers, nodes and the database go and come back under 60 devices that reconnect and resend."""
    first, second = site.at_work(2)
    with fleet_of(site.name, 60, site.ports) as fleet:
        scene = Scene(site, fleet, wait_until)
        wait_until(lambda: scene.fleet.confirmed > 60, "the first PUBACKs", _LONG_S)
        scene.flows()

        first.kill9()
        scene.flows()
        first.start()

        for node in cluster.nodes:
            node.kill9()
            scene.flows()
            node.start()
            scene.flows()

        cluster.nodes[1].sigstop()
        time.sleep(25)  # longer than the others wait for it
        scene.flows()
        cluster.nodes[1].sigcont()
        scene.flows()

        postgres.stop()
        time.sleep(3)
        postgres.start()
        scene.flows()
        postgres.crash()
        postgres.start()
        scene.flows()

        scene.comes_true()
        first.check()
        second.check()
    assert sum(publisher.reconnects for publisher in fleet.publishers) > 60, "the faults were felt"


def test_a_cluster_that_was_stopped_goes_on(site, cluster, postgres, wait_until):
    """By the runbook: workers, nodes and database stop; the node that stopped last starts first; nothing is missing."""
    (worker,) = site.at_work(1)
    with fleet_of(site.name, 20, site.ports) as fleet:
        scene = Scene(site, fleet, wait_until)
        wait_until(lambda: scene.fleet.confirmed > 20, "the first PUBACKs", _LONG_S)
        scene.flows()

        assert worker.stop() == 0
        before = fleet.confirmed
        wait_until(lambda: fleet.confirmed > before + 60, "messages that wait in the queues", _LONG_S)
        for node in reversed(cluster.nodes):
            node.stop()
        postgres.stop()

        postgres.start()
        for node in cluster.nodes:
            node.start()
        worker.start()

        scene.flows()
        scene.comes_true()


@pytest.mark.parametrize(
    ("alarm", "clear"),
    [
        (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "absolute", "2GB")),
        (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "20MB")),
    ],
    ids=["memory", "disk"],
)
def test_a_broker_that_runs_short_stops_publishers_and_loses_nothing(site, cluster, wait_until, alarm, clear):
    """While a node raises the alarm no connection that published is read from, and afterwards all arrives.

    A new connection would bring its first messages in, so these devices keep theirs.
    """
    site.at_work(1)
    with fleet_of(site.name, 20, site.ports, answer_s=60.0, restless=0.0) as fleet:
        scene = Scene(site, fleet, wait_until)
        wait_until(lambda: scene.fleet.confirmed > 20, "the first PUBACKs", _LONG_S)
        scene.flows()

        cluster.nodes[0].ctl(*alarm)
        try:
            time.sleep(5)
            confirmed, accepted = fleet.confirmed, fleet.accepted
            time.sleep(8)
            assert fleet.confirmed == confirmed
            assert fleet.accepted > accepted + 20, "devices go on counting"
        finally:
            cluster.nodes[0].ctl(*clear)

        scene.flows()
        scene.comes_true()


def test_a_node_that_accepts_and_says_nothing_is_left(tmp_path):
    """A frozen machine's kernel still takes connections: that ends neither a worker nor its patience."""
    (tmp_path / "amqp-password").write_text("guest")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = AmqpConfig(hosts=(f"127.0.0.1:{silent.getsockname()[1]}",), tls=False, username="guest")

        with pytest.raises(OSError, match=r"no node in .* answers"):
            declare_topology(config, tmp_path)
        with AmqpSource(config, tmp_path) as source:
            source.serve(1.0)
            assert not source.connected


def test_a_worker_whose_clock_is_wrong_ends_and_one_that_is_little_ahead_is_told(site, tmp_path, wait_until):
    """Days ahead, it would freeze every device's state for all workers, and set good messages aside as too old."""
    offset = tmp_path / "offset"
    offset.write_text("+10")
    clock = moved_clock(offset)
    running = site.worker().start(**clock)
    wait_until(lambda: "clock is 10 s ahead of the database's" in running.said(), "the warning", 60)
    wait_until(lambda: "connected to the node" in running.said(), "the worker at work", 60)

    offset.write_text("+8d")

    assert running.process.wait(60) == 74
    assert "clock is 691200 s ahead of the database's; set the wrong one" in running.said()
    offset.write_text("-8d")
    late = site.worker().start(**clock)
    assert late.process.wait(60) == 74
    assert "clock is 691200 s behind the database's; set the wrong one" in late.said()
    assert "connected to the node" not in late.said()


def test_what_a_node_takes_back_after_its_consumer_timeout_comes_again(cluster, site):
    """After a long outage of the database the node closes the channel; the connection stays, so nobody would notice."""
    site.command("topology")
    timeouts(cluster, consumer_timeout=1000, channel_tick_interval=1000)
    try:
        with AmqpSource(site.config.amqp, site.folder) as source:
            device = Device(site.name, "room-0", "cam-0")
            publisher = Publisher(device, site.ports)
            publisher.accept()
            seen, deadline = [], time.monotonic() + 60
            for messages, _acknowledge in source.batches():
                publisher.step()
                seen += [message.payload for message in messages]
                if len(seen) >= 2 or time.monotonic() > deadline:
                    break
            publisher.leave()
    finally:
        timeouts(cluster, consumer_timeout=1_800_000, channel_tick_interval=60_000)  # as they are by default

    assert seen[:1] * 2 == seen


def timeouts(cluster, **values_ms: int) -> None:
    """Set them at every node, for channels that are opened from now on."""
    for node in cluster.nodes:
        for key, value in values_ms.items():
            node.ctl("eval", f"application:set_env(rabbit, {key}, {value}).")
