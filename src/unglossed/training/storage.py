"""A folder of files that several machines write to: on a disk, or at a URL through fsspec.

What is written appears whole under its name, so no reader needs a lock. fsspec knows the services;
S3 and Google's need a package each (s3fs, gcsfs). What is read from a URL is copied to this
machine once: names are given to content that never changes.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.registry import known_implementations

from unglossed.errors import InputError, note
from unglossed.files import as_path, exclusive, whole_file

Place = Path | str
"""A folder on a disk, or a URL such as `s3://bucket/features`."""
CACHE = "UNGLOSSED_CACHE"
"""Environment variable that names the folder for copies of what is read from URLs."""
_OLD_SECONDS = 3600  # what was begun so long ago and never finished is of a killed process
_COPIED_AT_ONCE = 8


class Storage(ABC):
    """A folder that holds files, and folders with files."""

    @abstractmethod
    def __truediv__(self, name: str) -> Storage:
        """A folder in it, which need not be there."""

    @abstractmethod
    def files(self) -> dict[str, int]:
        """Sizes in bytes of the files in it, by name; none where there is no such folder."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Names of the folders in it."""

    @abstractmethod
    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is none.
            InputError: it cannot be read.
        """

    @abstractmethod
    def copy(self, name: str, *, anew: bool = False) -> Path | None:
        """The path on this machine of a file that never changes; None: there is none.

        Args:
            name: The file.
            anew: Read it again, if what is on this machine is a copy.

        Raises:
            InputError: it cannot be read.
        """

    def copies(self, names: Collection[str]) -> Iterator[tuple[str, Path | None]]:
        """Names, and what `copy` gives for each; several are read at a time."""
        with ThreadPoolExecutor(_COPIED_AT_ONCE) as pool:
            yield from zip(names, pool.map(self.copy, names), strict=True)

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, whoever else writes it."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

    @contextmanager
    def writing(self, part: str) -> Iterator[None]:
        """Be the only one that works on a part, as far as there are locks."""
        del part
        yield


@dataclass(frozen=True)
class LocalStorage(Storage):
    """A folder on a disk."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> LocalStorage:
        return LocalStorage(self.path / name)

    def files(self) -> dict[str, int]:
        """See `Storage.files`."""
        found = {}
        for entry in self._entries():
            with suppress(FileNotFoundError):
                if entry.is_file():
                    found[entry.name] = entry.stat().st_size
        return found

    def folders(self) -> list[str]:
        """See `Storage.folders`."""
        return sorted(entry.name for entry in self._entries() if entry.is_dir())

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Storage.read`."""
        try:
            with (self.path / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if end is None else end - start)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(self.path / name, error) from None

    def copy(self, name: str, *, anew: bool = False) -> Path | None:
        """See `Storage.copy`: the file itself."""
        del anew
        path = self.path / name
        return path if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """See `Storage.write`."""
        with whole_file(self.path / name, shared=True) as partial:
            partial.write_bytes(data)

    def remove(self, name: str) -> None:
        """See `Storage.remove`."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def writing(self, part: str) -> Iterator[None]:
        """Be the only one that works on a part; what killed processes began long ago is deleted."""
        lock = self.path / (f"lock-{part}" if part else "lock")
        busy = f"{self.path}: waiting for another process that stores features there"
        # Without locks, two that work on the same part both encode, nothing worse.
        with exclusive(lock, lambda: note(busy)):
            lock.touch()  # by the clock that the times of all files there are of
            now = lock.stat().st_mtime
            for leftover in self.path.glob(".*.partial"):
                with suppress(FileNotFoundError):
                    if now - leftover.stat().st_mtime > _OLD_SECONDS:
                        leftover.unlink()
            yield


@dataclass(frozen=True)
class RemoteStorage(Storage):
    """A folder at a URL.

    Attributes:
        url: The URL, without a slash at its end.
        files_at: fsspec's file system of the URL.
        root: The folder's name in there.
    """

    url: str
    files_at: Any
    root: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemoteStorage:
        return RemoteStorage(f"{self.url}/{name}", self.files_at, f"{self.root}/{name}")

    def files(self) -> dict[str, int]:
        """See `Storage.files`."""
        return {
            _last(entry["name"]): int(entry["size"] or 0)
            for entry in self._entries()
            if entry["type"] == "file"
        }

    def folders(self) -> list[str]:
        """See `Storage.folders`."""
        rows = self._entries()
        return sorted(_last(entry["name"]) for entry in rows if entry["type"] == "directory")

    def _entries(self) -> list[dict[str, Any]]:
        with self._named(""):
            with suppress(FileNotFoundError):
                rows: list[dict[str, Any]] = self.files_at.ls(self.root, detail=True, refresh=True)
                return [row for row in rows if row["name"].strip("/") != self.root.strip("/")]
            return []

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Storage.read`."""
        with self._named(name):
            found: bytes = self.files_at.cat_file(f"{self.root}/{name}", start=start, end=end)
            return found

    def copy(self, name: str, *, anew: bool = False) -> Path | None:
        """See `Storage.copy`: below `UNGLOSSED_CACHE`."""
        path = self._copy(name)
        if anew or not path.is_file():
            try:
                data = self.read(name)
            except FileNotFoundError:
                return None
            with whole_file(path, shared=True) as partial:
                partial.write_bytes(data)
        return path

    def write(self, name: str, data: bytes) -> None:
        """See `Storage.write`: object stores show an object when all of it is there."""
        with self._named(name):
            self.files_at.pipe_file(f"{self.root}/{name}", data)

    def remove(self, name: str) -> None:
        """See `Storage.remove`; a copy of it as well."""
        self._copy(name).unlink(missing_ok=True)
        with self._named(name), suppress(FileNotFoundError):
            self.files_at.rm_file(f"{self.root}/{name}")

    def _copy(self, name: str) -> Path:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(os.environ.get(CACHE) or Path(base) / "unglossed")
        return cache / hashlib.sha256(self.url.encode()).hexdigest()[:16] / name

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Name the file in whatever a storage service raises."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            where = f"{self.url}/{name}" if name else self.url
            reason = str(error) or type(error).__name__
            raise InputError(f"{where}: the storage failed: {reason}") from error


def storage_at(place: Place) -> Storage:
    """The folder at a place.

    Raises:
        InputError: it is a URL that fsspec cannot open.
    """
    if isinstance(place, Path) or "://" not in place:
        return LocalStorage(Path(place))
    protocol = place.partition("://")[0]
    try:
        files_at, root = fsspec.core.url_to_fs(place)
    except ImportError as error:
        kind = known_implementations.get(protocol, {}).get("class", "")
        package = kind.partition(".")[0]
        known = package not in ("", "fsspec")
        hint = f"expected the package {package}: pip install {package}" if known else str(error)
        raise InputError(f"{place}: cannot be opened: {hint}") from None
    except Exception as error:
        raise InputError(f"{place}: cannot be opened: {error}") from None
    return RemoteStorage(place.rstrip("/"), files_at, str(root).rstrip("/"))


def as_place(value: object, name: str) -> Place:
    """A folder or URL from what a caller gave as the argument `name`.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, str) and "://" in value:
        if value.startswith(("file://", "local://")):
            return as_path(value.partition("://")[2], name)
        return value
    return as_path(value, name)


def absolute(place: Place) -> str:
    """A place as it can be found from another folder."""
    return place if isinstance(place, str) and "://" in place else str(Path(place).absolute())


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {error.strerror}")


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
