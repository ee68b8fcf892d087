"""A small signed release of one module, which needs one package; and what the roles run to install it."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from release import manifest
from release.wheelhouse import installs
from tests.fleet.scripts import PROJECT

PLATFORM = "edge-py311-x86_64"
SITE = f"venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel of these files, as a build would write it."""
    info = f"{name}-{version}.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    records = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        records.append(f"{path},sha256={digest},{len(text)}\n")
    records.append(f"{info}/RECORD,,\n")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": "".join(records)}.items():
            wheel.writestr(zipfile.ZipInfo(path), text)  # the same bytes whenever it is written
    return folder / f"{name}-{version}-py3-none-any.whl"


def write_release(folder: Path, version: str, key: Path, *, pinned: str = "1.0", needed: str = "") -> Path:
    """The signed folder; `needed` is the needed module's text."""
    for part in ("models", "requirements", "packages"):
        (folder / part).mkdir(parents=True)
    (folder / "models/emotion.tflite").write_bytes(b"weights")
    wheels = [
        write_wheel(folder / "wheels", "needed", pinned, {"needed.py": needed or f"value = {pinned}\n"}),
        write_wheel(folder / "wheels", "classpulse", version, {"edge/__init__.py": f"version = '{version}'\n"}),
    ]
    pin = f"needed=={pinned} --hash=sha256:{manifest.sha256(wheels[0])}\n"
    (folder / "requirements/edge-py311.txt").write_text(pin)
    packages = {f"wheels/{wheel.name}": installs(wheel) for wheel in wheels}
    (folder / f"packages/{PLATFORM}.json").write_text(json.dumps(packages))
    (folder / "release.json").write_text(json.dumps({"version": version}))
    manifest.sign(folder, key)
    return folder


class Host:
    """A folder with the roles' scripts and the public key, as on a host; its releases are below `opt`."""

    def __init__(self, folder: Path, public: Path) -> None:
        self.base = folder / "opt"
        self._public = public
        self._scripts = folder
        folder.mkdir(exist_ok=True)
        shutil.copy(PROJECT / "ansible/roles/release/files/install_release.py", folder)
        shutil.copy(PROJECT / "release/verify.py", folder / "verify_release.py")

    def install(self, brought: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """What the roles run."""
        with self.start(brought, *options) as running:
            said = running.communicate()
        return subprocess.CompletedProcess(running.args, running.returncode, *said)

    def start(self, brought: Path, *options: str) -> subprocess.Popen[str]:
        """The same, which runs on."""
        command = [sys.executable, self._scripts / "install_release.py", brought, f"--base={self.base}", *options]
        command += [f"--platform={PLATFORM}", f"--key={self._public}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def installed(self, brought: Path) -> Path:
        """The folder of a release that was installed now, as the role leaves it."""
        done = self.install(brought)
        assert (done.returncode, done.stdout) == (0, "installed\n"), done.stdout + done.stderr
        folder = self.base / "releases" / json.loads((brought / "release.json").read_text())["version"]
        (folder / "edge.toml").write_text("what the role keeps with it")
        return folder

    def answer(self, version: str) -> str:
        """What an installed release's own Python finds."""
        python = self.base / f"releases/{version}/venv/bin/python"
        code = "import edge, needed; print(edge.version, needed.value)"
        return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
