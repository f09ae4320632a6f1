"""Data sets of a model hub as folders: videos or audio, and a metadata file that describes them.

`metadata.jsonl`, `.csv` or `.parquet` names each file in `file_name`, as the VideoFolder and
AudioFolder of the package datasets have it; or Parquet files hold the clips, see `embedded`. What
was downloaded is read; nothing is asked of a hub.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unglossed.corpora.captions import on_one_line
from unglossed.corpora.embedded import UNPACKED, ClipTable, check_place, open_clips
from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import MediaFolder, list_files, list_folders
from unglossed.corpora.reading import Reading, Rows, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.corpora.separated import read_separated
from unglossed.corpora.table import parse_object, parse_seconds
from unglossed.errors import InputError
from unglossed.files import import_pyarrow

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_COLUMNS = ("file_name", "video_file_name", "audio_file_name")
TEXT_COLUMNS = ("text", "translation", "sentence", "caption")
"""The first is read that is there, unless `?text=` names another."""

_LABELS = ("signer", "gloss")
_TIMES = ("start", "end")
_DEPTH = 3
_KEYWORDS = {
    "train": "train|training",
    "dev": "validation|valid|dev|val",
    "test": "testing|test|evaluation|eval",
}
_SPLITS = {
    split: re.compile(rf"(?:.*[-._ 0-9])?(?:{words})(?:[-._ 0-9].*)?")
    for split, words in _KEYWORDS.items()
}


class _Row(NamedTuple):
    where: tuple[Path, str, int]  # file, what its rows are called, and number
    path: PurePosixPath  # of the medium, from the root; of a clip in a file below the file's name
    values: Mapping[str, object]
    clips: ClipTable | None = None  # that hold the medium

    @property
    def media(self) -> PurePosixPath:
        """Where the medium lies, from the root."""
        return self.path if self.clips is None else UNPACKED / self.path


def read_hub(reading: Reading) -> Corpus:
    """Read every row of the metadata files of a folder.

    A folder without one is read by its Parquet files that hold clips: these are unpacked into the
    folder `.unglossed`, once. Such a row is called by its `id` where each is there once, else by
    its file and its number.

    Paths are relative to the metadata file. The split of a row is told by the folders that its file
    lies in, as in `train/` or `data/my-validation/`, else by file names, else all is train. Where
    folders tell it, files outside them are in no split. The text is in the column that `?text=`
    names, else in `text`, `translation`, `sentence` or `caption`; the columns `id`, `start`, `end`,
    `signer`, `gloss` and `transcript` mean what they do in a table; `?transcript=` names another
    column, `?clips=` the one that holds the clips.

    Args:
        reading: Its root is the folder. With a media root files lie below it as below the folder,
            and clips are unpacked there. Without a language it is what a generated corpus says
            about itself.

    Raises:
        InputError: There is no metadata file, it is malformed or lacks a column, no language is
            named, or clips cannot be unpacked.
    """
    root = reading.root
    language = reading.language or generated_language(root)
    if not language:
        raise InputError(f"{root}: no language, expected ?language=CODE in the spec")
    wanted = reading.own.get("clips")
    files = list(_find_metadata(root, _DEPTH))
    tables = list(_find_clips(root, files, wanted))
    if not files and not tables:
        raise InputError(
            f"{root}: found no {METADATA[0]}, expected it there or in train, test, ...; or Parquet"
            " files that hold clips"
        )
    if wanted and not tables:
        raise InputError(f"{root}: found no Parquet file with clips, expected one for ?clips=")
    held = {table.path for table in tables}
    found = [row for path in files if path not in held for row in _read(reading, path)]
    inside = [row for table in tables for row in _read_clips(root, table)]
    ids = {str(row.values.get("id")) for row in inside}
    found += inside
    splits = _find_splits([row.path for row in found])
    if reading.has_media and reading.beside is None:
        _unpack(reading, found, splits)
    spoken = reading.own.get("transcript", "transcript")
    media = MediaFolder(reading.media_root or root, reading.broken_links, look=reading.has_media)
    rows = Rows(reading, language, forgiving=True)
    text_columns: dict[Path, str] = {}
    for row, split in zip(found, splits, strict=True):
        path, unit, number = row.where
        if path not in text_columns:
            text_columns[path] = _text_column(reading, path, row.values)
            _check_transcript(reading, path, row.values)
            rows.begin(path, unit)
        with rows.row(number):
            if split is None:
                raise RowError(f"{str(row.path)!r} lies in no split's folder", FaultKind.NO_SPLIT)
            try:
                clip = media.find(str(row.media))
            except InputError as error:
                raise RowError(str(error), FaultKind.UNREADABLE_MEDIA) from error
            values = row.values
            own_id = _text(values, "id") if row.clips is None or len(ids) == len(inside) else ""
            start, end = (_seconds(name, values.get(name)) for name in _TIMES)
            signer, gloss, transcript = (_text(values, name) for name in (*_LABELS, spoken))
            rows.add(
                number,
                id=own_id or str(row.path.with_suffix("")),
                media=clip,
                expected=media.root / row.media,
                text=on_one_line(_text(values, text_columns[path])),
                split=split,
                signer=signer,
                gloss=gloss,
                transcript=transcript,
                start_seconds=start,
                end_seconds=end,
            )
    media.report_leftover(rows)
    return rows.corpus("hub")


def _find_metadata(folder: Path, depth: int) -> Iterator[Path]:
    """The metadata files of a folder and of those in it; of several kinds the first one."""
    path = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if path is not None:
        yield path
    for _, inner in sorted(list_folders(folder).items()) if depth else ():
        yield from _find_metadata(inner, depth - 1)


def _find_clips(root: Path, metadata: list[Path], wanted: str | None) -> Iterator[ClipTable]:
    """The Parquet files that hold clips, of the metadata files or else of all; others are none."""
    paths: Iterable[Path] = [path for path in metadata if path.suffix == ".parquet"]
    for path in paths if metadata else _find_parquet(root, _DEPTH):
        table = open_clips(path, wanted)
        if table is not None:
            yield table


def _find_parquet(folder: Path, depth: int) -> Iterator[Path]:
    for _, path in sorted(list_files(folder, (".parquet",)).items()):
        yield path
    for _, inner in sorted(list_folders(folder).items()) if depth else ():
        yield from _find_parquet(inner, depth - 1)


def _read_clips(root: Path, table: ClipTable) -> Iterator[_Row]:
    path = table.path
    folder = PurePosixPath(path.parent.relative_to(root), path.stem)
    for number, name, values in table.rows():
        yield _Row((path, "row", number), folder / name, values, table)


def _unpack(reading: Reading, rows: list[_Row], splits: list[str | None]) -> None:
    """Unpack the files that hold clips of the splits that will be used."""
    root = reading.media_root or reading.root
    done: set[PurePosixPath] = set()
    for row, split in zip(rows, splits, strict=True):
        folder = row.media.parent
        if row.clips is None or folder in done or reading.only not in (None, split):
            continue
        done.add(folder)
        check_place(root, root / folder)
        row.clips.unpack(root / folder)


def _find_splits(paths: list[PurePosixPath]) -> list[str | None]:
    """The split of each file: by folders, else by file names, else train."""

    def named(names: tuple[str, ...]) -> str | None:
        return next(
            (
                split
                for split, pattern in _SPLITS.items()
                if any(pattern.fullmatch(name.lower()) for name in names)
            ),
            None,
        )

    by_folder = [named(path.parts[:-1]) for path in paths]
    if any(by_folder):
        return by_folder
    by_name = [named((path.stem,)) for path in paths]
    return by_name if any(by_name) else ["train"] * len(paths)


def _text_column(reading: Reading, path: Path, values: Mapping[str, object]) -> str:
    wanted = reading.own.get("text")
    name = next((one for one in (wanted and (wanted,)) or TEXT_COLUMNS if one in values), None)
    if name is None:
        shown = ", ".join(map(repr, values))[:300]
        expected = repr(wanted) if wanted else f"{', '.join(TEXT_COLUMNS)} or ?text=COLUMN"
        raise InputError(f"{path}: found the columns {shown}, expected {expected}")
    return name


def _check_transcript(reading: Reading, path: Path, values: Mapping[str, object]) -> None:
    wanted = reading.own.get("transcript")
    if wanted and wanted not in values:
        shown = ", ".join(map(repr, values))[:300]
        raise InputError(f"{path}: found the columns {shown}, expected {wanted!r}")


def _read(reading: Reading, path: Path) -> Iterator[_Row]:
    """The rows of a metadata file that name a file."""
    unit = "row" if path.suffix == ".parquet" else "line"
    folder = PurePosixPath(path.parent.relative_to(reading.root))
    kinds = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    for number, values in kinds[path.suffix](reading, path):
        column = next((name for name in FILE_COLUMNS if name in values), None)
        where = f"{path}, {unit} {number}"
        if column is None:
            shown = ", ".join(map(repr, values))[:300] or "none"
            raise InputError(f"{where}: no column file_name, found {shown}")
        name = values[column]
        place = PurePosixPath(name) if isinstance(name, str) else None
        if place is None or place.is_absolute() or ".." in place.parts or not place.parts:
            text = f"the field {column}: found {name!r:.100}, expected a path below the folder"
            reading.report(FaultKind.MALFORMED_ROW, where, text)
        elif "\0" in str(name) or "\\" in str(name):
            text = f"the field {column}: found {name!r:.100}, expected a path with /"
            reading.report(FaultKind.MALFORMED_ROW, where, text)
        else:
            yield _Row((path, unit, number), folder / place, values)


def _read_jsonl(reading: Reading, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in read_lines(reading, path):
        if line.strip():
            try:
                yield number, parse_object(line)
            except RowError as error:
                reading.report(FaultKind.MALFORMED_ROW, f"{path}, line {number}", str(error))


def _read_csv(reading: Reading, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    header, rows = read_separated(reading, path)
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{path}, line 1: found the column {twice[0]!r} twice")
    for number, fields in rows:
        yield number, dict(zip(header, fields, strict=True))


def _read_parquet(reading: Reading, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    pyarrow = import_pyarrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as Parquet: {reason}") from None


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RowError(f"the field {name}: found {value!r:.60}, expected text")
    return value


def _seconds(name: str, value: object) -> float | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"the field {name}: found {value!r:.60}, expected seconds or HH:MM:SS.mmm")
    try:
        return parse_seconds(name, value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf
