"""`check`: a line for everything that a lesson needs, and an exit status."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.commands import check
from edge.lock import single_instance
from edge.vision.runtime import installed
from tests.device import edge_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, dict[str, str]]]:
    """`run(config, *options)`: exit status, and each check's line by its name."""

    def command(config: Path, *options: str) -> tuple[int, dict[str, str]]:
        parser = argparse.ArgumentParser()
        check.configure(parser)
        arguments = parser.parse_args(["--key", str(config.with_name("release.pub")), *options])
        arguments.config = config
        status = check.run(arguments)
        lines = capsys.readouterr().out.splitlines()
        return status, {line.split(":")[0].split()[1]: line for line in lines}

    return command


def test_every_part_has_a_line_and_one_failure_is_exit_status_1(run, edge_toml, astronaut_file):
    """Without a broker all else is still tried."""
    status, lines = run(edge_toml(f"file:{astronaut_file}"))

    assert status == 1
    assert list(lines) == [
        *(
            "system",
            "config",
            "release",
            "state",
            "runtime",
            "model",
            "detector",
            "camera",
            "certificate",
            "broker",
            "clock",
        ),
        "throttling",
    ]
    assert {name for name, line in lines.items() if line.startswith("FAIL ")} == {"broker"}
    gives = (
        f"ok   camera: file:{astronaut_file} gives 512x512; in one picture: 1 face, all large enough (the smallest is "
    )
    assert lines["camera"].startswith(gives)
    assert lines["camera"].endswith(" px high, 20 are needed)")
    assert "127.0.0.1:1: " in lines["broker"]


def test_a_configuration_that_cannot_be_used_is_told_and_nothing_else_tried(run, tmp_path):
    """The line names file and key."""
    path = tmp_path / "edge.toml"
    path.write_text("[cameras]\n")

    status, lines = run(path)

    assert status == 1
    assert lines["config"].startswith(f"FAIL config: {path}: unknown key cameras")
    assert list(lines) == ["system", "config", "throttling"]


def test_each_failure_has_its_reason_on_its_own_line(run, edge_toml, tmp_path):
    """Missing camera, model, detector file and clock, all in one run."""
    path = edge_toml(
        "usb:97",
        emotions=f'model = "{tmp_path / "none.tflite"}"',
        detector=f'model = "{tmp_path / "none.onnx"}"',
        clock=f'synchronized = "{tmp_path / "never"}"',
    )

    _, lines = run(path)

    for name, reason in {
        "camera": "/dev/video97 does not exist",
        "model": "none.json: No such file",
        "detector": "make models",
        "clock": "not synchronised",
    }.items():
        assert lines[name].startswith("FAIL ")
        assert reason in lines[name]


def test_a_clone_is_no_release_and_nothing_is_verified(run, edge_toml):
    """A device has a key to verify with; a laptop has none. tests/fleet/test_release.py has the device's side."""
    _, lines = run(edge_toml("usb:97"))

    assert lines["release"].startswith("ok   release: not installed from one")


def test_where_there_is_a_key_an_unsigned_program_is_refused_unless_told_so(run, edge_toml, tmp_path):
    """The line names the file and what to do."""
    (tmp_path / "release.pub").write_text("a key")
    path = edge_toml("usb:97")

    assert run(path)[1]["release"].startswith(f"FAIL release: {Path(sys.prefix).parent}/SHA256SUMS is missing: install")
    assert run(path, "--allow-unsigned")[1]["release"] == "ok   release: not verified, as you said"


@pytest.mark.parametrize(("room", "tls", "good"), [(32, True, False), (30, True, True), (32, False, True)])
def test_an_identity_that_no_certificate_can_name_is_refused(run, edge_toml, room, tls, good):
    """64 characters with the slashes, where the broker knows devices by certificates."""
    ids = f'site = "{"s" * 16}"\nroom = "{"r" * room}"\ndevice = "{"d" * 16}"'
    mqtt = f'host = "127.0.0.1"\nport = 1\ntls = {str(tls).lower()}'

    _, lines = run(edge_toml("usb:97", device=ids, mqtt=mqtt))

    assert lines["config"].startswith("ok ") is good
    assert good or "has 66 characters, a certificate names at most 64" in lines["config"]


