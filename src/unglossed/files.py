"""Files and folders: written whole or not at all, by one process at a time; names in any form.

A saved model's folder has checksums, written with it and compared when it is read. A model, its
tokenizer, its processor's settings and its decoding belong together: another model's file instead
of one of them would silently give other texts. `checksums.json` lists them all. A folder without
one, as earlier versions and other programs write it, passes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from unglossed.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

RUN_FILE = "run.json"
"""The file that makes a folder a run of `unglossed train`."""

V = TypeVar("V")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED_WRITE = re.compile(r"os error (\d+)|PytorchStreamWriter|unexpected pos \d+")
"""How Rust (safetensors, tokenizers) and torch say that the system refused what they wrote."""
_held: set[BinaryIO] = set()


class Names(dict[str, V]):
    """What a folder holds, by name; a name is found in any Unicode form."""

    _forms: dict[str, list[str]] | None = None

    def key(self, name: str) -> str | None:
        """The folder's own form of a name; None: there is no such name.

        Raises:
            InputError: It has several other forms, but not this one.
        """
        if name in self:
            return name
        if name.isascii():
            return None
        if self._forms is None:
            self._forms = {}
            for one in self:
                if not one.isascii():
                    self._forms.setdefault(composed(one), []).append(one)
        found = self._forms.get(composed(name), [])
        if len(found) > 1:
            raise InputError(
                f"found {' and '.join(map(ascii, found))}, which differ in Unicode form alone,"
                f" expected one of them or {name!a}"
            )
        return found[0] if found else None

    def find(self, name: str) -> V | None:
        """What has a name, see `key`; None: nothing does."""
        key = self.key(name)
        return None if key is None else self[key]


def composed(name: str) -> str:
    """A name in Unicode NFC, in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_path(path: Path) -> Path:
    """A path in the Unicode form of the disk, see `Names.key`; unchanged where nothing is there."""
    if str(path).isascii() or path.parent == path or os.path.lexists(path):
        return path
    folder = find_path(path.parent)
    try:
        names = Names.fromkeys(os.listdir(folder), True)  # noqa: PTH208
    except (OSError, ValueError):
        return folder / path.name
    return folder / (Names(names).key(path.name) or path.name)


def may_be_on_hub(name: str | Path) -> bool:
    """Whether a name with a slash can be one on the hub.

    `runs/dmeo` looks like one: where there is a folder `runs`, it is a misspelt folder.
    """
    path = Path(name)
    is_local = path.exists() or path.parent.is_dir()
    return not is_local and _HUB_NAME.fullmatch(str(name)) is not None


def as_path(value: object, name: str) -> Path:
    """A path from the text or path that a caller gave as the argument `name`.

    Raises:
        InputError: It is neither, or empty, or not a name that a file can have.
    """
    if not isinstance(value, (str, Path)):
        raise InputError(f"{name}: found {type(value).__name__}, expected a path")
    if not str(value).strip():
        raise InputError(f"{name}: found an empty text, expected a path")
    try:
        with suppress(OSError):  # there may be none yet
            Path(value).stat()
    except ValueError as error:
        raise InputError(f"{name}: found {value!r}, expected a path: {error}") from None
    return Path(value)


def find_shipped(name: str | Path, kind: str) -> Path:
    """A YAML file by its path, or by the name of one that is shipped in the folder `KINDs`.

    Args:
        name: path, or name without `.yaml`.
        kind: what it is, as "recipe".

    Raises:
        InputError: neither is there; the shipped names are listed.
    """
    path = as_path(name, kind)
    if path.is_file():
        return path
    folder = Path(__file__).parent / f"{kind}s"
    if not folder.is_dir():  # an editable install: it lies at the repository's root
        folder = Path(__file__).parents[2] / f"{kind}s"
    shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise InputError(f"{kind} {name}: no such file; the shipped {kind}s are: {names}")


@contextmanager
def whole_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A file to write into that gets the name `path` only when the block ends without an error.

    A reader sees the old content or the new, never a part. Missing folders are made. A link stays
    a link, and a terminal or a pipe is written to directly.

    Args:
        path: The file.
        shared: Others may write it at the same time; what a killed process began has then another
            name each time, and stays until somebody deletes it.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, f".{secrets.token_hex(4)}" if shared else "")
    try:
        with naming(path):
            yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of a full disk: Python does not, libraries raise errors of their own.

    Raises:
        OSError: With the file's name and the system's reason.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            error.filename = str(path)
        raise
    except Exception as error:
        found = _FAILED_WRITE.search(str(error))
        if found is None:
            raise
        number = int(found[1]) if found[1] else errno.ENOSPC
        reason = os.strerror(number) if found[1] else "cannot be written, the disk may be full"
        raise OSError(number, reason, str(path)) from None


def is_full(error: OSError) -> bool:
    """Whether a disk, or the user's share of it, is full."""
    return error.errno in _FULL


def check_writable(path: Path) -> None:
    """Refuse, before the work, a file that `whole_file` cannot write.

    Raises:
        InputError: It cannot be written.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: found a folder, expected a file to write to")
        if path.is_file() or not path.exists():
            partial = _partial(path.resolve())
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
            partial.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written to: {error.strerror}") from None


def check_new_folder(path: Path) -> None:
    """Refuse to write to a folder that holds something, which would be lost.

    Raises:
        InputError: It does, or it is a file.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists already, expected a new or an empty folder")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that replaces `target` only when the block ends without an error.

    Where `target` itself cannot be replaced (the root of a file system), its content is.
    """
    target = target.resolve()
    partial = _partial(target)
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir(parents=True)
    try:
        with naming(target):
            yield partial
        shutil.rmtree(target, ignore_errors=True)
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            for item in partial.iterdir():
                shutil.move(item, target / item.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link(source: str, target: str) -> None:
    """Make a hard link to a file; a copy where there are no links."""
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)


@contextmanager
def exclusive(path: Path, on_busy: Callable[[], object]) -> Iterator[BinaryIO]:
    """Hold the lock of a file, open for appending, in the block; missing folders are made.

    A killed process releases the lock, whatever becomes of those that it forked; one that was
    started in the block with the file as its output keeps it. Where there are no locks (Windows,
    some file systems) nothing is locked.

    Args:
        path: The file.
        on_busy: Called when another process holds the lock; unless it raises, we wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_busy()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                pass
        _held.add(file)
        try:
            yield file
        finally:
            _held.discard(file)


def _let_go() -> None:
    """Close locked files in a forked process, which would hold the locks of a killed parent."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _partial(path: Path, token: str = "") -> Path:
    return path.with_name(f".{path.name}{token}.partial")


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
    _write_sums(folder, {name: file_checksum(folder / name) for name in sorted(names)})


def add_checksums(folder: Path, names: Iterable[str]) -> None:
    """List further files in a folder's `checksums.json`, or again; nothing where it has none."""
    sums = read_checksums(folder)
    if sums is not None:
        _write_sums(folder, sums | {name: file_checksum(folder / name) for name in names})


def drop_checksums(folder: Path, names: Iterable[str]) -> None:
    """List files no more in a folder's `checksums.json`, before they are removed."""
    sums = read_checksums(folder)
    if sums is not None:
        _write_sums(folder, {name: sums[name] for name in sums.keys() - set(names)})


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    sums = dict(sorted(sums.items()))
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


def import_pyarrow(path: Path) -> Any:
    """pyarrow, and `pyarrow.parquet` in it, with which a Parquet file is read.

    Raises:
        InputError: It is not installed; names the file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow: pip install 'unglossed[parquet]'"
        ) from error
    return pyarrow
