"""Reads the lists of this folder: what is pinned, with which hashes, and who needs it.

`lock.py` writes them; pip reads them by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.+]+)")


@dataclass(frozen=True)
class Package:
    """One package of a list.

    Attributes:
        name: Its normalised name.
        version: The pinned version.
        text: Its lines: the pin, the hashes, and comments that say who needs it.
    """

    name: str
    version: str
    text: str

    @property
    def hashes(self) -> list[str]:
        """SHA-256 of the files of this version."""
        return re.findall(r"--hash=sha256:([0-9a-f]{64})", self.text)

    @property
    def needed_by(self) -> set[str]:
        """Names of the packages that need it; `unglossed` is the project."""
        names = re.findall(r"^ +# (?:via )?(?: *)([\w.-]+)", self.text, flags=re.MULTILINE)
        return set(names) - {"via", "-c"}


def read_packages(text: str) -> list[Package]:
    """The packages of a list as uv writes it.

    Raises:
        ValueError: If a line that begins a package has no pin.
    """
    blocks = [block for block in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE) if block]
    packages = []
    for block in blocks:
        if block.startswith("#"):
            continue
        pin = _PIN.match(block)
        if pin is None:
            raise ValueError(f"no NAME==VERSION in {block.splitlines()[0]!r}")
        packages.append(Package(pin["name"], pin["version"], block.rstrip() + "\n"))
    return packages


def read_lists(*names: str) -> list[Package]:
    """The packages of this folder's lists, e.g. `read_lists("core", "torch")`."""
    texts = [(FOLDER / f"{name}.txt").read_text(encoding="utf-8") for name in names]
    return [package for text in texts for package in read_packages(text)]
