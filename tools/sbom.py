"""Write a software bill of materials: what the server runs on, from the pins and the installed packages.

CycloneDX 1.6 (ECMA-424), the same for the same pins: no time, no serial number.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements.txt"

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
}
"""Names that older packages give their licences, and SPDX's. A bare BSD is the one with three clauses."""


@dataclass(frozen=True)
class Package:
    """A package that the server runs on.

    Attributes:
        name: its normalised name.
        version: the pinned one.
        hashes: SHA-256 of each file that may be installed.
        licence: SPDX expression; empty where it names none.
        needs: names of the packages that it needs, as far as they are pinned.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    licence: str
    needs: tuple[str, ...]

    @property
    def url(self) -> str:
        """Its package URL (ECMA-427)."""
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(requirements: Path = REQUIREMENTS) -> list[Package]:
    """The packages that are pinned for this platform and Python.

    Raises:
        PackageNotFoundError: one of them is not installed.
        ValueError: another version than the pinned one is.
    """
    pinned = {name: (version, hashes) for name, version, hashes in _pins(requirements.read_text())}
    direct = map(Requirement, _project()["dependencies"])
    extras: dict[str, set[str]] = {canonicalize_name(one.name): one.extras for one in direct}
    found = []
    for name, (version, hashes) in pinned.items():
        installed = distribution(name)
        if installed.version != version:
            raise ValueError(f"{name} {version} is pinned, {installed.version} is installed")
        needs = sorted(set(_needs(installed, {"", *extras.get(name, ())})) & pinned.keys())
        found.append(Package(name, version, hashes, licence(installed), tuple(needs)))
    return found


def licence(package: Distribution) -> str:
    """The licence of an installed package as SPDX writes it (PEP 639, else what older packages say)."""
    metadata = package.metadata
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if "License" in line]
    stated = metadata["License-Expression"] or metadata["License"] or " AND ".join(classifiers)
    return _SPDX.get(stated, stated)


def bill(found: list[Package]) -> dict[str, Any]:
    """The CycloneDX document."""
    project = _project()
    root = {"type": "application", "bom-ref": project["name"], "name": project["name"]}
    root |= {"version": project["version"], "licenses": [{"expression": project["license"]}]}
    urls = {package.name: package.url for package in found}
    direct = [canonicalize_name(Requirement(line).name) for line in project["dependencies"]]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [_component(package) for package in found],
        "dependencies": [
            {"ref": project["name"], "dependsOn": sorted(urls[name] for name in direct if name in urls)},
            *({"ref": one.url, "dependsOn": [urls[name] for name in one.needs]} for one in found),
        ],
    }


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _component(package: Package) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "purl": package.url,
        "licenses": [{"expression": package.licence}] if package.licence else [],
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.url,
                "hashes": [{"alg": "SHA-256", "content": content} for content in package.hashes],
            }
        ],
    }


def _pins(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, version and hashes of each line that holds for this platform and Python."""
    for line in text.replace("\\\n", " ").splitlines():
        pin, _, rest = line.partition("#")[0].partition(" --hash=")
        if not pin.strip():
            continue
        requirement = Requirement(pin)
        if requirement.marker is None or requirement.marker.evaluate():
            version = next(iter(requirement.specifier)).version
            yield canonicalize_name(requirement.name), version, tuple(_HASH.findall("--hash=" + rest))


def _needs(package: Distribution, extras: set[str]) -> Iterator[str]:
    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield canonicalize_name(requirement.name)


def main() -> None:
    """Write the document, to dist/sbom.cdx.json unless told otherwise."""
    parser = argparse.ArgumentParser(description="Write a CycloneDX bill of materials.")
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "dist" / "sbom.cdx.json")
    file: Path = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(bill(packages()), indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
