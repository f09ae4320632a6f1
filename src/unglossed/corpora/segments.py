"""Segments: stretches of a video or audio file, a sentence long, as a file gives them.

Captions (.srt, .vtt, .sbv, .ass, .ssa, .eaf), tables (.csv, .tsv, .jsonl, .parquet) and JSON as
Whisper writes it. They say where sentences lie; which medium they are of, the caller knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import cast

from unglossed.corpora.captions import CAPTION_SUFFIXES, on_one_line, read_captions, read_text
from unglossed.corpora.faults import RowError
from unglossed.corpora.json_files import fields_once
from unglossed.corpora.table import (
    COLUMNS,
    TABLE_SUFFIXES,
    parse_seconds,
    read_rows,
)
from unglossed.errors import InputError

SEGMENT_SUFFIXES = (*CAPTION_SUFFIXES, *TABLE_SUFFIXES, ".json")
"""Kinds of files that are read."""

LONGEST_SECONDS = 360_000.0
"""No segment ends later: 100 hours, which no recording of signing lasts, but a wrong unit gives."""

_REQUIRED = ("start", "end")
_TIME = "seconds or HH:MM:SS.mmm"
_SHAPE = '{"segments": [{"start": 1.0, "end": 2.5, "text": "..."}]}'


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of media, a sentence long.

    Attributes:
        start_seconds: When it begins, from the beginning of the media.
        end_seconds: When it ends, which is later.
        text: What is said in it, on one line; may be empty.
    """

    start_seconds: float
    end_seconds: float
    text: str = ""


_Found = Iterator[tuple[str, Segment]]  # where it stands, for messages


def read_segments(path: Path, *, tier: str | None = None) -> list[Segment]:
    """Read the segments of a file; its suffix tells the format.

    Tables have the columns start and end, and may have text; JSON has segments with these fields,
    in a list or as Whisper writes them. Times are seconds or HH:MM:SS.mmm; Whisper's .tsv, which
    has milliseconds, is not meant. Segments may overlap, as people do who sign at once.

    Args:
        path: A file of one of `SEGMENT_SUFFIXES`.
        tier: Name of the tier of an ELAN file; None: as `captions.read_captions` chooses. Other
            files have none.

    Returns:
        Segments in the order of time; empty where a table, an ELAN tier or a JSON list is.

    Raises:
        InputError: The file cannot be read or is of another kind, a tier is asked of a file that
            has none, or a segment is wrong: its times are missing, not in order, below 0 or above
            `LONGEST_SECONDS`.
    """
    suffix = path.suffix.lower()
    if tier is not None and suffix != ".eaf":
        raise InputError(f"{path}: a tier ({tier!r}) was asked for, expected an ELAN file (.eaf)")
    if suffix in CAPTION_SUFFIXES:
        found = _of_captions(path, tier)
    elif suffix in TABLE_SUFFIXES:
        found = _of_table(path)
    elif suffix == ".json":
        found = _of_json(path)
    else:
        kinds = ", ".join(SEGMENT_SUFFIXES)
        raise InputError(f"{path}: unknown kind of segments, expected one of {kinds}")
    segments = []
    for where, segment in found:
        _check(where, segment)
        segments.append(segment)
    return sorted(segments, key=attrgetter("start_seconds", "end_seconds"))


def _of_captions(path: Path, tier: str | None) -> _Found:
    for cue in read_captions(path, tier, needs_text=False):
        segment = Segment(cue.start_seconds, cue.end_seconds, cue.text)
        where = "cue" if cue.tier is None else f"tier {cue.tier!r}, annotation"
        yield f"{path}, {where} {cue.number}", segment


def _of_table(path: Path) -> _Found:
    unit = "row" if path.suffix.lower() == ".parquet" else "line"
    for number, row, _ in read_rows(path, _REQUIRED):
        where = f"{path}, {unit} {number}"
        yield where, _segment(where, dict(zip(COLUMNS, row, strict=True)))


def _of_json(path: Path) -> _Found:
    text = read_text(path)
    try:
        found = json.loads(text, object_pairs_hook=fields_once, parse_int=float)
    except RowError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}), expected {_SHAPE}") from None
    rows = found.get("segments") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise InputError(f"{path}: found no list of segments, expected {_SHAPE}")
    for number, row in enumerate(rows, start=1):
        where = f"{path}, segment {number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: found {str(row)[:60]!r}, expected an object as in {_SHAPE}")
        yield where, _segment(where, row)


def _segment(where: str, row: Mapping[str, object]) -> Segment:
    times = []
    for field in _REQUIRED:
        value = row.get(field)
        is_time = isinstance(value, str | float | int) and not isinstance(value, bool)
        try:
            seconds = parse_seconds(field, cast(str | float, value)) if is_time else None
        except RowError as error:
            raise InputError(f"{where}: {error}") from None
        if seconds is None:
            shown = "nothing" if value in (None, "") else f"{value!r:.60}"
            raise InputError(f"{where}: the field {field} holds {shown}, expected {_TIME}")
        times.append(seconds)
    text = row.get("text") or ""
    if not isinstance(text, str):
        raise InputError(f"{where}: the field text holds {text!r:.60}, expected text")
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half a character, which no file can hold
        raise InputError(f"{where}: the field text holds half of a surrogate pair") from None
    return Segment(times[0], times[1], on_one_line(text))


def _check(where: str, segment: Segment) -> None:
    start, end = segment.start_seconds, segment.end_seconds
    found = f"found {start:g} to {end:g} seconds"
    if not 0 <= start < end:  # nor is NaN
        raise InputError(f"{where}: {found}, expected a start of 0 or later, and an end after it")
    if end > LONGEST_SECONDS:
        raise InputError(
            f"{where}: {found}, expected at most {LONGEST_SECONDS:g}; times in milliseconds, as"
            " Whisper's .tsv has them, have to be divided by 1000"
        )
