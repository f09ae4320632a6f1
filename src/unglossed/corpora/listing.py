"""What lies in a folder, in one look at it: clips are found by name, not asked for one by one."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def list_folders(folder: Path) -> dict[str, Path]:
    """The folders directly in a folder by name; none if it is not there."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {
            entry.name: folder / entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.is_dir()
        }


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files directly in a folder with one of the suffixes (as ".mp4"), by stem.

    Hidden files are left aside; a folder that is not there has none.
    """
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = [
            entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()
        ]
    found: dict[str, Path] = {}
    for path in map(folder.joinpath, sorted(names)):
        if path.suffix.lower() in suffixes:
            found.setdefault(path.stem, path)
    return found
