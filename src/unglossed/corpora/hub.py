"""Data sets of a model hub as folders: videos or audio, and a metadata file that describes them.

`metadata.jsonl`, `.csv` or `.parquet` names each file in `file_name`, as the VideoFolder and
AudioFolder of the package datasets have it. What was downloaded is read; nothing is asked of a hub.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unglossed.corpora.captions import on_one_line, read_text
from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import MediaFolder, list_folders
from unglossed.corpora.reading import Reading, Rows, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.corpora.table import parse_object, parse_seconds
from unglossed.errors import InputError
from unglossed.files import import_pyarrow

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_COLUMNS = ("file_name", "video_file_name", "audio_file_name")
TEXT_COLUMNS = ("text", "translation", "sentence", "caption")
"""The first is read that is there, unless `?text=` names another."""

_LABELS = ("signer", "gloss", "transcript")
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
    path: PurePosixPath  # of the medium, from the root
    values: Mapping[str, object]


def read_hub(reading: Reading) -> Corpus:
    """Read every row of the metadata files of a folder.

    Paths are relative to the metadata file. The split of a row is told by the folders that its file
    lies in, as in `train/` or `data/my-validation/`, else by file names, else all is train. Where
    folders tell it, files outside them are in no split. The text is in the column that `?text=`
    names, else in `text`, `translation`, `sentence` or `caption`; the columns `id`, `start`, `end`,
    `signer`, `gloss` and `transcript` mean what they do in a table.

    Args:
        reading: Its root is the folder. With a media root files lie below it as below the folder.
            Without a language it is what a generated corpus says about itself.

    Raises:
        InputError: There is no metadata file, it is malformed or lacks a column, or no language is
            named.
    """
    root = reading.root
    language = reading.language or generated_language(root)
    if not language:
        raise InputError(f"{root}: no language, expected ?language=CODE in the spec")
    files = list(_find_metadata(root, _DEPTH))
    if not files:
        raise InputError(
            f"{root}: found no {METADATA[0]}, expected it there or in train, test, ..."
        )
    found = [row for path in files for row in _read(reading, path)]
    splits = _find_splits([row.path for row in found])
    media = MediaFolder(reading.media_root or root, reading.broken_links, look=reading.has_media)
    rows = Rows(reading, language, forgiving=True)
    text_columns: dict[Path, str] = {}
    for row, split in zip(found, splits, strict=True):
        path, unit, number = row.where
        if path not in text_columns:
            text_columns[path] = _text_column(reading, path, row.values)
            rows.begin(path, unit)
        with rows.row(number):
            if split is None:
                raise RowError(f"{str(row.path)!r} lies in no split's folder", FaultKind.NO_SPLIT)
            try:
                clip = media.find(str(row.path))
            except InputError as error:
                raise RowError(str(error), FaultKind.UNREADABLE_MEDIA) from error
            values = row.values
            start, end = (_seconds(name, values.get(name)) for name in _TIMES)
            signer, gloss, transcript = (_text(values, name) for name in _LABELS)
            rows.add(
                number,
                id=_text(values, "id") or str(row.path.with_suffix("")),
                media=clip,
                expected=media.root / row.path,
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
            if any(isinstance(value, dict) for value in values.values()):
                shown += " (the clips lie within the file, where they cannot be read)"
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
    table = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    try:
        header = next(table, [])
        if twice := [name for name in header if header.count(name) > 1]:
            raise InputError(f"{path}, line 1: found the column {twice[0]!r} twice")
        for fields in table:
            if len(fields) == len(header):
                yield table.line_num, dict(zip(header, fields, strict=True))
            elif fields:
                text = f"found {len(fields)} fields, expected {len(header)}"
                where = f"{path}, line {table.line_num}"
                reading.report(FaultKind.MALFORMED_ROW, where, text)
    except csv.Error as error:
        raise InputError(f"{path}, line {table.line_num}: wrong quotes: {error}") from error


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
