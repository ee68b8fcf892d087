"""Rules of what cannot be read, and of tables that this code does not know."""

import re
from collections import Counter

import paho.mqtt.client as paho

from aggregator.store.postgresql import PostgresqlStore
from contract.topics import Device
from tests.cluster.fleet import Publisher


def publish(port: int, *messages: tuple[str, bytes]) -> None:
    """Publish and wait for each PUBACK."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "poisoner")
    client.username_pw_set("guest", "guest")
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def rejections(log: str) -> Counter[str]:
    """What a worker rejected, by reason."""
    counted: Counter[str] = Counter()
    for number, reason in re.findall(r"(\d+) x (\w+), the last on", log):
        counted[reason] += int(number)
    return counted


def dead(cluster) -> int:
    """Messages that were set aside."""
    rows = cluster.nodes[0].ctl("list_queues", "name", "messages", "--no-table-headers").split("\n")
    return next(int(row.split()[1]) for row in rows if row.startswith("classpulse.dead"))


def test_what_cannot_be_read_is_set_aside_and_counted_by_reason(site, cluster, wait_until):
    """A poison message goes to the dead-letter queue; those around it are stored."""
    device = Device(site.name, "room-0", "cam-0")
    good = Publisher(device, site.ports)
    (worker,) = site.at_work(1)
    before = dead(cluster)

    publish(
        site.ports[0],
        (device.topic("counts"), b"{"),
        (device.topic("counts"), b'{"schema":99}'),
        (f"classpulse/1/{site.name}/ROOM/cam/counts", b"{}"),
        (device.topic("state"), b"\xff"),
    )
    good.accept()
    wait_until(lambda: good.step() or not good.waits, "PUBACK", 60)
    good.leave()

    wait_until(lambda: dead(cluster) == before + 4, "four dead letters", 60)
    wait_until(lambda: site.windows({device.where}) == good.truth, "the good message in the store", 60)
    expected = Counter({"json": 1, "schema": 1, "topic": 1, "encoding": 1})
    wait_until(lambda: rejections(worker.said()) == expected, "rejections", 60)

    replayed = site.command("topology", "--replay")
    assert f"given again: {before + 4}" in replayed.stdout, replayed.stderr
    wait_until(lambda: rejections(worker.said()) >= expected + expected, "the same rejections again", 60)
    wait_until(lambda: dead(cluster) == before + 4, "dead letters again", 60)


def test_a_worker_older_than_the_tables_refuses_to_start(site, wait_until):
    """After a newer aggregator migrated the database, an older one says so and ends."""
    PostgresqlStore(site.database, site.folder).__exit__()
    with site.administration() as db:
        db.execute("UPDATE classpulse_schema SET version = version + 1")

    worker = site.worker().start()

    assert worker.process.wait(60) == 74
    assert "install the newer aggregator" in worker.said()


def test_declaring_again_changes_nothing(site, cluster):
    """`topology` may be run at every deployment."""
    listed = cluster.nodes[0].ctl("list_bindings")

    again = site.command("topology")

    assert again.returncode == 0, again.stderr
    assert sorted(cluster.nodes[0].ctl("list_bindings").split("\n")) == sorted(listed.split("\n"))
