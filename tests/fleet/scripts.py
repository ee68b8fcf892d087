"""What the roles bring to hosts as single files, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from release import verify

PROJECT = Path(__file__).parents[2]


def _script(where: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"{where}/{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.modules["verify_release"] = verify  # the name that the roles give it on a host
install_release = _script("ansible/roles/release/files", "install_release")
seen = _script("ansible/files", "seen")
