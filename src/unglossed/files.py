"""Files and folders: written whole or not at all; by one at a time; told from names on the hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from unglossed.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

RUN_FILE = "run.json"
"""What tells that a folder is a run of `unglossed train`."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


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
        InputError: it is neither, or empty.
    """
    if not isinstance(value, (str, Path)):
        raise InputError(f"{name}: found {type(value).__name__}, expected a path")
    if not str(value).strip():
        raise InputError(f"{name}: found an empty text, expected a path")
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
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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


@contextmanager
def exclusive(path: Path, on_busy: Callable[[], object]) -> Iterator[BinaryIO]:
    """Hold the lock of a file, open to append to, in the block; missing folders are made.

    A process that is killed lets go; one that was started in the block and has the file as its
    output holds the lock after it, too. Where there are no locks (Windows, some file systems) the
    block is not kept from others.

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
        yield file


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
