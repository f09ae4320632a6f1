"""What lies in a folder, in one look at it: clips are found by name, not asked for one by one."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from unglossed.errors import InputError
from unglossed.files import Names

_NOT_THERE = (errno.ENOENT, errno.ENAMETOOLONG)

Links = dict[str, Path]
"""Links that lead nowhere, by the name or stem under which a clip would be looked for."""


def scan(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """As `os.scandir`, with an error that a user understands.

    Raises:
        InputError: The folder cannot be listed; the cause is an `OSError`.
    """
    try:
        return os.scandir(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error


def list_entries(folder: Path) -> Names[bool | None]:
    """The names in a folder, and whether each is a folder; None: a link that leads nowhere.

    A folder that is not there has none.

    Raises:
        InputError: It is there, but cannot be listed.
    """
    try:
        with scan(folder) as entries:
            return Names((entry.name, _is_folder(entry)) for entry in entries)
    except InputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NOT_THERE:
            return Names()
        raise
    except ValueError:  # as in a name with a zero byte
        return Names()


def list_folders(folder: Path, broken: Links | None = None) -> Names[Path]:
    """The folders directly in a folder by name; none if it is not there.

    Args:
        folder: Where to look.
        broken: Takes the links that lead nowhere.

    Raises:
        InputError: As `list_entries`.
    """
    found: Names[Path] = Names()
    for name, is_folder in _entries(folder).items():
        if is_folder:
            found[name] = folder / name
        elif is_folder is None and broken is not None:
            broken[name] = folder / name
    return found


def list_files(folder: Path, suffixes: Collection[str], broken: Links | None = None) -> Names[Path]:
    """The files directly in a folder with one of the suffixes (as ".mp4"), by stem.

    Hidden files are left aside; a folder that is not there has none.

    Args:
        folder: Where to look.
        suffixes: In lower case.
        broken: Takes the links that lead nowhere.

    Raises:
        InputError: As `list_entries`.
    """
    found: Names[Path] = Names()
    for name, is_folder in sorted(_entries(folder).items()):
        path = folder / name
        if is_folder or path.suffix.lower() not in suffixes:
            continue
        if is_folder is not None:
            found.setdefault(path.stem, path)
        elif broken is not None:
            broken[path.stem] = path
    return found


def _entries(folder: Path) -> dict[str, bool | None]:
    try:
        entries = list_entries(folder)
    except InputError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return {}
        raise
    return {name: is_folder for name, is_folder in entries.items() if not name.startswith(".")}


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    try:
        if entry.is_dir():
            return True
        # Only a link costs a look at the file.
        return None if entry.is_symlink() and not entry.is_file() else False
    except OSError:  # such as links that go round in a circle
        return None
