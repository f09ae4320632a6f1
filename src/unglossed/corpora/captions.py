"""Captions: the cues of SubRip (.srt), WebVTT (.vtt) and ELAN (.eaf) files, as text with times.

Markup goes, a line break within a cue becomes one space, and nothing else is changed. What cannot
be understood is an error that names the line: no text is lost or moved to another cue.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from unglossed.corpora.elan import read_document
from unglossed.corpora.lines import FOUND_UTF16, UTF16_MARKS
from unglossed.errors import InputError

Report = Callable[[str, str], None]
"""Takes where a cue is wrong, and what was found there and expected."""

SENTENCE_TIERS = ("text", "translation", "sentence")
"""Names of the ELAN tier that holds the sentences where a file has several tiers, in any case."""

_EXAMPLE = "00:00:01,000 --> 00:00:02,500"
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]{1,9})?)")
# Lines that are meant as times, right or wrong. Without those of another arrow the text behind them
# would be of the cue before. An arrow may also stand in a sentence, but hardly after digits.
_OTHER_ARROW = r"^\s*[0-9]+:[0-9:.,]+\s*[-=–—]*[>→]\s*[0-9]+:[0-9]"
_VTT_TIMES = re.compile(rf"-->|{_OTHER_ARROW}")
_SRT_TIMES = re.compile(rf"\s*-?[0-9:].*-->|.*[0-9]:[0-9].*-->.*[0-9]:[0-9]|{_OTHER_ARROW}")
_TIMING = re.compile(r"\s*([0-9:.,]+)\s*-->\s*([0-9:.,]+)(?:\s.*)?")
# What SubRip has no rule for, so only the tags that are in use; a text may hold "<" as well.
_SRT_TAG = re.compile(
    r"</?(?:b|i|u|s|c|v|p|font|span|lang|ruby|rt)(?:[\s.][^<>]*)?>|<[0-9:.]+>", re.IGNORECASE
)
_VTT_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|</?>|<[0-9:.]+>")
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # {\an8}, {\i1}: of SubStation, but found in all
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]*);")


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption.

    Attributes:
        number: Place in the file, or in the tier by time, from 1; cues without text count.
        start_seconds: When it begins.
        end_seconds: When it ends.
        text: Its text on one line, without markup; may be empty.
        tier: ELAN's name of the tier; None for other files.
    """

    number: int
    start_seconds: float
    end_seconds: float
    text: str
    tier: str | None = None


def read_captions(path: Path, tier: str | None = None, report: Report | None = None) -> list[Cue]:
    """Read the cues of a caption file; its suffix tells the format.

    Of an ELAN file that is the tier asked for; without one that named text, translation or
    sentence, else the only one with text. A tier of symbolic annotations has the times of those
    that they refer to.

    Args:
        path: A .srt, .vtt or .eaf file.
        tier: Name of the tier of an ELAN file; other files have none.
        report: Told of each cue that is wrong; the others are read, and keep their numbers in .srt
            and .vtt. None: the first one is raised.

    Raises:
        InputError: The file cannot be read, is not UTF-8 or malformed as a whole, no tier can be
            chosen, or a cue is wrong and nobody is told.
    """
    report = report or _refuse
    match path.suffix.lower():
        case ".srt":
            return _read_srt(path, report)
        case ".vtt":
            return _read_vtt(path, report)
        case ".eaf":
            return _read_eaf(path, tier, report)
    raise InputError(f"{path}: unknown kind of captions, expected .srt, .vtt or .eaf")


def _refuse(where: str, text: str) -> None:
    raise InputError(f"{where}: {text}")


