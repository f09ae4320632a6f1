"""The rows of a table file (CSV, TSV, JSONL, Parquet), in one shape and one at a time.

What the fields mean is `table`'s work; here is only how each format writes them.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import cast

from unglossed.corpora.faults import FaultKind
from unglossed.corpora.lines import read_lines
from unglossed.corpora.reading import Reading
from unglossed.errors import InputError

REQUIRED = ("id", "media", "text", "split")
OPTIONAL = ("start", "end", "signer", "language", "gloss", "transcript", "frame_rate")
_NUMBERS = ("start", "end", "frame_rate")
COLUMNS = REQUIRED + OPTIONAL

# What people call the optional columns. Left aside they would do harm without a word: a segment
# would become its whole video.
_MEANT = {
    name: column
    for column, names in {
        "start": "start starts starttime startseconds startsec startms startframe startrealigned"
        " begin begins begintime beginseconds onset",
        "end": "end ends endtime endseconds endsec endms endframe endrealigned stop stoptime"
        " stopseconds duration",
        "signer": "signer signers signerid speaker speakers speakerid",
        "language": "language languages languagecode lang locale",
        "gloss": "gloss glosses orth orthography",
        "transcript": "transcript transcripts transcription",
    }.items()
    for name in names.split()
}


# Columns as these stand in many tables of videos, where they have no effect.
_RATES = {"fps", "framerate", "framespersecond"}

_HUGE = 1e300  # whole numbers beyond have no float

Time = str | float
TableRow = tuple[str, str, str, str, Time, Time, str, str, str, str, Time]
"""A row's fields in the order of `COLUMNS`; what a table does not have is empty."""

NumberedRows = Iterator[tuple[int, TableRow]]


