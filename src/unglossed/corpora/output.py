"""A folder that a long work writes into and goes on with: one work's, and one process at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from unglossed.errors import InputError
from unglossed.files import exclusive, write_text

Document = TypeVar("Document", bound=BaseModel)

_LOCK = ".lock"


def refuse_foreign(folder: Path, marks: Collection[str]) -> None:
    """Refuse a file, or a folder with something in it that this work has not made.

    Args:
        folder: To write into.
        marks: Files, by name, of which one is there where the work has begun.

    Raises:
        InputError: It is one.
    """
    if any((folder / name).is_file() for name in marks) or not folder.exists():
        return
    # What a killed process had begun to write has a name with a dot, and so has the lock.
    if not folder.is_dir() or not all(path.name[0] == "." for path in folder.iterdir()):
        raise InputError(f"{folder}: exists already, expected a new or an empty folder")


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keep others from writing into a folder; a process that is killed releases the lock.

    Args:
        folder: That the block writes into.
        doing: What it does, such as "packing", for the others' error.

    Raises:
        InputError: Another process does.
    """

    def refuse() -> None:
        raise InputError(
            f"{folder}: another process is {doing} into this folder: wait until it has ended"
        ) from None

    def remove() -> None:
        with suppress(OSError):  # Windows does not remove a file that is open
            path.unlink()

    path = folder / _LOCK
    with ExitStack() as stack:
        with suppress(OSError):  # who cannot write here gets an error if anything is to be done
            stack.enter_context(exclusive(path, refuse))
            stack.callback(remove)  # before the lock is released
        yield


def read_document(kind: type[Document], path: Path) -> Document:
    """Read a plan or a manifest; the error about a malformed one names the field."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(path), ".".join(map(str, first["loc"])), first["msg"]]
        raise InputError(": ".join(part for part in parts if part)) from None


def write_document(document: BaseModel, path: Path) -> None:
    """Write a plan or a manifest, whole or not at all."""
    write_text(path, document.model_dump_json(indent=2) + "\n")
