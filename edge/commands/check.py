"""`classpulse-edge check`: everything that a lesson needs, tried once; a line each, and an exit status."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import cv2

from contract.topics import IDENTITY_CHARS
from edge.camera import open_camera
from edge.commands.faces import advice
from edge.config import EdgeConfig
from edge.health import throttled
from edge.lock import single_instance
from edge.uplink.connection import probe
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import HAAR_LIMIT, open_detector
from edge.vision.runtime import choose, fault, installed
from release.verify import KEY, in_program, refuse_older, verify
from service import config as files
from service.reference import commented
from service.tls import TOLD_DAYS, certificate_end

THROTTLING = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of the firmware's flags: what holds now; 16 bits higher, what has happened since the start."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.description = "Try everything that a lesson needs; the service must not be running, since it has the camera."
    parser.add_argument("--example", action="store_true", help="print a whole configuration with every key explained")
    brought = "instead of the release in use, verify the one in FOLDER, which was brought and is not yet installed"
    parser.add_argument("--release", type=Path, metavar="FOLDER", help=brought)
    parser.add_argument("--key", type=Path, default=KEY, help=f"the key that releases are signed with; default: {KEY}")
    parser.add_argument("--allow-unsigned", action="store_true", help="do not verify the release in use")
    parser.add_argument("--only", choices=CHECKS, help="try this alone")
    parser.add_argument(
        "--allow-older", action="store_true", help="take a release, or a model, older than the one in use"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 if every check is ok, else 1."""
    if arguments.example:
        print(commented(EdgeConfig, program="classpulse-edge"), end="")
        return 0
    if arguments.only:
        config = files.load(arguments.config, EdgeConfig)
        return 0 if report(arguments.only, partial(CHECKS[arguments.only], config)) else 1
    good = [report("system", system), report("config", partial(load, arguments.config))]
    if good[-1]:
        config = files.load(arguments.config, EdgeConfig)
        good.append(report("release", partial(release, config, arguments)))
        good += [report(name, partial(check, config)) for name, check in CHECKS.items()]
    good.append(report("throttling", lambda: throttling(throttled())))
    return 0 if all(good) else 1


def report(name: str, check: Callable[[], str]) -> bool:
    """Print a line of what `check` gives, or of the error that it raises; whether it was none."""
    try:
        print(f"ok   {name}: {check()}", flush=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"FAIL {name}: {error}", flush=True)
        return False
    return True


def system() -> str:
    """Python, OpenCV and 64 bits."""
    if sys.maxsize < 2**32:
        raise RuntimeError("32-bit Python: neither TFLite nor OpenCV has 32-bit ARM wheels; install the 64-bit system")
    python = ".".join(map(str, sys.version_info[:3]))
    return f"64-bit {os.uname().machine}, Python {python}, OpenCV {cv2.__version__}"


def load(path: Path) -> str:
    """The configuration can be used, and a certificate can name the device."""
    config = files.load(path, EdgeConfig)
    identity = config.device.identity
    if config.mqtt.tls and len(identity) > IDENTITY_CHARS:
        most = f"a certificate names at most {IDENTITY_CHARS}: choose shorter ids in [device]"
        raise ValueError(f"{path}: {identity} has {len(identity)} characters, {most}")
    return f"{path}: {identity}"


def release(config: EdgeConfig, arguments: argparse.Namespace) -> str:
    """Program and models are what was signed and belong to no older release; or a release that was brought does."""
    program = Path(sys.prefix).parent
    if arguments.release is not None:
        version = verify(arguments.release, arguments.key)
        if not arguments.allow_older and (program / "release.json").exists():
            refuse_older(version, program)
        return f"{arguments.release} is {version}, signed with {arguments.key}"
    used = {config.emotions.model: config.emotions.enabled, config.detector.model: config.detector.name == "yunet"}
    return in_program(
        program,
        [model for model, is_used in used.items() if is_used],
        arguments.key,
        allow_unsigned=arguments.allow_unsigned,
        allow_older=arguments.allow_older,
    )


def state(config: EdgeConfig) -> str:
    """The state folder can be written."""
    config.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.state):
        return f"{config.state} can be written"


def runtime(config: EdgeConfig) -> str:
    """A TFLite package is there and works; of two, the one that is used."""
    model = config.emotions.model if config.emotions.enabled else config.detector.model
    trial = partial(fault, model=model.read_bytes() if model.is_file() else b"")
    package = choose(config.runtime.package, installed(), trial)
    if why := trial(package):
        raise RuntimeError(f"{package} {why}")
    return package


def model(config: EdgeConfig) -> str:
    """The model and its card belong together and to this code."""
    if not config.emotions.enabled:
        return "emotions are switched off"
    runtime(config)  # a package that crashes must not be loaded here
    classifier = EmotionClassifier(config.emotions.model, config.runtime)
    return f"{config.emotions.model}: {classifier.card.short}, unsure below {classifier.card.unsure_below:g}"


def detector(config: EdgeConfig) -> str:
    """The detector opens."""
    if config.detector.name != "haar":
        runtime(config)
    open_detector(config.detector, config.runtime)
    return HAAR_LIMIT if config.detector.name == "haar" else config.detector.name


def camera(config: EdgeConfig) -> str:
    """The camera gives a frame; how many faces it shows and how large is told, the frame is neither shown nor kept."""
    runtime(config)
    with single_instance(config.state), open_camera(config.camera, config.detector) as source:
        for frame in source:
            height, width = frame.image.shape[:2]
            boxes = open_detector(config.detector, config.runtime).detect(frame)
            faces = advice([bottom - top for _, top, _, bottom in boxes], config.detector.min_face_px)
            return f"{config.camera.source} gives {width}x{height}; in one picture: {faces}"
    raise RuntimeError(f"{config.camera.source} ended without a frame")


def broker(config: EdgeConfig) -> str:
    """The broker lets this device in."""
    # beside the service it is not asked: a fleet's broker has one connection per certificate, and `lost` would be said
    with single_instance(config.state):
        return probe(config)


def certificate(config: EdgeConfig) -> str:
    """The certificate that the broker knows this device by goes on for two weeks."""
    path = config.credentials / "device.crt"
    end = certificate_end(path) if config.mqtt.tls else None
    if end is None:
        return "none"
    if end - datetime.now(UTC) < timedelta(days=TOLD_DAYS):
        raise RuntimeError(f"{path} ends on {end:%Y-%m-%d}: run site.yml for this device, which renews it")
    return f"ends on {end:%Y-%m-%d}"


def clock(config: EdgeConfig) -> str:
    """The clock is synchronised, or is not waited for."""
    if config.clock.synchronized.exists():
        return "synchronised"
    if config.clock_wait_s == 0:
        return "not synchronised, and not waited for"
    raise RuntimeError(
        f"not synchronised ({config.clock.synchronized} does not exist): messages wait {config.clock.wait_s:g} s "
        "and are then marked unsynced, part of no lesson"
    )


def throttling(flags: str | None) -> str:
    """The Pi runs at full speed.

    Args:
        flags: Of get_throttled, hexadecimal; None on another machine.

    Source: Raspberry Pi documentation, vcgencmd get_throttled.
    """
    if flags is None:
        return "not a Raspberry Pi"
    bits = int(flags, 16)
    now = [name for bit, name in enumerate(THROTTLING) if bits >> bit & 1]
    before = [name for bit, name in enumerate(THROTTLING) if bits >> 16 + bit & 1]
    if now:
        raise RuntimeError(f"{', '.join(now)} now ({flags}): see to power supply and cooling")
    return f"none now; since the start: {', '.join(before) or 'none'} ({flags})"


CHECKS: dict[str, Callable[[EdgeConfig], str]] = {
    "state": state,
    "runtime": runtime,
    "model": model,
    "detector": detector,
    "camera": camera,
    "certificate": certificate,
    "broker": broker,
    "clock": clock,
}
"""In the order in which they are reported."""
