"""Sentences as subtitles, as ELAN annotations, as a table, as JSON or as plain text.

Subtitles keep to what viewers are used to: at most two lines of 42 characters (21 where a writing
has no spaces), shown for 1 to 7 seconds and for at most 20 characters a second where there is room
for it; they do not blink off for less than two frames.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pympi import Eaf

from unglossed.corpora.languages import has_spaces
from unglossed.errors import InputError
from unglossed.inference.sentences import Sentence

LINE_WIDTH, LINE_WIDTH_UNSPACED = 42, 21
MOST_LINES = 2
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 7.0
CHARACTERS_A_SECOND = 20.0
LEAST_GAP_SECONDS = 0.08
"""Two frames of 25 a second: a shorter gap is closed."""
TIER = "translation"
"""Of the sentences in an ELAN file."""
_MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".wav": "audio/x-wav",
}
_EAF_DATE = "1970-01-01T00:00:00+00:00"  # the same sentences give the same file
_CLOSING = ",.;:!?，。；：！？、…"


@dataclass(frozen=True)
class Cue:
    """A subtitle: what is on the screen at once; lines are separated by a line break."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True)
class Lines:
    """How wide subtitles are, and how many lines there are at once.

    Raises:
        InputError: there is no room for a letter.
    """

    width: int
    count: int = MOST_LINES

    def __post_init__(self) -> None:
        for name, value in (("max_line_width", self.width), ("max_line_count", self.count)):
            if not 1 <= value <= 1000:
                raise InputError(f"{name}: found {value}, expected 1 to 1000")

    @classmethod
    def of(cls, language: str, width: int | None = None, count: int | None = None) -> Lines:
        """Those that are usual for a language, unless others are given."""
        usual = LINE_WIDTH if has_spaces(language) else LINE_WIDTH_UNSPACED
        return cls(usual if width is None else width, MOST_LINES if count is None else count)


def make_cues(sentences: Iterable[Sentence], language: str, lines: Lines) -> list[Cue]:
    """Subtitles of sentences; those without a text have none, or say that it was not understood.

    A text with too many lines, or on the screen for too long, becomes several subtitles one after
    another, which share its time by their characters. One that is too short, or too fast to read,
    stays until the next at most.
    """
    cues: list[Cue] = []
    for sentence in sentences:
        if not sentence.shown.strip():
            continue
        seconds = sentence.end_seconds - sentence.start_seconds
        parts = _parts(sentence.shown, seconds, language, lines)
        start = sentence.start_seconds
        total = sum(map(len, parts))
        for part in parts:
            end = start + seconds * len(part) / total
            cues.append(Cue(start, end, part))
            start = end
    timed = []
    for number, cue in enumerate(cues, start=1):
        following = cues[number].start_seconds if number < len(cues) else float("inf")
        start, end = cue.start_seconds, cue.end_seconds
        wanted = max(SHORTEST_SECONDS, len(cue.text) / CHARACTERS_A_SECOND)
        end = min(max(end, start + wanted), max(following, end))
        end = min(end, start + LONGEST_SECONDS)
        if 0 < following - end < LEAST_GAP_SECONDS:
            end = following
        timed.append(Cue(start, end, cue.text))
    return timed


def _parts(text: str, seconds: float, language: str, lines: Lines) -> list[str]:
    """A text in as many subtitles as it needs."""
    rows = wrap(text, lines.width, language)
    count = max(ceil(len(rows) / lines.count), ceil(seconds / LONGEST_SECONDS - 1e-9))
    if count > 1:
        pieces = balance(text, count, language)
        if all(len(wrap(piece, lines.width, language)) <= lines.count for piece in pieces):
            rows_of = [wrap(piece, lines.width, language) for piece in pieces]
        else:
            rows_of = [rows[n : n + lines.count] for n in range(0, len(rows), lines.count)]
    else:
        rows_of = [rows]
    shown = []
    for group in rows_of:
        joined = (" " if has_spaces(language) else "").join(group)
        even = balance(joined, len(group), language)
        fits = all(width_of(row) <= lines.width for row in even)
        shown.append("\n".join(even if fits else group))
    return shown


def width_of(text: str) -> int:
    """Characters of a text, those that only mark another one left out."""
    return sum(not unicodedata.combining(character) for character in text)


def _units(text: str, language: str) -> list[str]:
    """What a line can be broken between: words, or characters with the marks behind them."""
    if has_spaces(language):
        return [f"{word} " for word in text.split()]
    units: list[str] = []
    for character in text:
        if units and (character in _CLOSING or unicodedata.combining(character)):
            units[-1] += character
        else:
            units.append(character)
    return units


def wrap(text: str, width: int, language: str) -> list[str]:
    """Lines of at most so many characters; a longer word is cut."""
    rows, row = [], ""
    for unit in _units(text, language):
        if row and width_of((row + unit).rstrip()) > width:
            rows.append(row.rstrip())
            row = ""
        row += unit
        while width_of(row.rstrip()) > width:
            rows.append(row[:width])
            row = row[width:]
    return [*rows, row.rstrip()] if row.strip() else rows


def balance(text: str, count: int, language: str) -> list[str]:
    """A text in so many pieces of about the same length, fewer where it has fewer words."""
    units = _units(text, language)
    total = sum(map(len, units))
    pieces: list[str] = []
    piece, done = "", 0
    for number, unit in enumerate(units):
        left = count - len(pieces)
        share = (total - done) / left
        ahead = len(units) - number
        if piece and left > 1 and (len(piece) + len(unit) / 2 > share or ahead < left):
            pieces.append(piece.rstrip())
            done += len(piece)
            piece = ""
        piece += unit
    return [*pieces, piece.rstrip()] if piece.strip() else pieces