def read_text(path: Path) -> str:
    """Read a UTF-8 file, without its byte order mark.

    Raises:
        InputError: It cannot be opened, or is not UTF-8 (its cause is a `UnicodeDecodeError`).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(UTF16_MARKS):
            raise InputError(f"{path}: {FOUND_UTF16}") from error
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}), expected the file "
            "to be saved as UTF-8"
        ) from error


def on_one_line(text: str) -> str:
    """Make one line of a text: a line break and the white space around it become one space."""
    lines = (line.strip() for line in _split_lines(text))
    return " ".join(line for line in lines if line)


def parse_clock(stamp: str) -> float | None:
    """Seconds of HH:MM:SS.mmm, hours and fraction being optional; None if it is something else."""
    match = _CLOCK.fullmatch(stamp)
    if not match:
        return None
    hours, minutes, seconds = match.groups(default="0")
    total = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return round(total, 9)


def _split_lines(text: str) -> list[str]:
    # Not splitlines: that also splits at characters which belong to the text.
    return re.split(r"\r\n|\n|\r", text)


@dataclass(slots=True)
class _Block:
    """The lines of one cue.

    Attributes:
        place: Index of the line with its times.
        body: Lines of its text.
        is_apart: Whether an empty line parts it from the cue before.
        fault: Index of a line that is wrong, beside the times, and what is wrong there.
    """

    place: int
    body: list[str]
    is_apart: bool
    fault: tuple[int, str] | None = None


def _read_vtt(path: Path, report: Report) -> list[Cue]:
    lines = _split_lines(read_text(path))
    if not re.fullmatch(r"WEBVTT(\s.*)?", lines[0]):
        raise InputError(f"{path}, line 1: found {lines[0][:60]!r}, expected WEBVTT")
    blocks = []
    is_apart = True
    for place, end in _spans(lines, [bool(_VTT_TIMES.search(line)) for line in lines]):
        body = lines[place + 1 : end]
        blocks.append(_Block(place, body, is_apart))
        is_apart = "" in body
        if is_apart:  # what follows is a note, or the next cue's name
            del body[body.index("") :]

    def clean(text: str) -> str:
        return _ENTITY.sub(lambda match: html.unescape(match[0]), _without(_VTT_TAG, text))

    return _to_cues(path, lines, blocks, clean, report)


def _read_srt(path: Path, report: Report) -> list[Cue]:
    lines = _split_lines(read_text(path))
    spans = _spans(lines, [bool(_SRT_TIMES.match(line)) for line in lines])
    if not spans:
        raise InputError(f"{path}: found no cue, expected lines such as {_EXAMPLE}")
    before = lines[: spans[0][0]]
    numbered = bool(before) and before[-1].strip().isdecimal()
    for index, line in enumerate(before[:-1] if numbered else before):
        if line.strip():
            raise InputError(
                f"{path}, line {index + 1}: found {line[:60]!r}, expected a number or {_EXAMPLE}"
            )
    blocks = []
    for place, end in spans:
        first = place - numbered
        block = _Block(place, lines[place + 1 : end], not lines[max(first - 1, 0)].strip())
        if numbered and not lines[first].strip().isdecimal():
            block.fault = first, f"found {lines[first][:60]!r}, expected the cue's number"
        if numbered and end < len(lines):
            del block.body[-1:]  # the next cue's number
        blocks.append(block)
    return _to_cues(path, lines, blocks, partial(_without, _SRT_TAG), report)


def _spans(lines: list[str], are_times: list[bool]) -> list[tuple[int, int]]:
    """Indices of the lines with times, each with that of the next or of the end."""
    places = [index for index, is_time in enumerate(are_times) if is_time]
    return list(pairwise([*places, len(lines)]))


def _to_cues(
    path: Path,
    lines: list[str],
    blocks: list[_Block],
    clean: Callable[[str], str],
    report: Report,
) -> list[Cue]:
    cues: list[Cue] = []
    for number, block in enumerate(blocks, start=1):
        times = _parse_times(lines[block.place])
        if times is not None and block.fault is None:
            text = on_one_line(clean("\n".join(block.body)))
            cues.append(Cue(number, *times, text))
            continue
        wrong = f"times {lines[block.place][:60]!r}, expected {_EXAMPLE}"
        index, reason = block.fault or (block.place, wrong)
        report(f"{path}, line {index + 1}", f"{reason} (cue {number})")
        if not block.is_apart and cues and cues[-1].number == number - 1:
            cues.pop()
            text = f"no empty line parts it from line {index + 1}, which may be of its text"
            report(f"{path}, cue {number - 1}", text)
    return cues


def _parse_times(line: str) -> tuple[float, float] | None:
    match = _TIMING.fullmatch(line)
    start, end = (parse_clock(match[1]), parse_clock(match[2])) if match else (None, None)
    return None if start is None or end is None else (start, end)


def _without(tag: re.Pattern[str], text: str) -> str:
    return tag.sub("", _OVERRIDE.sub("", _BREAK.sub("\n", text)))


def _read_eaf(path: Path, wanted: str | None, report: Report) -> list[Cue]:
    document = read_document(path)
    texts = {name: [each.text for each in tier] for name, tier in document.tiers.items()}
    tier = _choose_tier(path, texts, wanted)
    cues = []
    for annotation in document.tiers[tier]:
        try:
            times = document.times_of(annotation)
        except ValueError as error:
            text = f"annotation {annotation.text[:60]!r} of the tier {tier!r}: {error}"
            report(f"{path}, line {annotation.line}", text)
            continue
        cues.append((*times, on_one_line(annotation.text)))
    return [Cue(number, *cue, tier) for number, cue in enumerate(sorted(cues), start=1)]


def _choose_tier(path: Path, texts: Mapping[str, Sequence[str]], wanted: str | None) -> str:
    if wanted is not None and wanted not in texts:
        found = ", ".join(map(repr, texts)) or "none"
        raise InputError(f"{path}: found the tiers {found}, expected {wanted!r} (?tier=)")
    if wanted is not None:
        return wanted
    named = [tier for tier in texts if tier.casefold() in SENTENCE_TIERS]
    filled = [tier for tier in texts if any(text.strip() for text in texts[tier])]
    choice = named or filled
    if len(choice) != 1:
        raise InputError(
            f"{path}: found the tiers {', '.join(map(repr, choice or texts)) or 'none'}, expected "
            f"one of the name {' or '.join(SENTENCE_TIERS)}, or a single one with text; ?tier=NAME "
            "chooses one"
        )
    return choice[0]
