"""Clips within Parquet files, as data sets of a hub have them: unpacked once, into files.

A column of clips holds for each row the bytes of a file and its name, as the features Audio and
Video of the package datasets write them. Names of files in a data set are nobody's promise: of them
only a known suffix is used. `hub` reads what the other columns say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unglossed.errors import InputError, note
from unglossed.files import exclusive, import_pyarrow, whole_folder, write_text
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import VIDEO_SUFFIXES

UNPACKED = ".unglossed"
"""The folder beside the data that clips are unpacked into; it can be deleted."""

_MARK = "unpacked.json"
_BYTES, _PATH = "bytes", "path"
_KINDS = {"Video": ".mkv", "Audio": ".mka"}  # containers of any codec, for names that tell nothing
_PREFERRED = ("video", "audio")
_BUFFER = 1 << 20  # else pages of a group of rows are in memory together


@dataclass(frozen=True)
class ClipTable:
    """A Parquet file that holds clips.

    Attributes:
        path: The file.
        column: The one that holds the clips.
        kind: "Video" or "Audio".
        labels: The other columns that hold texts, numbers or truth values.
    """

    path: Path
    column: str
    kind: str
    labels: tuple[str, ...]

    def rows(self) -> Iterator[tuple[int, str, Mapping[str, object]]]:
        """Read what the rows say; no clip is read.

        Yields:
            Number of the row from 1, name of the file that its clip is unpacked to, and the labels.

        Raises:
            InputError: The file is damaged.
        """
        columns = [*self.labels, f"{self.column}.{_PATH}"]
        for number, values in _read(self.path, columns, 1024):
            clip = values.pop(self.column)
            yield number, self._name(number, clip[_PATH] if clip else None), values

    def unpack(self, folder: Path) -> None:
        """Write the clips into a folder, unless they are there; it appears whole or not at all.

        No more than one of the file's groups of rows is in memory. Processes that unpack the same
        file wait for the first. A file that has changed since is unpacked again.

        Args:
            folder: Below `UNPACKED`.

        Raises:
            InputError: The file is damaged, or the clips cannot be written.
        """
        status = self.path.stat()
        facts = {"size": status.st_size, "modified": status.st_mtime_ns, "column": self.column}
        mark = json.dumps({"version": 1, "file": self.path.name, **facts}) + "\n"
        if _read_mark(folder) == mark:
            return
        try:
            with exclusive(folder.with_name(f".{folder.name}.lock"), lambda: None):
                if _read_mark(folder) == mark:
                    return
                note(f"unpacking the clips of {self.path} into {folder}")
                with whole_folder(folder) as partial:
                    for number, file in self._clips():
                        path = partial / self._name(number, file[_PATH])
                        path.write_bytes(file[_BYTES])
                        # A stored feature is known by its clip's time: unpacked again, it is equal.
                        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
                    write_text(partial / _MARK, mark)
        except OSError as error:
            raise InputError(
                f"{folder}: the clips of {self.path} cannot be unpacked there: {error.strerror};"
                " ?media=FOLDER names another place"
            ) from error

    def _clips(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The clips that are there, with the numbers of their rows."""
        columns = [f"{self.column}.{name}" for name in (_BYTES, _PATH)]
        for number, values in _read(self.path, columns, 1):
            clip = values[self.column]
            if clip and clip[_BYTES] is not None:
                yield number, clip

    def _name(self, number: int, written: str | None) -> str:
        """Name of a row's file: its number, with the suffix that the data set gives it."""
        suffix = PurePosixPath((written or "").lower()).suffix
        known = suffix in VIDEO_SUFFIXES or suffix in AUDIO_SUFFIXES
        return f"{number:06d}{suffix if known else _KINDS[self.kind]}"


def open_clips(path: Path, wanted: str | None = None) -> ClipTable | None:
    """Look for a column of clips in a Parquet file; None: it has none.

    Args:
        path: The file.
        wanted: The column; None: `video`, else `audio`, else the only one.

    Raises:
        InputError: It is not readable, pyarrow is not installed, several columns hold clips and
            none is wanted, the one that is wanted holds none, or two have one name.
    """
    pyarrow = import_pyarrow(path)
    with _readable(path, pyarrow), pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
    told = _features(schema.metadata or {})
    clips: dict[str, str] = {}
    for field in schema:
        kind = told.get(field.name, "Audio" if field.name == "audio" else "Video")
        if kind in _KINDS and _holds_files(field.type, pyarrow.types):
            clips[field.name] = kind
    if wanted and wanted not in clips:
        shown = ", ".join(map(repr, clips)) or "none"
        raise InputError(f"{path}: found clips in {shown}, expected some in the column {wanted!r}")
    if not clips:
        return None
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise InputError(f"{path}: found the column {twice[0]!r} twice, expected it once")
    column = wanted or next((name for name in _PREFERRED if name in clips), None)
    if column is None:
        column, *others = clips
        if others:
            shown = ", ".join(map(repr, clips))
            raise InputError(f"{path}: found clips in {shown}, expected a choice: ?clips=COLUMN")
    labels = tuple(field.name for field in schema if _is_plain(field.type, pyarrow.types))
    return ClipTable(path, column, clips[column], labels)


def check_place(root: Path, folder: Path) -> None:
    """Refuse a folder to unpack into that a link leads away from the data.

    Args:
        root: Of the data, or what `?media=` names.
        folder: Below `root`.

    Raises:
        InputError: A part of it is a link.
    """
    place = root
    for part in folder.relative_to(root).parts:
        place = place / part
        if place.is_symlink():
            raise InputError(
                f"{place}: found a link, expected a folder that clips can be unpacked into:"
                " remove it, or name another place by ?media=FOLDER"
            )


def _read(path: Path, columns: list[str], rows_at_once: int) -> Iterator[tuple[int, Any]]:
    pyarrow = import_pyarrow(path)
    number = 0
    options = {"buffer_size": _BUFFER, "pre_buffer": False}
    with (
        _readable(path, pyarrow),
        pyarrow.parquet.ParquetFile(path, **options) as file,
    ):
        batches = file.iter_batches(batch_size=rows_at_once, columns=columns, use_threads=False)
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                yield number, values


@contextmanager
def _readable(path: Path, pyarrow: Any) -> Iterator[None]:
    """What pyarrow says of a damaged file, in one line."""
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not readable as Parquet: {reason}") from None


def _read_mark(folder: Path) -> str | None:
    try:
        return (folder / _MARK).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """The kinds of columns that the package datasets wrote down; nothing where there are none."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            name: str(kind["_type"])
            for name, kind in features.items()
            if isinstance(kind, dict) and "_type" in kind
        }
    return {}


def _holds_files(kind: Any, types: Any) -> bool:
    """Whether a column's type is that of files: their bytes, and their names."""
    if not types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    return {_BYTES, _PATH} <= fields.keys() and (
        (types.is_binary(fields[_BYTES]) or types.is_large_binary(fields[_BYTES]))
        and (types.is_string(fields[_PATH]) or types.is_large_string(fields[_PATH]))
    )


def _is_plain(kind: Any, types: Any) -> bool:
    """Whether a column's type is that of texts, numbers or truth values."""
    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
    )
