"""Build a signed release folder: `python -m release --out dist --key KEY`."""

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from release import manifest, sbom, verify, wheelhouse

ROOT = Path(__file__).parents[1]
PLATFORMS = (
    "edge-py311-aarch64",
    "edge-py313-aarch64",
    "aggregator-py311-aarch64",
    "aggregator-py313-aarch64",
    "aggregator-py311-x86_64",
    "aggregator-py313-x86_64",
)
"""Raspberry Pis in rooms; a Pi or a PC beside the broker; Debian 12 and 13."""
MODELS = ("emotion_int8.tflite", "emotion_int8.json", "yunet.tflite", "yunet.json")


def build(source: Path, out: Path, key: Path, platforms: list[str]) -> Path:
    """The signed folder `out`/classpulse-<version>, made anew from the checkout `source`.

    Raises:
        ReleaseError: If a model is not the one of its card, or the public key beside `key` is not its other half.
    """
    version = tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"]
    folder = out / f"classpulse-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("models", "requirements", "packages", "wheels"):
        (folder / part).mkdir(parents=True)
    _copy_models(source, folder / "models")
    ours = wheelhouse.build_wheel(source, folder / "wheels")
    for platform in map(wheelhouse.Platform.from_name, platforms):
        copied = folder / "requirements" / f"{platform.pins}.txt"
        shutil.copy(source / "requirements" / copied.name, copied)
        wheels = wheelhouse.fetch(platform, copied, folder / "wheels")
        packages = {f"wheels/{wheel.name}": wheelhouse.installs(wheel) for wheel in [*wheels, ours]}
        verify.plain(name for wheel in packages.values() for name in wheel)
        (folder / f"packages/{platform.name}.json").write_text(json.dumps(packages, indent=0) + "\n")
        print(f"{platform.name}: {len(wheels)} wheels")
    pins = sorted((folder / "requirements").glob("*.txt"))
    sbom.write(folder / "sbom.cdx.json", version, pins, [folder / "models" / name for name in MODELS])
    (folder / "release.json").write_text(json.dumps(_facts(source, folder, version), indent=1) + "\n")
    manifest.sign(folder, key)
    verify.verify(folder, key.with_suffix(".pub"))  # that is what devices get: is it this key's other half?
    return folder


def _copy_models(source: Path, folder: Path) -> None:
    for name in MODELS:
        shutil.copy(source / "models" / name, folder / name)
    shutil.copy(source / "release/yunet.LICENSE", folder)
    for card in folder.glob("*.json"):
        stated, found = json.loads(card.read_text())["sha256"], manifest.sha256(card.with_suffix(".tflite"))
        if stated != found:
            told = f"{card.stem}.tflite has SHA-256 {found[:8]}, but its card {card.name} is of {stated[:8]}"
            raise verify.ReleaseError(f"models/{told}: put the card and the model of one conversion there")


def _facts(source: Path, folder: Path, version: str) -> dict[str, str]:
    git = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "version": version,
        "commit": commit or "unknown",
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": manifest.sha256(folder / "models" / MODELS[0]),
    }


def main() -> int:
    """Build; make a key first where there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--key", type=Path, required=True, help="Ed25519, PEM; made with its .pub beside it if missing")
    parser.add_argument("--platform", action="append", help=f"default: {' '.join(PLATFORMS)}")
    arguments = parser.parse_args()
    missing = [name for name in MODELS if not (arguments.source / "models" / name).exists()]
    if missing:
        print(f"release: models/{missing[0]} is missing (make models)", file=sys.stderr)
        return 1
    if not arguments.key.exists():
        manifest.write_key(arguments.key)
        print(f"new release key {arguments.key}: keep it safe, and give its .pub to the inventory")
    try:
        print(build(arguments.source, arguments.out, arguments.key, arguments.platform or list(PLATFORMS)))
    except (verify.ReleaseError, FileNotFoundError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
