"""Captions: the cues of SubRip (.srt), WebVTT (.vtt) and ELAN (.eaf) files, as text with times.

Markup goes, a line break within a cue becomes one space, and nothing else is changed. A file that
cannot be understood is an error that names the line: no text is lost or moved to another cue.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from pympi import Elan

from unglossed.errors import InputError

SENTENCE_TIERS = ("text", "translation", "sentence")
"""Names of the ELAN tier that holds the sentences where a file has several tiers, in any case."""

_EXAMPLE = "00:00:01,000 --> 00:00:02,500"
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]{1,9})?)")
_OTHER_ARROW = re.compile(r"\s*[0-9]+:[0-9:.,]+\s*[-=–—]*[>→]\s*[0-9]+:[0-9]")
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


def read_captions(path: Path, tier: str | None = None) -> list[Cue]:
    """Read the cues of a caption file; its suffix tells the format.

    Of an ELAN file that is the tier asked for; without one that named text, translation or
    sentence, else the only one with text. A tier of symbolic annotations has the times of those
    that they refer to.

    Args:
        path: A .srt, .vtt or .eaf file.
        tier: Name of the tier of an ELAN file; other files have none.

    Raises:
        InputError: The file cannot be read, is not UTF-8 or malformed, or no tier can be chosen.
    """
    match path.suffix.lower():
        case ".srt":
            return _read_srt(path)
        case ".vtt":
            return _read_vtt(path)
        case ".eaf":
            return _read_eaf(path, tier)
    raise InputError(f"{path}: unknown kind of captions, expected .srt, .vtt or .eaf")


def read_text(path: Path) -> str:
    """Read a UTF-8 file, without its byte order mark.

    Raises:
        InputError: It cannot be opened, or is not UTF-8 (its cause is a `UnicodeDecodeError`).
    """
    data = _read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _split_lines(text: str) -> list[str]:
    # Not splitlines: that also splits at characters which belong to the text.
    return re.split(r"\r\n|\n|\r", text)


def _read_vtt(path: Path) -> list[Cue]:
    lines = _split_lines(read_text(path))
    _refuse_other_arrows(path, lines)
    if not re.fullmatch(r"WEBVTT(\s.*)?", lines[0]):
        raise InputError(f"{path}, line 1: found {lines[0][:60]!r}, expected WEBVTT")
    cues = []
    timings = [
        (index, *_parse_timing(path, index, line))
        for index, line in enumerate(lines)
        if "-->" in line
    ]
    bounds = [index for index, _, _ in timings] + [len(lines)]
    for number, (index, start, end) in enumerate(timings, start=1):
        body = lines[index + 1 : bounds[number]]
        # An empty line ends the cue: what follows is a note, or the next cue's name.
        body = body[: body.index("")] if "" in body else body
        text = _without(_VTT_TAG, "\n".join(body))
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
        cues.append(Cue(number, start, end, on_one_line(text)))
    return cues


def _read_srt(path: Path) -> list[Cue]:
    lines = _split_lines(read_text(path))
    _refuse_other_arrows(path, lines)
    timings = [
        (index, *_parse_timing(path, index, line))
        for index, line in enumerate(lines)
        # An arrow may also stand in a sentence, but hardly after digits.
        if "-->" in line and re.match(r"\s*-?[0-9:]", line)
    ]
    if not timings:
        raise InputError(f"{path}: found no cue, expected lines such as {_EXAMPLE}")
    before = lines[: timings[0][0]]
    numbered = bool(before) and before[-1].strip().isdecimal()
    for index, line in enumerate(before[:-1] if numbered else before):
        if line.strip():
            raise InputError(
                f"{path}, line {index + 1}: found {line[:60]!r}, expected a number or {_EXAMPLE}"
            )
    bounds = [index - numbered for index, _, _ in timings] + [len(lines)]
    cues = []
    for number, (index, start, end) in enumerate(timings, start=1):
        stop = bounds[number]
        if numbered and stop < len(lines) and not lines[stop].strip().isdecimal():
            raise InputError(
                f"{path}, line {stop + 1}: found {lines[stop][:60]!r}, expected the cue's number"
            )
        text = _without(_SRT_TAG, "\n".join(lines[index + 1 : stop]))
        cues.append(Cue(number, start, end, on_one_line(text)))
    return cues


def _refuse_other_arrows(path: Path, lines: list[str]) -> None:
    """Refuse times with another arrow than `-->`: their cue would be text of the one before."""
    for index, line in enumerate(lines):
        if _OTHER_ARROW.match(line) and "-->" not in line:
            raise InputError(f"{path}, line {index + 1}: times {line[:60]!r}, expected {_EXAMPLE}")


def _parse_timing(path: Path, index: int, line: str) -> tuple[float, float]:
    match = _TIMING.fullmatch(line)
    start, end = (parse_clock(match[1]), parse_clock(match[2])) if match else (None, None)
    if start is None or end is None:
        raise InputError(f"{path}, line {index + 1}: times {line[:60]!r}, expected {_EXAMPLE}")
    return start, end


def _without(tag: re.Pattern[str], text: str) -> str:
    return tag.sub("", _OVERRIDE.sub("", _BREAK.sub("\n", text)))


def _read_eaf(path: Path, wanted: str | None) -> list[Cue]:
    _refuse_unsafe_xml(path)
    try:
        eaf = Elan.Eaf(str(path), suppress_version_warning=True)
    except Exception as error:  # pympi lets pass whatever a missing part of the file leads to
        raise InputError(f"{path}: not a document of ELAN: {error!r}") from error
    texts = {name: _texts_of(eaf, name) for name in eaf.tiers}
    tier = _choose_tier(path, texts, wanted)
    cues = []
    for annotation, text in texts[tier].items():
        times = _times_of(eaf, annotation)
        if times is None:
            raise InputError(
                f"{path}: annotation {annotation!r} of the tier {tier!r} ({text[:60]!r}) has no "
                "time, expected that it has one, or refers to one that has"
            )
        cues.append((*times, on_one_line(text)))
    return [Cue(number, *cue, tier) for number, cue in enumerate(sorted(cues), start=1)]


def _texts_of(eaf: Elan.Eaf, tier: str) -> dict[str, str]:
    aligned, references, *_ = eaf.tiers[tier]
    texts = {annotation: text for annotation, (_, _, text, _) in aligned.items()}
    return texts | {annotation: text for annotation, (_, text, _, _) in references.items()}


def _times_of(eaf: Elan.Eaf, annotation: str) -> tuple[float, float] | None:
    """Begin and end in seconds of an annotation, or of that which it refers to.

    pympi's own way stops at a tier that is aligned and has a parent, and goes round for ever where
    annotations refer to each other.
    """
    for _ in eaf.tiers:
        aligned, references, *_ = eaf.tiers.get(eaf.annotations.get(annotation), ({}, {}))
        if annotation in aligned:
            begin, end = (eaf.timeslots.get(slot) for slot in aligned[annotation][:2])
            return None if begin is None or end is None else (begin / 1000, end / 1000)
        if annotation not in references:
            return None
        annotation = references[annotation][0]
    return None


def _choose_tier(path: Path, texts: Mapping[str, Mapping[str, str]], wanted: str | None) -> str:
    if wanted is not None and wanted not in texts:
        found = ", ".join(map(repr, texts)) or "none"
        raise InputError(f"{path}: found the tiers {found}, expected {wanted!r} (?tier=)")
    if wanted is not None:
        return wanted
    named = [tier for tier in texts if tier.casefold() in SENTENCE_TIERS]
    filled = [tier for tier in texts if any(text.strip() for text in texts[tier].values())]
    choice = named or filled
    if len(choice) != 1:
        raise InputError(
            f"{path}: found the tiers {', '.join(map(repr, choice or texts)) or 'none'}, expected "
            f"one of the name {' or '.join(SENTENCE_TIERS)}, or a single one with text; ?tier=NAME "
            "chooses one"
        )
    return choice[0]


def _refuse_unsafe_xml(path: Path) -> None:
    """Refuse a document type: entities, which may name files or grow without end, live there."""

    def refuse(*_: object) -> None:
        raise InputError(
            f"{path}, line {parser.CurrentLineNumber}: found a document type, which ELAN does not "
            "write and which may be harmful"
        )

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(_read_bytes(path), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InputError(f"{path}, line {error.lineno}: not XML: {reason}") from error
