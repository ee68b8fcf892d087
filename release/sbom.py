"""What a release is made of, as CycloneDX: the project, every wheel of every platform, every model."""

import re
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from release.manifest import sha256

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def write(path: Path, version: str, pins: list[Path], models: list[Path]) -> None:
    """Write the CycloneDX 1.6 file for requirement files `pins` and model files; it is checked against its schema."""
    bom = Bom()
    bom.metadata.component = Component(
        name="classpulse", version=version, type=ComponentType.APPLICATION, bom_ref="classpulse"
    )
    wheels = {(name, number): hashes for file in pins for name, number, hashes in _pinned(file.read_text())}
    for (name, number), hashes in sorted(wheels.items()):
        bom.components.add(_wheel(name, number, hashes))
    for model in models:
        bom.components.add(_model(model, version))
    bom.register_dependency(bom.metadata.component, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ValueError(f"the SBOM is not valid: {wrong}")
    path.write_text(text)


def _pinned(text: str) -> list[tuple[str, str, list[str]]]:
    """Name, version and accepted hashes of each line of a hash-pinned requirement file."""
    entries = []
    for block in text.replace("\\\n", " ").splitlines():
        pin = _PIN.match(block)
        if pin is not None:
            entries.append((pin[1], pin[2], _HASH.findall(block)))
    return entries


def _wheel(name: str, version: str, hashes: list[str]) -> Component:
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name, version=version),
        bom_ref=f"{name}@{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in hashes],
    )


def _model(path: Path, version: str) -> Component:
    digest = HashType(alg=HashAlgorithm.SHA_256, content=sha256(path))
    kind = ComponentType.MACHINE_LEARNING_MODEL
    return Component(name=path.name, version=version, type=kind, bom_ref=path.name, hashes=[digest])
