"""Checksums of a saved model's folder: written with it, compared when it is read.

A model, its tokenizer, its processor's settings and its decoding belong together: another model's
file instead of one of them would silently give other texts. `checksums.json` lists them all. A
folder without one, as earlier versions and other programs write it, passes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unglossed.errors import InputError
from unglossed.files import write_text

CHECKSUMS = "checksums.json"
"""The file in a folder that holds the checksums of the others."""
CONFIG = "config.json"

_VERSION = 1
_READ_BY_LOADERS = re.compile(
    r"""
    .*config\.(json|yaml) | decoding\.yaml                # model, tokenizer, processor, adapter
    | .*\.(safetensors|bin)(\.index\.json)?                 # weights, whole and in parts
    | (tokenizer|vocab|merges|special_tokens|added_tokens|tekken|chat_template)\b.*
    | (tokenizer|vocab|special_tokens|added_tokens|chat_template)_.*
    | .*\.(model|spm|tiktoken|py)
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Names of files that the loaders of transformers and ours read where they find them."""
_OF_THIS_MACHINE = ("_name_or_path", "auto_map")
"""Keys of a configuration that say where it came from, and what code came with it."""
_verified: dict[Path, frozenset[tuple[str, int, int]]] = {}
"""Folders verified in this process: their files by name, size and time of change."""


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write `checksums.json` into a folder.

    Args:
        folder: The folder; links in it are followed.
        names: Paths relative to the folder, with `/`; all files, also in subfolders, by default.
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
    """The checksums of a folder's `checksums.json`, by name; None where there is no such file.

    Raises:
        InputError: It is damaged, or of a later version.
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
        folder: Written with `write_checksums`.
        names: Only these of the files that it lists; all by default.

    Returns:
        Whether there was a `checksums.json` to compare with.

    Raises:
        InputError: Names the first file that is missing or differs.
    """
    sums = read_checksums(folder)
    if sums is None:
        return False
    wanted = sums.keys() if names is None else sums.keys() & set(names)
    for name in sorted(wanted):
        path = folder / name
        try:
            found = file_checksum(path)
        except FileNotFoundError:
            raise InputError(f"{path}: missing, though {CHECKSUMS} lists it") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if found != sums[name]:
            raise InputError(
                f"{path}: differs from what was saved (its checksum does): it is damaged or comes"
                f" from elsewhere; if you changed it on purpose, write {found} for it in"
                f" {CHECKSUMS}"
            )
    return True


def bind_folder(folder: Path) -> None:
    """Finish a model's folder: remove paths of this machine, write checksums of all files."""
    for path in folder.glob("*config.json"):
        fields = json.loads(path.read_text(encoding="utf-8"))
        if (plain := without_origin(fields)) != fields:
            write_text(path, json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    write_checksums(folder)


def without_origin(fields: Any) -> Any:
    """A configuration, nested ones included, without where it was loaded from."""
    if isinstance(fields, dict):
        kept = {key: value for key, value in fields.items() if key not in _OF_THIS_MACHINE}
        return {key: without_origin(value) for key, value in kept.items()}
    return [without_origin(value) for value in fields] if isinstance(fields, list) else fields


def verify_folder(folder: Path) -> None:
    """Compare the folder of a model or processor with its checksums, if any; once in a process.

    It costs 1.04 seconds a GB (one core of an AMD EPYC, files in the page cache).

    Raises:
        InputError: Names a file that is missing, damaged or of another model; or one that was not
            saved with the model and would be read as a part of it.
    """
    folder = folder.resolve()
    sums = read_checksums(folder)
    if sums is None:
        return
    state = frozenset(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    )
    if _verified.get(folder) == state:
        return
    for name, _, _ in sorted(state):
        if name not in sums and name != CHECKSUMS and _READ_BY_LOADERS.fullmatch(name):
            raise InputError(
                f"{folder / name}: was not saved with the model ({CHECKSUMS} does not list it) and"
                " would be read as a part of it: remove it"
            )
    verify_checksums(folder)
    _verified[folder] = state
