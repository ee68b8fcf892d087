"""The demonstration's configurations are ones that the daemons accept."""

import socket
from pathlib import Path

from aggregator.config import AggregatorConfig
from demo import settings
from demo.options import Options
from edge.config import EdgeConfig
from service.config import load

OPTIONS = Options(broker="broker.lan:1884", min_faces=2)


def test_the_daemon_accepts_its_configuration(tmp_path: Path):
    """Names with quotes and backslashes reach the camera as they are; the options reach their keys."""
    path = tmp_path / "edge.toml"
    source = 'file:/tmp/the "best"\\class ä.mp4'

    path.write_text(settings.edge(OPTIONS, "haar", source, tmp_path))

    config = load(path, EdgeConfig)
    assert (config.camera.source, config.camera.loop, config.detector.name) == (source, True, "haar")
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls) == ("broker.lan", 1884, False)
    assert (config.publish.min_faces, config.state) == (2, tmp_path / "edge")


def test_the_aggregator_accepts_its_configuration(tmp_path: Path):
    """It listens to the same broker and site."""
    path = tmp_path / "aggregator.toml"

    path.write_text(settings.aggregator(OPTIONS, 8081))

    config = load(path, AggregatorConfig)
    assert (config.site, config.mqtt.host, config.mqtt.port) == (settings.DEVICE.site, "broker.lan", 1884)
    assert (config.page.host, config.page.port) == ("127.0.0.1", 8081)


def test_without_a_word_the_daemons_own_min_faces_holds():
    """The demonstration does not lower what protects a class."""
    assert settings.min_faces(Options()) == 5


def test_the_usual_port_is_taken_if_it_is_free():
    """People and tools find it there."""
    with socket.socket() as probe:
        probe.bind((settings.HOST, 0))
        free = probe.getsockname()[1]

    assert settings.free_port(free) == free


def test_a_port_in_use_is_left_alone():
    """Another one is found, on which something can listen."""
    with socket.socket() as other, socket.socket() as ours:
        other.bind((settings.HOST, 0))
        other.listen()

        port = settings.free_port(other.getsockname()[1])

        assert port != other.getsockname()[1]
        ours.bind((settings.HOST, port))
