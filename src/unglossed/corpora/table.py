"""Tables of one's own: CSV, TSV, JSONL or Parquet with the columns id, media, text and split.

CSV follows RFC 4180: a field with a comma, a quote or a line break stands in double quotes, and a
quote within it is doubled. TSV has the same rules with tabs, as spreadsheets write it.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unglossed.corpora.captions import parse_clock
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.listing import list_entries
from unglossed.corpora.media_folder import MediaFolder
from unglossed.corpora.reading import ALL, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.table_rows import REQUIRED, TABLE_SUFFIXES, read_table_rows, row_unit
from unglossed.errors import InputError
from unglossed.media.clip import check_frame_rate

SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev"}
"""Names of splits that are read under another."""

_OWN_SPLITS = ("train", "dev", "test")
_SPLIT_WITHOUT_TEXTS = "test"  # of rows to be translated


def read_table(reading: Reading) -> Corpus:
    """Read a table; its suffix tells the format.

    `media` is relative to the table's folder, or to `?media=`: a folder of frames, a video or a
    sound file. `start` and `end` are seconds or HH:MM:SS.mmm; `frame_rate` says how many
    pictures of a frame folder are one second, and is not read of other media. The splits val, valid
    and validation become dev. Where `language` names several languages,
    `?language=` says which rows are meant; rows that name none have that language. Columns of
    other names are left aside.

    A folder stands for the tables train, dev and test in it.

    Raises:
        InputError: As `add_table`; a folder has no such tables, or two for one split.
    """
    root = reading.root
    tables = _list_tables(reading) if root.is_dir() else {root: reading.split}
    media = MediaFolder(reading.media_root or (root if root.is_dir() else root.parent))
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
        find_media: From a row's media, as written there, to where it lies; None: not there. Asked
            for each row that names any, also for one that is left out. It raises InputError where
            it cannot look.
        split_of_all: The split of rows that name none; others may not name another. None: each
            names its own.

    Raises:
        InputError: The file cannot be read, lacks a column or has one that looks like a misspelt
            one, or has several languages of which none was chosen; or, where nobody collects
            faults, the first wrong row.
    """
    unit = row_unit(path)
    rows.begin(path, unit=unit)
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
        for number, row, references in read_table_rows(reading, path, required):
            id, media, text, split, start, end, signer, language, gloss, transcript, rate = row
            try:
                found = _find(find_media, media) if media else None
                if found is None and "\\" in media:  # a path of Windows
                    found = _find(find_media, media.replace("\\", "/"))
                if language != rows.language or not rows.language:
                    _settle_language(rows, f"{path}, {unit} {number}", id, language)
                if split not in splits:
                    splits[split] = _split_name(id, split, split_of_all)
                if not media:
                    raise _LeftOutError(FaultKind.MALFORMED_ROW, "the field media is empty")
                start_seconds = _parse_seconds("start", start)
                end_seconds = _parse_seconds("end", end)
                frame_rate = _parse_rate(rate) if rate and found and found.is_dir() else None
            except _LeftOutError as fault:
                reading.report(fault.kind, f"{path}, {unit} {number}", str(fault))
                continue
            rows.add(
                number,
                id=id,
                media=found,
                expected="" if found else root / media,
                text=text,
                split=splits[split],
                language=language or None,
                references=references,
                signer=signers.setdefault(signer, signer),
                gloss=gloss,
                transcript=transcript,
                start_seconds=start_seconds,
                end_seconds=end_seconds,
                frame_rate=frame_rate,
            )


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Look for no garbage: a million rows are there to stay, and each search looks at them all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _LeftOutError(Exception):
    """A row is not used; the message says why."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _find(find_media: Callable[[str], Path | None], media: str) -> Path | None:
    try:
        return find_media(media)
    except InputError as error:
        raise _LeftOutError(FaultKind.UNREADABLE_MEDIA, str(error)) from error


def _settle_language(rows: Rows, where: str, id: str, language: str) -> None:
    """Make a row's language the corpus's, or refuse the row or the table."""
    if not language:
        if rows.many and not rows.language:
            text = f"the field language is empty, expected a code as de, en, zh (id {id!r})"
            raise _LeftOutError(FaultKind.MALFORMED_ROW, text)
        if not rows.language:
            raise InputError(
                f"{where}: no language, expected the column language or ?language=CODE in the spec"
            )
        return
    if not re.fullmatch("[a-z]{2,3}", language):
        text = f"the field language holds {language[:60]!r}, expected a code as de, en, zh"
        raise _LeftOutError(FaultKind.MALFORMED_ROW, text)
    if rows.many:
        return
    if rows.reading.language:
        text = f"language {language!r}, {rows.reading.language!r} was chosen (id {id!r})"
        raise _LeftOutError(FaultKind.LEFT_OUT, text)
    if rows.language:
        text = (
            f"language {language!r} beside {rows.language!r}, expected a choice:"
            f" ?language={rows.language} or ?language={language} in the spec, or ?language=* for"
            " all"
        )
        rows.reading.report(FaultKind.MIXED_LANGUAGES, where, text)
        return
    rows.language = language


def _split_name(id: str, split: str, split_of_all: str | None) -> str:
    name = split.strip()
    if not name and split_of_all is None:
        raise _LeftOutError(FaultKind.MALFORMED_ROW, f"the field split is empty (id {id!r})")
    found = SPLIT_NAMES.get(name, name)
    if split_of_all not in (None, found, _SPLIT_WITHOUT_TEXTS) and name:
        text = f"the field split holds {name[:60]!r}, expected {split_of_all!r} (id {id!r})"
        raise _LeftOutError(FaultKind.MALFORMED_ROW, text)
    return found or split_of_all or ""


def _parse_seconds(field: str, value: str | float) -> float | None:
    if value == "":
        return None
    try:
        number = float(value)
        if type(value) is not str or "_" not in value:  # which Python reads as no character
            return number
        seconds = None
    except ValueError:
        seconds = parse_clock(str(value).strip())
    if seconds is None:
        text = f"the field {field} holds {str(value)[:60]!r}, expected seconds or HH:MM:SS.mmm"
        raise _LeftOutError(FaultKind.MALFORMED_ROW, text)
    return seconds


def _parse_rate(value: str | float) -> float:
    try:
        return check_frame_rate(value, "the field frame_rate")
    except InputError as error:
        raise _LeftOutError(FaultKind.MALFORMED_ROW, str(error)) from error
