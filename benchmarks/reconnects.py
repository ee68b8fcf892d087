"""How long a whole fleet needs to count again after every node of a cluster was killed.

    python -m benchmarks.reconnects [--devices 2000] [--rate 1]

Three RabbitMQ nodes and the simulated devices run on this machine, each device with its own connection, its
subscriptions and one message a second, which wait in it while there is no broker. The nodes are killed together and
started again. A device counts again when one of its messages has its PUBACK.
"""

import argparse
import resource
import sys
import time

from benchmarks import machine
from benchmarks.fleet.connection import ConnectionOptions
from benchmarks.fleet.connections import Connections
from benchmarks.fleet.devices import Fleet, Plan
from edge.config import MqttConfig
from tests.cluster import servers

_STEADY_S = 20.0
"""Of ordinary running, before the nodes are killed."""
_GIVE_UP_S = 900.0
_SHARES = (0.5, 0.9, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=1.0, help="messages per second of each")
    arguments = parser.parse_args()
    if lacking := servers.missing():
        sys.exit(f"benchmarks.reconnects: {lacking}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(machine.describe())
    print(f"three nodes, {arguments.devices} devices, each {arguments.rate:g} messages/s", flush=True)
    with servers.public_folder() as folder:
        cluster = servers.Cluster(folder / "rabbitmq")
        try:
            measure(cluster.start(), arguments.devices, arguments.rate)
        finally:
            cluster.end()


def measure(cluster: servers.Cluster, devices: int, rate: float) -> None:
    """The first connection, ordinary running, and the return after all nodes were killed."""
    brokers = tuple(MqttConfig(host="127.0.0.1", port=node.mqtt, tls=False) for node in cluster.nodes)
    fleet = Fleet(Plan(devices=devices, rate_hz=rate, frames=1, messages=sys.maxsize))
    with Connections(fleet, ConnectionOptions(brokers, None, None, "puback", 60.0), devices, 0.0) as connections:
        began = time.monotonic()
        while connections.accepted < devices:
            connections.poll(0.05)
            if time.monotonic() - began > _GIVE_UP_S:
                sys.exit(f"benchmarks.reconnects: {connections.accepted} of {devices} connected")
        first_s = time.monotonic() - began
        print(f"sessions made for all: {first_s:.0f} s, {devices / first_s:.0f} devices/s", flush=True)
        fleet.begin(time.time())
        run(fleet, connections, time.monotonic() + _STEADY_S)
        acknowledged = connections.stats.acknowledged
        print(f"ordinary running: {acknowledged / _STEADY_S:.0f} messages/s acknowledged", flush=True)
        killed = time.monotonic()
        for node in cluster.nodes:
            node.kill9()
        for node in cluster.nodes:
            node.spawn_node()
        report(fleet, connections, cluster, killed)
        for why, times in connections.stats.failures.most_common(5):
            print(f"  {times} x {why}")


def report(fleet: Fleet, connections: Connections, cluster: servers.Cluster, killed: float) -> None:
    """When which share of the devices counts again."""
    wanted, served_s = list(_SHARES), 0.0
    while wanted:
        now = time.monotonic()
        run(fleet, connections, now + 0.5)
        if not served_s and all(node.answers() for node in cluster.nodes):
            served_s = now - killed
            print(f"all nodes answer again {served_s:.0f} s after they were killed", flush=True)
        counting = connections.counting_since(killed) / fleet.plan.devices
        while wanted and counting >= wanted[0]:
            print(f"{wanted.pop(0):.0%} of the devices count again: {now - killed:.0f} s after the kill", flush=True)
        if now - killed > _GIVE_UP_S:
            sys.exit(f"benchmarks.reconnects: {counting:.0%} count again after {_GIVE_UP_S:.0f} s")


def run(fleet: Fleet, connections: Connections, until: float) -> None:
    """Publish and serve the network."""
    while time.monotonic() < until:
        for message in fleet.due(time.time(), 200):
            connections.send(message)
        connections.poll(0.01)


if __name__ == "__main__":
    main()
