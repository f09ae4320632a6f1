"""Lists with hashes: they are the pins, whole and installed; what is told of them, offline."""

import importlib.metadata
import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from requirements.audit import Answer, conclude, read_answer
from requirements.lists import FOLDER, read_lists, read_packages
from requirements.lock import CPU_BUILDS
from requirements.sbom import list_needs, make_bom, read_metadata

ROOT = FOLDER.parent
LISTS = sorted(path.stem for path in FOLDER.glob("*.txt"))
MOMENT = datetime(2026, 11, 29, tzinfo=UTC)
METADATA = """\
Metadata-Version: 2.4
Name: unglossed
Version: 9.1
License-Expression: Apache-2.0
Requires-Dist: torch>=2.6
Requires-Dist: PyYAML>=6
Provides-Extra: server
Requires-Dist: fastapi>=0.115; extra == 'server'
Provides-Extra: dev
Requires-Dist: hypothesis>=6.100; extra == 'dev'
"""


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "unglossed-9.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("unglossed-9.1.dist-info/METADATA", METADATA)
    return path


@pytest.mark.parametrize("name", LISTS)
def test_every_package_of_a_list_has_a_pin_and_hashes(name: str) -> None:
    packages = read_lists(name)

    assert packages
    assert all(package.hashes for package in packages)


def test_lists_have_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {normalise(name): version for name, version in pins.items()}
    # torch alone says which of CUDA's packages it needs.
    listed = read_lists(*(name for name in LISTS if name not in ("cuda", "torch-cpu")))
    (cpu,) = read_lists("torch-cpu")

    assert {p.name: pins.get(p.name) for p in listed} == {p.name: p.version for p in listed}
    assert cpu.version == f"{pins['torch']}+cpu"
    # No target installs these extras.
    assert set(pins) - {p.name for p in listed} <= {"bitsandbytes", "pandas", "ray"}


def test_lists_hold_all_that_their_packages_need_here() -> None:
    listed = {package.name for package in read_lists("core", "dev", "torch")}
    project = importlib.metadata.requires("unglossed") or []
    needed = {normalise(Requirement(line).name) for line in project if "extra" not in line}
    for name in sorted(listed):
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        needs = [Requirement(line) for line in lines]
        needed |= {
            normalise(need.name)
            for need in needs
            if need.marker is None or need.marker.evaluate({"extra": ""})
        }
    cuda = {package.name for package in read_lists("cuda")}

    assert needed - listed - cuda == set()


def test_a_list_is_read_with_hashes_and_who_needs_them() -> None:
    text = (
        "# Written by make lock.\n"
        f"one==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{'a' * 64} \\\n"
        f"    --hash=sha256:{'b' * 64}\n    # via two\n"
        f"two==2.0+cpu \\\n    --hash=sha256:{'c' * 64}\n    # via\n"
        "    #   -c constraints.txt\n    #   unglossed (pyproject.toml)\n    #   three-3\n"
    )

    one, two = read_packages(text)

    assert (one.name, one.version, one.hashes) == ("one", "1.0", ["a" * 64, "b" * 64])
    assert (one.needed_by, two.needed_by) == ({"two"}, {"unglossed", "three-3"})
    assert two.version == "2.0+cpu"


def test_a_list_without_a_pin_is_refused() -> None:
    with pytest.raises(ValueError, match="no NAME==VERSION in 'torch>=2'"):
        read_packages("torch>=2\n")


def test_hashes_of_builds_for_cpus_are_found_on_the_page_of_the_index() -> None:
    links = {
        "torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl": "a",
        "torch-2.13.0%2Bcpu-cp314-cp314-win_amd64.whl": "b",
        "torch-2.13.0%2Bcpu-cp310-cp310-win_amd64.whl": "c",
        "torch-2.13.1%2Bcpu-cp311-cp311-win_amd64.whl": "d",
        "torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl": "e",
    }
    page = "".join(
        f'<a href="/whl/cpu/{name}#sha256={letter * 64}">x</a><br/>\n'
        for name, letter in links.items()
    )

    found = re.findall(CPU_BUILDS.format(version=re.escape("2.13.0")), page)

    assert found == ["a" * 64, "b" * 64]