def _clock(seconds: float, mark: str) -> str:
    whole = round(1000 * seconds)
    minutes, milliseconds = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"


def write_srt(cues: Sequence[Cue]) -> str:
    """SubRip. It has no way to write an arrow between times as text: that becomes another arrow."""
    return "".join(
        f"{number}\n{_clock(cue.start_seconds, ',')} --> {_clock(cue.end_seconds, ',')}\n"
        f"{cue.text.replace('-->', '→')}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def write_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT, in which `&`, `<` and `>` of a text are escaped: players would take them for tags."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.end_seconds, '.')}\n"
        f"{html.escape(cue.text, quote=False)}\n\n"
        for cue in cues
    )


def write_eaf(sentences: Sequence[Sentence], media: str, folder: Path | None = None) -> str:
    """ELAN: a tier of the sentences, linked to the media where it is, also from `folder`."""
    annotations = Eaf(author="unglossed")
    annotations.adocument["DATE"] = _EAF_DATE
    path = Path(media)
    kind = _MEDIA_TYPES.get(path.suffix.lower(), "video/*")
    absolute = path.absolute().as_uri()
    relative = path.name if folder is None else os.path.relpath(path.absolute(), folder.absolute())
    annotations.add_linked_file(absolute, f"./{quote(Path(relative).as_posix())}", kind)
    annotations.add_tier(TIER)
    annotations.remove_tier("default")
    for one in sentences:
        if one.shown:
            start, end = round(1000 * one.start_seconds), round(1000 * one.end_seconds)
            annotations.add_annotation(TIER, start, end, one.shown)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.eaf"
        annotations.to_file(str(made))
        return made.read_text(encoding="utf-8")


def write_tsv(sentences: Sequence[Sentence]) -> str:
    """A table with the columns start, end (in seconds) and text, as `read_segments` reads it."""
    made = io.StringIO()
    writer = csv.writer(made, delimiter="\t", lineterminator="\n")
    writer.writerow(("start", "end", "text"))
    for one in sentences:
        times = f"{one.start_seconds:.3f}", f"{one.end_seconds:.3f}"
        writer.writerow((*times, " ".join(one.shown.split())))
    return made.getvalue()


def write_json(sentences: Sequence[Sentence], language: str) -> str:
    """The shape that Whisper's verbose JSON has, with score, confidence and attention beside.

    `duration` ends with the last sentence: what comes behind it is not known here.
    """
    texts = [one.text for one in sentences if one.text]
    content = {
        "task": "translate",
        "language": language,
        "duration": round(max((one.end_seconds for one in sentences), default=0.0), 3),
        "text": (" " if not language or has_spaces(language) else "").join(texts),
        "segments": [as_row(one) for one in sentences],
    }
    return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def as_row(sentence: Sentence) -> dict[str, Any]:
    """A sentence for JSON: `id` counts from 0; attention stands there if it was asked for.

    Of a calibrated model it also says whether the sentence was `understood`; else it has no text.
    """
    row: dict[str, Any] = {
        "id": sentence.number - 1,
        "start": round(sentence.start_seconds, 3),
        "end": round(sentence.end_seconds, 3),
        "text": sentence.text,
        "score": sentence.score,
        "confidence": round(sentence.confidence, 4),
    }
    if sentence.calibrated is not None:
        row["understood"] = sentence.understood
    if sentence.words is not None:
        row["frame_seconds"] = [round(seconds, 3) for seconds in sentence.frame_seconds]
        row["words"] = [
            {"word": one.word, "weights": [round(weight, 4) for weight in one.weights]}
            for one in sentence.words
        ]
    return row


def write_text(sentences: Sequence[Sentence]) -> str:
    """A line a sentence."""
    return "".join(f"{one.shown}\n" for one in sentences if one.shown)


FORMS = ("text", "srt", "vtt", "eaf", "tsv", "json")
SUFFIXES = {form: f".{form}" for form in FORMS} | {"text": ".txt"}


def render(
    sentences: Sequence[Sentence],
    form: str,
    *,
    language: str,
    media: str,
    folder: Path | None = None,
    lines: Lines | None = None,
) -> str:
    """Sentences as the content of a file.

    Args:
        sentences: in the order of time.
        form: a name in `FORMS`.
        language: code of the texts' language.
        media: path of the media, to which an ELAN file is linked.
        folder: where the file will lie; None: beside the media.
        lines: of subtitles; None: those that are usual for the language.

    Raises:
        InputError: there is no such form.
    """
    shown = lines or (Lines.of(language) if form in ("srt", "vtt") else Lines(LINE_WIDTH))
    makers: dict[str, Callable[[], str]] = {
        "text": lambda: write_text(sentences),
        "srt": lambda: write_srt(make_cues(sentences, language, shown)),
        "vtt": lambda: write_vtt(make_cues(sentences, language, shown)),
        "eaf": lambda: write_eaf(sentences, media, folder),
        "tsv": lambda: write_tsv(sentences),
        "json": lambda: write_json(sentences, language),
    }
    if form not in makers:
        raise InputError(f"form: found {form!r}, expected one of {', '.join(FORMS)}")
    return makers[form]()
