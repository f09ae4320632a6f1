"""Writes a bill of materials (CycloneDX 1.6) beside a built wheel: make dist, make sbom.

It names what the wheel needs, and what its extras need, with the versions and hashes of the lists.
It is made of the wheel and the lists alone, so it needs no network; `--check` compares it with the
schema, by cyclonedx-python-lib. What no list has (extras `cluster` and `quantization`) is
left out.
"""

from __future__ import annotations

import argparse
import email.parser
import hashlib
import json
import os
import re
import sys
import uuid
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from requirements.lists import Package, read_lists

# Extras that nobody needs to use the package.
_FOR_DEVELOPERS = ("dev", "docs")


def read_metadata(wheel: Path) -> Any:
    """The metadata of a wheel, as a message with its fields."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode("utf-8"))


def list_needs(metadata: Any) -> dict[str, set[str]]:
    """Normalised names of what a wheel needs: under "" always, else for an extra."""
    needs: dict[str, set[str]] = {"": set()}
    for line in metadata.get_all("Requires-Dist", []):
        name = re.split(r"[\s;<>=!~\[(]", line)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        known = needs.setdefault(extra[1] if extra else "", set())
        known.add(re.sub(r"[-_.]+", "-", name).lower())
    return needs


def reach(first: Iterable[str], packages: Iterable[Package]) -> set[str]:
    """Names of all that some packages need in turn, themselves included."""
    needs: dict[str, set[str]] = {}
    for package in packages:
        for name in package.needed_by:
            needs.setdefault(name, set()).add(package.name)
    known, new = set(), set(first)
    while new:
        known |= new
        new = set().union(*(needs.get(name, set()) for name in new)) - known
    return known


def describe(package: Package, scope: str) -> dict[str, Any]:
    """A package as a component."""
    reference = {
        "type": "distribution",
        "url": f"https://pypi.org/simple/{package.name}/",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
    }
    purl = f"pkg:pypi/{package.name}@{package.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "scope": scope,
        "externalReferences": [reference],
    }


def make_bom(wheel: Path, moment: datetime) -> dict[str, Any]:
    """The bill of materials of a wheel.

    Args:
        wheel: The built wheel.
        moment: When it was made, with its zone.

    Raises:
        ValueError: If the wheel needs a package that no list has.
    """
    metadata, digest = read_metadata(wheel), hashlib.sha256(wheel.read_bytes()).hexdigest()
    name, version = metadata["Name"], metadata["Version"]
    packages = {package.name: package for package in read_lists("core", "torch", "cuda", "dev")}
    needs = list_needs(metadata)
    missing = sorted(needs[""] - set(packages))
    if missing:
        raise ValueError(f"requirements has no {', '.join(missing)}; make lock writes the lists")
    always = reach(needs[""], packages.values()) & set(packages)
    extras = set().union(*(needs[extra] for extra in needs if extra not in _FOR_DEVELOPERS))
    cuda = {package.name for package in read_lists("cuda")}
    listed = sorted(reach(extras, packages.values()) & set(packages))
    components = [
        describe(packages[one], "required" if one in always - cuda else "optional")
        for one in listed
    ]
    purls = {one["name"]: one["bom-ref"] for one in components}
    root = f"pkg:pypi/{name}@{version}"
    above = {one: {root} if one in extras else set() for one in listed}
    for one in listed:
        above[one] |= {purls[other] for other in packages[one].needed_by if other in purls}
    references = [root, *purls.values()]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": moment.isoformat(timespec="seconds"),
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": name,
                "version": version,
                "purl": root,
                "licenses": [{"license": {"id": metadata["License-Expression"]}}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        },
        "components": components,
        "dependencies": [
            {
                "ref": reference,
                "dependsOn": sorted(purls[one] for one in listed if reference in above[one]),
            }
            for reference in references
        ],
    }


def check(text: str) -> str | None:
    """What the schema of CycloneDX 1.6 says against a bill of materials, if anything."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if error is None else str(error)


def main() -> None:
    """Write or check the bill of materials of the one wheel in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the wheel lies")
    parser.add_argument("--check", action="store_true", help="compare with the schema")
    arguments = parser.parse_args()
    wheels = list(arguments.folder.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"sbom: {arguments.folder} holds {len(wheels)} wheels, expected one")
    path = arguments.folder / ("-".join(wheels[0].name.split("-")[:2]) + ".cdx.json")
    if arguments.check:
        fault = check(path.read_text(encoding="utf-8"))
        if fault:
            sys.exit(f"sbom: {path}: {fault}")
        print(f"{path}: as the schema of CycloneDX 1.6 wants it")
        return
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    path.write_text(json.dumps(make_bom(wheels[0], moment), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