def test_the_bill_of_materials_names_all_that_the_wheel_needs(wheel: Path) -> None:
    bom = make_bom(wheel, MOMENT)
    components = {one["name"]: one for one in bom["components"]}
    edges = {row["ref"]: row["dependsOn"] for row in bom["dependencies"]}
    versions = {package.name: package for package in read_lists("core", "torch", "dev")}

    assert bom["metadata"]["component"]["purl"] == "pkg:pypi/unglossed@9.1"
    assert bom["metadata"]["timestamp"] == "2026-11-29T00:00:00+00:00"
    assert edges["pkg:pypi/unglossed@9.1"] == [
        f"pkg:pypi/{name}@{versions[name].version}" for name in ("fastapi", "pyyaml", "torch")
    ]
    assert f"pkg:pypi/sympy@{versions['sympy'].version}" in edges[components["torch"]["bom-ref"]]
    assert components["mpmath"]["scope"] == "required"  # by sympy
    assert components["starlette"]["scope"] == "optional"  # of an extra
    assert components["nvidia-cublas"]["scope"] == "optional"  # of one build of torch
    assert not {"hypothesis", "ruff"} & set(components)
    assert {h["content"] for h in components["pyyaml"]["externalReferences"][0]["hashes"]} == set(
        versions["pyyaml"].hashes
    )


def test_a_bill_of_materials_is_the_same_for_the_same_wheel(wheel: Path) -> None:
    first = make_bom(wheel, MOMENT)

    assert make_bom(wheel, MOMENT) == first
    references = [one["bom-ref"] for one in first["components"]]
    assert len(references) == len(set(references))
    assert {name for row in first["dependencies"] for name in row["dependsOn"]} <= set(references)
    json.dumps(first)


def test_a_need_that_no_list_has_is_no_bill_of_materials(tmp_path: Path) -> None:
    path = tmp_path / "unglossed-9.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("unglossed-9.1.dist-info/METADATA", METADATA + "Requires-Dist: nowhere\n")

    assert list_needs(read_metadata(path))[""] == {"nowhere", "pyyaml", "torch"}
    with pytest.raises(ValueError, match="requirements has no nowhere"):
        make_bom(path, MOMENT)


def report(*packages: dict[str, Any]) -> Answer:
    return read_answer({"dependencies": list(packages), "fixes": []})


GOOD = {"name": "one", "version": "1.0", "vulns": []}
SILENT = {"name": "two", "skip_reason": "Dependency not found on PyPI"}
BAD = {
    "name": "three",
    "version": "3.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"], "aliases": ["CVE-1"], "description": ""}],
}


def test_a_vulnerability_ends_the_audit_with_its_names() -> None:
    lines, code = conclude(report(GOOD, BAD), must_ask=False)

    assert code == 1
    assert lines[0] == "three 3.0: PYSEC-1, CVE-1; mended in 3.1"


def test_an_index_that_knows_nothing_is_no_clean_bill() -> None:
    """pip-audit says that nothing is vulnerable where every question was answered by 404."""
    lines, code = conclude(report(SILENT), must_ask=False)

    assert (len(lines), code) == (1, 0)
    assert lines[0].startswith("audit: nothing could be asked (two: Dependency not found")
    assert conclude(report(SILENT), must_ask=True)[1] == 1


def test_a_package_that_was_not_asked_is_named() -> None:
    lines, code = conclude(report(GOOD, SILENT), must_ask=False)

    assert code == 0
    assert lines == [
        "audit: not asked: two: Dependency not found on PyPI",
        "audit: 1 packages asked, 0 vulnerabilities",
    ]
    assert conclude(report(GOOD, SILENT), must_ask=True)[1] == 1
    assert conclude(report(GOOD), must_ask=True)[1] == 0
