"""Tables of one's own: CSV, TSV, JSONL or Parquet with the columns id, media, text and split.

CSV follows RFC 4180: a field with a comma, a quote or a line break stands in double quotes, and a
quote within it is doubled. TSV has the same rules with tabs, as spreadsheets write it.
"""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import cast

from unglossed.corpora.captions import parse_clock
from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.json_files import fields_once
from unglossed.corpora.listing import MediaFolder, list_entries
from unglossed.corpora.reading import ALL, SPLIT_NAMES, Reading, Rows, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.corpora.separated import read_separated
from unglossed.errors import InputError
from unglossed.files import import_pyarrow
from unglossed.media.signal import check_frame_rate, has_no_rate

REQUIRED = ("id", "media", "text", "split")
OPTIONAL = ("start", "end", "signer", "language", "gloss", "transcript", "frame_rate")
_NUMBERS = ("start", "end", "frame_rate")
COLUMNS = REQUIRED + OPTIONAL

# What people call the optional columns. Ignored they would do harm: a segment would become its
# whole video.
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
# Further texts of a row, each a right translation of the clip.
_FURTHER = re.compile("text_([2-9]|[1-9][0-9]+)")
_ALMOST_FURTHER = re.compile(r"text[\s_.-]*[0-9]+", re.IGNORECASE)
_HINTS = {
    "split": "?split=train says it for all rows, and table:FOLDER reads its train, dev and test",
    "text": "`unglossed translate` alone takes a table without",
}
# Columns as these stand in many tables of videos, where they have no effect.
_RATES = {"fps", "framerate", "framespersecond"}
_HUGE = 1e300  # whole numbers beyond have no float
_OWN_SPLITS = ("train", "dev", "test")
_SPLIT_WITHOUT_TEXTS = "test"  # of rows to be translated

Time = str | float
TableRow = tuple[str, str, str, str, Time, Time, str, str, str, str, Time]
"""A row's fields in the order of `COLUMNS`; what a table does not have is empty."""

NumberedRows = Iterator[tuple[int, TableRow, tuple[str, ...]]]
"""Number of a row, its fields, and its further texts."""


def _read_separated(
    separator: str, reading: Reading, path: Path, required: Sequence[str]
) -> NumberedRows:
    written, rows = read_separated(reading, path, separator)
    header = _rename(written)
    _check_columns(f"{path}, line 1", header, required)
    # A column that is not there is taken from the empty field that each row gets at its end.
    places = [header.index(name) if name in header else -1 for name in COLUMNS]
    pick = itemgetter(*places)
    further = [header.index(name) for name in _further_columns(header)]
    for number, fields in rows:
        fields.append("")
        yield number, pick(fields), tuple(fields[place] for place in further)


def _read_jsonl(reading: Reading, path: Path, required: Sequence[str]) -> NumberedRows:
    known: dict[tuple[str, ...], list[str]] = {}  # further columns by all names
    for number, line in read_lines(reading, path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = parse_object(line)
            row = dict(zip(_rename(list(row)), row.values(), strict=True))
            names = tuple(row)
            if names not in known:
                _check_columns(where, names)
                missing = [name for name in required if name not in row]
                if missing:
                    raise RowError(f"no field {', '.join(missing)}, found {', '.join(names)}")
                known[names] = _further_columns(names)
            fields, further = _as_row(row, known[names])
        except RowError as error:
            reading.report(FaultKind.MALFORMED_ROW, where, str(error))
        else:
            yield number, fields, further


def parse_object(line: str) -> dict[str, object]:
    """Parse a line of JSON Lines; RowError: it is no object, or holds half a character."""
    try:
        row = json.loads(line, object_pairs_hook=fields_once)
        if "\\u" in line:  # JSON can write half a character, which no file can hold
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RowError("found half of a surrogate pair, expected whole characters") from None
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON ({error}), expected an object on each line") from None
    if not isinstance(row, dict):
        raise RowError(f"found {line[:60]!r}, expected a JSON object")
    return row


def _read_parquet(reading: Reading, path: Path, required: Sequence[str]) -> NumberedRows:
    pyarrow = import_pyarrow(path)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            written = file.schema_arrow.names
            names = _rename(written)
            _check_columns(str(path), names, required)
            more = _further_columns(names)
            wanted = {*COLUMNS, *more}
            found = [name for name, read in zip(written, names, strict=True) if read in wanted]
            for batch in file.iter_batches(batch_size=16384, columns=found):
                columns = dict(zip(_rename(found), batch.to_pydict().values(), strict=True))
                for values in zip(*columns.values(), strict=True):
                    number += 1
                    try:
                        fields, further = _as_row(dict(zip(columns, values, strict=True)), more)
                    except RowError as error:
                        where = f"{path}, row {number}"
                        reading.report(FaultKind.MALFORMED_ROW, where, str(error))
                    else:
                        yield number, fields, further
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}, after row {number}: not readable as Parquet: {reason}") from None