def test_a_running_service_keeps_camera_and_connection(run, edge_toml, astronaut_file, tmp_path):
    """Said plainly, instead of a driver's error and of a connection that the broker takes from the service."""
    with single_instance(tmp_path / "state"), socket.create_server(("127.0.0.1", 0)) as listener:
        mqtt = f'host = "127.0.0.1"\nport = {listener.getsockname()[1]}\ntls = false'
        _, lines = run(edge_toml(f"file:{astronaut_file}", mqtt=mqtt))
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()

    assert "stop the service first" in lines["camera"]
    assert "stop the service first" in lines["broker"]


def test_with_emotions_off_no_model_is_needed(run, edge_toml, tmp_path):
    """A site that counts faces only; YuNet needs the runtime."""
    _, lines = run(edge_toml("usb:97", emotions=f'enabled = false\nmodel = "{tmp_path / "none.tflite"}"'))

    assert lines["model"] == "ok   model: emotions are switched off"
    assert lines["runtime"] == f"ok   runtime: {installed()[0]}"


def test_haar_is_told_to_see_the_front_row_at_most(run, edge_toml):
    """Nobody takes it for YuNet."""
    _, lines = run(edge_toml("usb:97", detector='name = "haar"'))

    assert lines["detector"].startswith("ok   detector: haar: it sees the front row at most")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise ImportError('numpy.core.multiarray failed')", "cannot be loaded: numpy.core.multiarray failed"),
        ("import os; os.abort()", "crashes here (signal 6)"),
    ],
)
def test_a_runtime_that_cannot_be_loaded_fails_with_one_line(edge_toml, tmp_path, fault, told):
    """Such as one beside a numpy that it was not made for, or for another processor: never a traceback or a crash."""
    package = tmp_path / "packages" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(f"import sys; print('Traceback', file=sys.stderr); {fault}")
    command = [
        sys.executable,
        "-m",
        "edge",
        "--config",
        edge_toml("usb:97", runtime='package = "tflite_runtime"'),
        "check",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{package.parent}:{ROOT}"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    lines = {line.split(":")[0].split()[1]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1
    assert lines["runtime"] == f"FAIL runtime: tflite_runtime {told}"
    assert lines["model"] == f"FAIL model: tflite_runtime {told}"
    assert "Traceback" not in done.stderr


def test_a_port_where_no_broker_answers_is_no_broker(run, edge_toml):
    """A TCP connection alone is not enough."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        deaf.listen()
        deaf.settimeout(5)
        mqtt = f'host = "127.0.0.1"\nport = {port}\ntls = false\nkeepalive_s = 5'
        _, lines = run(edge_toml("usb:97", mqtt=mqtt))

    assert lines["broker"].startswith("FAIL broker: 127.0.0.1:")


def test_a_state_folder_that_cannot_be_written_is_told(run, edge_toml, tmp_path):
    """Here a file stands in its place."""
    (tmp_path / "state").write_text("in the way")

    _, lines = run(edge_toml("usb:97"))

    assert lines["state"].startswith("FAIL state: ")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (None, "not a Raspberry Pi"),
        ("0x0", "none now; since the start: none (0x0)"),
        ("0x50000", "none now; since the start: under-voltage, throttled (0x50000)"),
    ],
)
def test_throttling_that_is_over_is_told(flags, told):
    """Bits 16 to 19 say what has been."""
    assert check.throttling(flags) == told


def test_throttling_that_holds_now_fails():
    """Bits 0 to 3: a weak power supply makes a slow lesson."""
    with pytest.raises(RuntimeError, match=r"under-voltage, throttled now \(0x50005\)"):
        check.throttling("0x50005")


def test_this_python_is_64_bit():
    """Where these tests run at all, it is."""
    assert sys.maxsize > 2**32
    assert check.system().startswith("64-bit ")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_a_certificate_that_ends_soon_is_told(tmp_path):
    """Two weeks before, with what renews it."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    new += ["-subj", "/CN=cam", "-keyout", "device.key", "-out", "device.crt"]
    device = edge_config(credentials=tmp_path)
    assert check.certificate(device) == "none"
    (tmp_path / "device.crt").write_text("?")
    with pytest.raises(OSError, match=r"device\.crt is no certificate"):
        check.certificate(device)

    subprocess.run([*new, "-days", "16"], cwd=tmp_path, check=True, capture_output=True)
    assert check.certificate(device).startswith("ends on 2")

    subprocess.run([*new, "-days", "13"], cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(RuntimeError, match=r"device\.crt ends on \S+: run site\.yml"):
        check.certificate(device)
