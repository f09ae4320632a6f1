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
from unglossed.corpora.media_folder import MediaFolder
from unglossed.corpora.reading import Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.table_rows import read_table_rows, row_unit
from unglossed.errors import InputError
from unglossed.media.clip import check_frame_rate

SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev"}
"""Names of splits that are read under another."""


def read_table(reading: Reading) -> Corpus:
    """Read a table; its suffix tells the format.

    `media` is relative to the table's folder, or to `?media=`: a folder of frames, a video or a
    sound file. `start` and `end` are seconds or HH:MM:SS.mmm; `frame_rate` says how many
    pictures of a frame folder are one second, and is not read of other media. The splits val, valid
    and validation become dev. Where `language` names several languages,
    `?language=` says which rows are meant; rows that name none have that language. Columns of
    other names are left aside.

    Raises:
        InputError: As `add_table`.
    """
    if reading.root.is_dir():
        raise InputError(
            f"{reading.root}: found a folder, expected a file (.csv, .tsv, .jsonl or .parquet); a"
            f" folder of videos with captions is folder:{reading.root}"
        )
    media = MediaFolder(reading.media_root or reading.root.parent)
    rows = Rows(reading, reading.language or "", forgiving=True)
    add_table(rows, reading, reading.root, media.find)
    media.report_leftover(rows)
    return rows.corpus("table")


def add_table(
    rows: Rows, reading: Reading, path: Path, find_media: Callable[[str], Path | None]
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

    Raises:
        InputError: The file cannot be read, lacks a column or has one that looks like a misspelt
            one, or has several languages of which none was chosen; or, where nobody collects
            faults, the first wrong row.
    """
    unit = row_unit(path)
    rows.begin(path, unit=unit)
    root = reading.media_root or path.parent
    splits: dict[str, str] = {}
    signers: dict[str, str] = {}  # one string for each signer, not one for each row
    with _garbage_left():
        for number, row in read_table_rows(reading, path):
            id, media, text, split, start, end, signer, language, gloss, transcript, rate = row
            try:
                found = _find(find_media, media) if media else None
                if language != rows.language or not rows.language:
                    _settle_language(rows, f"{path}, {unit} {number}", id, language)
                if split not in splits:
                    splits[split] = _split_name(id, split)
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
        if not rows.language:
            raise InputError(
                f"{where}: no language, expected the column language or ?language=CODE in the spec"
            )
        return
    if not re.fullmatch("[a-z]{2,3}", language):
        text = f"the field language holds {language[:60]!r}, expected a code as de, en, zh"
        raise _LeftOutError(FaultKind.MALFORMED_ROW, text)
    if rows.reading.language:
        text = f"language {language!r}, {rows.reading.language!r} was chosen (id {id!r})"
        raise _LeftOutError(FaultKind.LEFT_OUT, text)
    if rows.language:
        text = (
            f"language {language!r} beside {rows.language!r}, expected a choice:"
            f" ?language={rows.language} or ?language={language} in the spec"
        )
        rows.reading.report(FaultKind.MIXED_LANGUAGES, where, text)
        return
    rows.language = language


def _split_name(id: str, split: str) -> str:
    name = split.strip()
    if not name:
        raise _LeftOutError(FaultKind.MALFORMED_ROW, f"the field split is empty (id {id!r})")
    return SPLIT_NAMES.get(name, name)


def _parse_seconds(field: str, value: str | float) -> float | None:
    if value == "":
        return None
    try:
        return float(value)
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
