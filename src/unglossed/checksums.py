"""Checksums of a folder's files: whether what belongs together is whole and unchanged.

A folder carries `checksums.json`, which names its files with their SHA-256. It finds damage,
missing files and files of another folder; it is no protection against somebody who wants to cheat.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from unglossed.errors import InputError
from unglossed.files import write_text

CHECKSUMS = "checksums.json"
"""Name of the file in a folder that holds the checksums of the others."""

_VERSION = 1


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write `checksums.json` into a folder, over all its files or those named.

    Args:
        folder: what it lies in; links in it are followed.
        names: paths relative to the folder, with `/`; all files, also in subfolders, by default.
    """
    if names is None:
        names = (
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.name != CHECKSUMS
        )
    sums = {name: file_checksum(folder / name) for name in sorted(names)}
    text = json.dumps({"version": _VERSION, "sha256": sums}, indent=2)
    write_text(folder / CHECKSUMS, text + "\n")


def read_checksums(folder: Path) -> dict[str, str] | None:
    """What a folder's `checksums.json` says, by name; none where there is no such file.

    Raises:
        InputError: it is damaged, or of a later version.
    """
    path = folder / CHECKSUMS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    sums = found.get("sha256") if isinstance(found, dict) else None
    if not isinstance(sums, dict) or found.get("version") != _VERSION:
        raise InputError(f"{path}: found no checksums of version {_VERSION}: the file is damaged")
    return {str(name): str(value) for name, value in sums.items()}


def verify_checksums(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Compare a folder's files with its `checksums.json`.

    Args:
        folder: what was written with `write_checksums`.
        names: only these of the files that it lists; all by default.

    Returns:
        Whether there was a `checksums.json`, so that something was compared.

    Raises:
        InputError: names the first file that is missing or differs.
    """
    sums = read_checksums(folder)
    if sums is None:
        return False
    wanted = set(sums if names is None else names)
    for name, expected in sums.items():
        if name not in wanted:
            continue
        path = folder / name
        try:
            found = file_checksum(path)
        except FileNotFoundError:
            raise InputError(f"{path}: missing, though {CHECKSUMS} lists it") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if found != expected:
            raise InputError(
                f"{path}: differs from what was saved (its checksum does): it is damaged or comes"
                f" from elsewhere; if you changed it on purpose, write {found} for it in"
                f" {CHECKSUMS}"
            )
    return True