_READERS: dict[str, Callable[[Reading, Path, Sequence[str]], NumberedRows]] = {
    ".csv": partial(_read_separated, ","),
    ".tsv": partial(_read_separated, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}

TABLE_SUFFIXES = tuple(_READERS)
"""Kinds of tables that are read."""


def read_rows(path: Path, required: Sequence[str]) -> NumberedRows:
    """Read the rows of a table that is no corpus; its suffix tells the format.

    Raises:
        InputError: It cannot be read, lacks a required column or has one that looks like a misspelt
            one; or at the first wrong row.
    """
    return _READERS[path.suffix.lower()](Reading(str(path), path), path, required)


def _rename(names: list[str]) -> list[str]:
    """The names of columns, that of a frame rate in the one form in which it is read."""
    if "frame_rate" in names:
        return names
    alike = [name for name in names if re.sub("[^a-z]", "", name.lower()) in _RATES]
    return ["frame_rate" if name in alike[:1] else name for name in names]


def _further_columns(names: Iterable[str]) -> list[str]:
    """The columns of further texts, in the order of their numbers."""
    return sorted(filter(_FURTHER.fullmatch, names), key=lambda name: (len(name), name))


def _check_columns(where: str, found: Sequence[str], required: Iterable[str] = ()) -> None:
    shown = ", ".join(map(repr, found))
    missing = [name for name in required if name not in found]
    if missing:
        other = next((mark for mark in ";\t|," if len(found) == 1 and mark in found[0]), None)
        how = "save the table with commas as .csv, or with tabs as .tsv"
        hint = f"; the fields seem to be separated by {other!r}: {how}" if other else ""
        if len(missing) == 1 and missing[0] in _HINTS:
            hint += f"; {_HINTS[missing[0]]}"
        raise InputError(
            f"{where}: no column {', '.join(missing)}, found {shown[:500] or 'none'}{hint}"
        )
    for name in (*COLUMNS, *_further_columns(found)):
        if found.count(name) > 1:
            raise InputError(f"{where}: found the column {name!r} twice, expected it once")
    for name in found:
        if _ALMOST_FURTHER.fullmatch(name) and not _FURTHER.fullmatch(name):
            raise InputError(
                f"{where}: found the column {name!r}, which is not read; expected 'text', and"
                " 'text_2' and so on for further texts of a row: rename or remove it"
            )
        key = re.sub("[^a-z]", "", name.lower())
        meant = _MEANT.get(key)
        if key == "duration" and "start" not in found:
            continue  # that of the whole clip
        if meant and meant not in found:
            raise InputError(
                f"{where}: found the column {name!r}, which is not read; expected {meant!r}"
                f"{' in seconds' if meant in ('start', 'end') else ''}: rename or remove it"
            )


def _as_row(row: Mapping[str, object], further: Iterable[str]) -> tuple[TableRow, tuple[str, ...]]:
    """A row's fields, and its further texts, which stand in the columns named or in a list."""
    more = [row[name] for name in further]
    texts = row.get("text")
    if type(texts) is list and all(type(text) is str for text in texts):
        row = {**row, "text": texts[0] if texts else ""}
        more = [*texts[1:], *more]
    # NaN is how some programs write that there is no value.
    fields = ["" if value is None or value != value else value for value in map(row.get, COLUMNS)]
    for place, value in enumerate(fields):
        if type(value) is not str:
            fields[place] = _as_field(COLUMNS[place], value)
    texts = ["" if text is None or text != text else _as_field("text", text) for text in more]
    return cast(TableRow, tuple(fields)), cast(tuple[str, ...], tuple(texts))


def _as_field(name: str, value: object) -> Time:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name in _NUMBERS:
            if abs(value) < _HUGE:
                return float(value)
            return math.inf if value > 0 else -math.inf
        # Where numbers are missing some programs make 7.0 of a 7.
        if isinstance(value, int) or value.is_integer():
            return str(int(value))
    found = str(value).lower() if isinstance(value, bool) else repr(value)[:60]
    expected = {"start": "a number, or HH:MM:SS.mmm", "frame_rate": "a number"}
    expected["end"] = expected["start"]
    raise RowError(f"the field {name}: found {found}, expected {expected.get(name, 'text')}")


def read_table(reading: Reading) -> Corpus:
    """Read a table; its suffix tells the format.

    `media` is relative to the table's folder, or to `?media=`: a folder of frames, a video or an
    audio file. `start` and `end` are seconds or HH:MM:SS.mmm; `frame_rate` is that of a frame
    folder in frames per second, and ignored for other media. The splits val, valid and validation
    become dev. Where `language` names several languages, `?language=` says which rows to read;
    rows that name none have that language. Further texts of a row stand in columns text_2, text_3
    and so on, or in JSONL and Parquet in a list of texts. Columns of other names are ignored.

    A folder stands for the tables train, dev and test in it.

    Raises:
        InputError: As `add_table`; a folder has no such tables, or two for one split.
    """
    root = reading.root
    tables = _list_tables(reading) if root.is_dir() else {root: reading.split}
    base = reading.media_root or (root if root.is_dir() else root.parent)
    media = MediaFolder(base, look=reading.has_media)
    rows = Rows(reading, "" if reading.language == ALL else reading.language or "", forgiving=True)
    for path, split in tables.items():
        add_table(rows, reading, path, media.find, split)
    media.report_leftover(rows)
    return rows.corpus("table")


def _list_tables(reading: Reading) -> dict[Path, str]:
    """The tables of a folder that are called as splits, with the split of each."""
    root = reading.root
    found: dict[str, list[Path]] = {}
    others = []
    for name, is_folder in sorted(list_entries(root).items()):
        path = root / name
        if is_folder or path.suffix.lower() not in TABLE_SUFFIXES or name.startswith("."):
            continue
        split = SPLIT_NAMES.get(path.stem.casefold(), path.stem.casefold())
        if split in _OWN_SPLITS:
            found.setdefault(split, []).append(path)
        else:
            others.append(path)
    if not found:
        raise InputError(
            f"{root}: found a folder, expected a file ({', '.join(TABLE_SUFFIXES)}), or train.csv,"
            " dev.csv and the like in it; a folder of videos with captions is"
            f" folder:{root}"
        )
    for split, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise InputError(f"{root}: found {names} for the split {split}, expected one table")
    for path in others:
        text = f"its name is none of {', '.join(_OWN_SPLITS)}, expected one, or a spec of its own"
        reading.report(FaultKind.LEFT_OUT, str(path), text)
    return {found[split][0]: split for split in _OWN_SPLITS if split in found}


def add_table(
    rows: Rows,
    reading: Reading,
    path: Path,
    find_media: Callable[[str], Path | None],
    split_of_all: str | None = None,
) -> None:
    """Add a table's rows.

    Args:
        rows: Where they go. Its language is that of rows which name none; where it is empty it
            becomes that of the first row.
        reading: What was asked for.
        path: The table.
        find_media: Finds a row's media, as written there; None: not there. Called for each row
            that names any, also for one that is left out. It raises InputError where it cannot
            look.
        split_of_all: The split of rows that name none; others may not name another. None: each
            names its own.

    Raises:
        InputError: The file cannot be read, lacks a column or has one that looks like a misspelt
            one, or has several languages of which none was chosen; pyarrow is not installed; or,
            where nobody collects faults, the first wrong row.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: unknown kind of table, expected {', '.join(_READERS)}")
    rows.begin(path, unit="row" if suffix == ".parquet" else "line")
    root = reading.media_root or path.parent
    if split_of_all is None and not reading.needs_text:
        split_of_all = _SPLIT_WITHOUT_TEXTS
    required = [
        name
        for name in REQUIRED
        if (name != "split" or split_of_all is None) and (name != "text" or reading.needs_text)
    ]
    splits: dict[str, str] = {}
    signers: dict[str, str] = {}  # one string for each signer, not one for each row
    with _garbage_left():
        for number, row, references in _READERS[suffix](reading, path, required):
            id, media, text, split, start, end, signer, language, gloss, transcript, rate = row
            try:
                found = _find(find_media, media) if media else None
                if found is None and "\\" in media:  # a path of Windows
                    found = _find(find_media, media.replace("\\", "/"))
                if language != rows.language or not rows.language:
                    _settle_language(rows, number, id, language)
                if split not in splits:
                    splits[split] = _split_name(id, split, split_of_all)
                if not media:
                    raise RowError("the field media is empty")
                rows.add(
                    number,
                    id=id,
                    media=found,
                    expected="" if found else root / media,
                    text=text,
                    split=splits[split],
                    language=language,
                    references=references,
                    signer=signers.setdefault(signer, signer),
                    gloss=gloss,
                    transcript=transcript,
                    start_seconds=parse_seconds("start", start),
                    end_seconds=parse_seconds("end", end),
                    frame_rate=_parse_rate(rate) if rate and found and has_no_rate(found) else None,
                )
            except RowError as error:
                rows.report(number, str(error), error.kind)


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Stop the garbage collector, which would look at all of a million rows again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _find(find_media: Callable[[str], Path | None], media: str) -> Path | None:
    try:
        return find_media(media)
    except InputError as error:
        raise RowError(str(error), FaultKind.UNREADABLE_MEDIA) from error


def _settle_language(rows: Rows, number: int, id: str, language: str) -> None:
    """Make a row's language the corpus's, or refuse the row or the table."""
    expected = "expected a code as de, en, zh"
    chosen, own = rows.reading.language, rows.language
    if language and not re.fullmatch("[a-z]{2,3}", language):
        raise RowError(f"the field language holds {language[:60]!r}, {expected}")
    if not language and not own:
        if rows.many:
            raise RowError(f"the field language is empty, {expected} (id {id!r})")
        text = "no language, expected the column language or ?language=CODE in the spec"
        raise InputError(f"{rows.where(number)}: {text}")
    if not language or rows.many:
        return
    if chosen:
        text = f"language {language!r}, {chosen!r} was chosen (id {id!r})"
        raise RowError(text, FaultKind.LEFT_OUT)
    if own:
        text = (
            f"language {language!r} beside {own!r}, expected a choice: ?language={own} or"
            f" ?language={language} in the spec, or ?language=* for all"
        )
        rows.report(number, text, FaultKind.MIXED_LANGUAGES)
        return
    rows.language = language


def _split_name(id: str, split: str, split_of_all: str | None) -> str:
    name = split.strip()
    if not name and split_of_all is None:
        raise RowError(f"the field split is empty (id {id!r})")
    found = SPLIT_NAMES.get(name, name)
    if split_of_all not in (None, found, _SPLIT_WITHOUT_TEXTS) and name:
        text = f"the field split holds {name[:60]!r}, expected {split_of_all!r} (id {id!r})"
        raise RowError(text)
    return found or split_of_all or ""


def parse_seconds(field: str, value: str | float) -> float | None:
    """Parse seconds or HH:MM:SS.mmm, of the field of this name, into seconds; None: it is empty.

    Raises:
        RowError: It is neither; the number may be of any size, and NaN.
    """
    if value == "":
        return None
    seconds = None
    try:
        number = float(value)
        if type(value) is not str or "_" not in value:  # which Python ignores in numbers
            return number
    except ValueError:
        seconds = parse_clock(str(value).strip())
    if seconds is None:
        text = f"the field {field} holds {str(value)[:60]!r}, expected seconds or HH:MM:SS.mmm"
        raise RowError(text)
    return seconds


def _parse_rate(value: str | float) -> float:
    try:
        return check_frame_rate(value, "the field frame_rate")
    except InputError as error:
        raise RowError(str(error)) from error