def read_table_rows(reading: Reading, path: Path) -> NumberedRows:
    """Read the rows of a table; its suffix tells the format.

    A row that is malformed is reported and left out.

    Yields:
        Number of the row's first line in the file, of Parquet that of the row, from 1; and the row.

    Raises:
        InputError: The file cannot be read; it lacks a column, or has one that looks like a
            misspelt one; pyarrow is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown kind of table, expected {', '.join(_READERS)}")
    return reader(reading, path)


def row_unit(path: Path) -> str:
    """What the numbers of `read_table_rows` count."""
    return "row" if path.suffix.lower() == ".parquet" else "line"


def _read_separated(separator: str, reading: Reading, path: Path) -> NumberedRows:
    lines = map(itemgetter(1), read_lines(reading, path, keep_ends=True))
    table = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = next(table, [])
    except csv.Error as error:
        raise InputError(f"{path}, line 1: header with wrong quotes: {error}") from error
    header = _rename(header)
    _check_columns(f"{path}, line 1", header, REQUIRED)
    # A column that is not there is taken from the empty field that each row gets at its end.
    places = [header.index(name) if name in header else -1 for name in COLUMNS]
    pick = itemgetter(*places)
    last = table.line_num
    while True:
        try:
            for fields in table:
                number, last = last + 1, table.line_num
                if len(fields) == len(header):
                    fields.append("")
                    yield number, pick(fields)
                elif fields:  # an empty line has none
                    text = f"found {len(fields)} fields, expected {len(header)}"
                    reading.report(FaultKind.MALFORMED_ROW, f"{path}, line {number}", text)
            return
        except csv.Error as error:
            where = f"{path}, line {last + 1}"
            text = f"wrong quotes: {error}"
            if "new-line character" in str(error):
                text = "found a carriage return alone, expected it within quotes or not at all"
            reading.report(FaultKind.MALFORMED_ROW, where, text)
            last = table.line_num


def _read_jsonl(reading: Reading, path: Path) -> NumberedRows:
    known: set[tuple[str, ...]] = set()
    for number, line in read_lines(reading, path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = _parse_object(line)
            row = dict(zip(_rename(list(row)), row.values(), strict=True))
            names = tuple(row)
            if names not in known:
                _check_columns(where, names)
                missing = [name for name in REQUIRED if name not in row]
                if missing:
                    raise _RowError(f"no field {', '.join(missing)}, found {', '.join(names)}")
                known.add(names)
            fields = _as_row(map(row.get, COLUMNS))
        except _RowError as error:
            reading.report(FaultKind.MALFORMED_ROW, where, str(error))
        else:
            yield number, fields


def _parse_object(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
        if "\\u" in line:  # JSON can write half a character, which no file can hold
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _RowError("found half of a surrogate pair, expected whole characters") from None
    except (ValueError, RecursionError) as error:
        raise _RowError(f"not JSON ({error}), expected an object on each line") from None
    if not isinstance(row, dict):
        raise _RowError(f"found {line[:60]!r}, expected a JSON object")
    return row


def _read_parquet(reading: Reading, path: Path) -> NumberedRows:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow: pip install 'unglossed[parquet]'"
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            written = file.schema_arrow.names
            names = _rename(written)
            _check_columns(str(path), names, REQUIRED)
            found = [name for name, read in zip(written, names, strict=True) if read in COLUMNS]
            for batch in file.iter_batches(batch_size=16384, columns=found):
                columns = dict(zip(_rename(found), batch.to_pydict().values(), strict=True))
                nothing = [None] * batch.num_rows
                for values in zip(*(columns.get(name, nothing) for name in COLUMNS), strict=True):
                    number += 1
                    try:
                        fields = _as_row(values)
                    except _RowError as error:
                        where = f"{path}, row {number}"
                        reading.report(FaultKind.MALFORMED_ROW, where, str(error))
                    else:
                        yield number, fields
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}, after row {number}: not readable as Parquet: {reason}") from None


_READERS: dict[str, Callable[[Reading, Path], NumberedRows]] = {
    ".csv": partial(_read_separated, ","),
    ".tsv": partial(_read_separated, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _rename(names: list[str]) -> list[str]:
    """The names of columns, that of a frame rate in the one form in which it is read."""
    if "frame_rate" in names:
        return names
    alike = [name for name in names if re.sub("[^a-z]", "", name.lower()) in _RATES]
    return ["frame_rate" if name in alike[:1] else name for name in names]


def _check_columns(where: str, found: Sequence[str], required: Iterable[str] = ()) -> None:
    shown = ", ".join(map(repr, found))
    missing = [name for name in required if name not in found]
    if missing:
        other = next((mark for mark in ";\t|," if len(found) == 1 and mark in found[0]), None)
        hint = f"; the fields seem to be separated by {other!r}" if other else ""
        raise InputError(
            f"{where}: no column {', '.join(missing)}, found {shown[:500] or 'none'}{hint}"
        )
    for name in COLUMNS:
        if found.count(name) > 1:
            raise InputError(f"{where}: found the column {name!r} twice, expected it once")
    for name in found:
        key = re.sub("[^a-z]", "", name.lower())
        meant = _MEANT.get(key)
        if key == "duration" and "start" not in found:
            continue  # that of the whole clip
        if meant and meant not in found:
            raise InputError(
                f"{where}: found the column {name!r}, which is not read; expected {meant!r}"
                f"{' in seconds' if meant in ('start', 'end') else ''}: rename or remove it"
            )


class _RowError(Exception):
    """A row cannot be used; the message says why."""


def _as_row(values: Iterable[object]) -> TableRow:
    # NaN is how some programs write that there is no value.
    fields = ["" if value is None or value != value else value for value in values]
    for place, value in enumerate(fields):
        if type(value) is not str:
            fields[place] = _as_field(COLUMNS[place], value)
    return cast(TableRow, tuple(fields))


def _as_field(name: str, value: object) -> Time:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name in _NUMBERS:
            return float(value) if abs(value) < _HUGE else math.copysign(math.inf, value)
        # Where numbers are missing some programs make 7.0 of a 7.
        if isinstance(value, int) or value.is_integer():
            return str(int(value))
    found = str(value).lower() if isinstance(value, bool) else repr(value)[:60]
    expected = "a number, or HH:MM:SS.mmm" if name in ("start", "end") else "text"
    expected = "a number" if name == "frame_rate" else expected
    raise _RowError(f"the field {name}: found {found}, expected {expected}")
