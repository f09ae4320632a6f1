"""Files and folders: written whole or not at all; by one at a time; told from names on the hub."""

from __future__ import annotations

import errno
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from unglossed.errors import InputError

V = TypeVar("V")


class Names(dict[str, V]):
    """What a folder holds, by its name there."""

    _forms: dict[str, list[str]] | None = None

    def key(self, name: str) -> str | None:
        """The name that the folder has for a name, as it is or in another form; None: not there.

        Raises:
            InputError: It has several, none of them as it is.
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
        """What bears a name, as it is or in another form; None: nothing does.

        Raises:
            InputError: As `key`.
        """
        key = self.key(name)
        return None if key is None else self[key]


def composed(name: str) -> str:
    """A name in Unicode NFC, by which names of other forms are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_path(path: Path) -> Path:
    """A path as the disk has it; the same path where there is no such thing in any form.

    Raises:
        InputError: As `Names.key`.
    """
    if str(path).isascii() or path.parent == path or os.path.lexists(path):
        return path
    folder = find_path(path.parent)
    try:
        names = Names.fromkeys(os.listdir(folder), True)  # noqa: PTH208
    except (OSError, ValueError):
        return folder / path.name
    return folder / (Names(names).key(path.name) or path.name)


try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

RUN_FILE = "run.json"
"""What tells that a folder is a run of `unglossed train`."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED_WRITE = re.compile(r"os error (\d+)|PytorchStreamWriter|unexpected pos \d+")
"""How Rust (safetensors, tokenizers) and torch say that the system did not take what they wrote."""
_held: set[BinaryIO] = set()


def may_be_on_hub(name: str | Path) -> bool:
    """Whether a name with a slash can be one on the hub, and not a folder misspelt.

    `runs/dmeo` looks like a hub name: where there is a folder `runs`, it is a misspelt one.
    """
    path = Path(name)
    misspelt = path.exists() or path.parent.is_dir()
    return not misspelt and _HUB_NAME.fullmatch(str(name)) is not None


def as_path(value: object, name: str) -> Path:
    """A path out of what a caller gave.

    Args:
        value: a text or a path.
        name: of the argument, for the message.

    Raises:
        InputError: it is neither, or empty, or no name that a file can have.
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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write into that takes the name `path` only when the block ends well.

    A reader sees the old content or the new, never a part. Missing folders are made. A link stays
    one, and what is no file, such as a terminal or a pipe, is written to as it is.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with naming(path):
            yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what is raised in the block because a disk is full name the file or folder, in one line.

    Python's own writing names no file, and libraries in other languages raise errors of their own.

    Raises:
        OSError: with the file's name and the system's reason.
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
    """Whether this says that a disk, or what a user may have of it, is full."""
    return error.errno in _FULL


def check_writable(path: Path) -> None:
    """Find out before the work whether `whole_file` can write a file.

    Raises:
        InputError: It cannot.
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
    """Refuse a folder to write to that has something in it, which would be lost.

    Raises:
        InputError: There is something, or a file of this name.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists already, expected a new or an empty folder")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of `target` only when the block ends well.

    Where `target` cannot be replaced, as the root of a file system cannot, its content is.
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
    """Give a file a second name; a copy of it where there are no links."""
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)


@contextmanager
def exclusive(path: Path, on_busy: Callable[[], object]) -> Iterator[BinaryIO]:
    """Hold the lock of a file, open to append to, in the block; missing folders are made.

    A process that is killed lets go, whatever becomes of those that it forked; one that was started
    in the block and has the file as its output holds the lock after it, too. Where there are no
    locks (Windows, some file systems) the block is not kept from others.

    Args:
        path: the file.
        on_busy: called when another holds the lock, which is then waited for, unless this raises.
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
    """Close locked files in a process that was forked: it would hold the locks of one killed."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
