"""Captions: the cues of a caption file, as text with times.

SubRip (.srt), WebVTT (.vtt), YouTube's .sbv, SubStation (.ass, .ssa) and ELAN (.eaf, parsed by
`elan`). Markup is removed, a line break within a cue becomes one space, and nothing else is
changed. What cannot be understood is an error that names the line: no text is lost or moved to
another cue.
"""

from __future__ import annotations

import html
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from pysubs2 import SSAFile

from unglossed.corpora.elan import Document, Tier, Times, read_document
from unglossed.corpora.reading import FOUND_UTF16, UTF16_MARKS
from unglossed.errors import InputError

CAPTION_SUFFIXES = (".vtt", ".srt", ".eaf", ".ass", ".ssa", ".sbv")
"""Kinds of captions that are read."""

UNREAD_SUFFIXES = frozenset(
    # What YouTube, players, broadcasters and other annotation tools write.
    """
    .aqt .antx .cap .cha .dfxp .exb .idx .itt .json3 .jss .lrc .mpl .mpsub .pjs .psb .rt .sami .scc
    .smi .srv1 .srv2 .srv3 .stl .sub .sup .tds .textgrid .trs .ttaf .ttml .ttxt .usf .vobsub
    """.split()
)
"""Kinds of captions that are not read, which is reported where there are no others."""

SENTENCE_TIERS = ("text", "translation", "sentence")
"""Names of the ELAN tier that holds the sentences where a file has several tiers, in any case."""

Report = Callable[[str, str], None]
"""Takes where a cue is wrong, and what was found there and expected."""

_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]{1,9})?)")
_EXAMPLE = "00:00:01,000 --> 00:00:02,500"
_SBV_EXAMPLE = "0:00:01.000,0:00:02.500"
# Lines that are meant as times, right or wrong. Without those of another arrow the text behind them
# would be of the cue before. An arrow may also stand in a sentence, but hardly after digits.
_OTHER_ARROW = r"^\s*[0-9]+:[0-9:.,]+\s*[-=–—]*[>→]\s*[0-9]+:[0-9]"
_VTT_TIMES = re.compile(rf"-->|{_OTHER_ARROW}")
_SRT_TIMES = re.compile(rf"^\s*-?[0-9:].*-->|[0-9]:[0-9].*-->.*[0-9]:[0-9]|{_OTHER_ARROW}")
_SBV_TIMES = re.compile(r"^\s*[0-9]+:[0-9:]*[.,]?[0-9]*\s*,\s*[0-9]+:[0-9]")
_SBV_TIMING = re.compile(r"\s*([0-9:]+(?:\.[0-9]+)?)\s*,\s*([0-9:]+(?:\.[0-9]+)?)\s*")
_TIMING = re.compile(r"\s*([0-9:.,]+)\s*-->\s*([0-9:.,]+)(?:\s.*)?")
# What SubRip has no rule for, so only the tags that are in use; a text may hold "<" as well.
_SRT_TAG = re.compile(
    r"</?(?:b|i|u|s|c|v|p|font|span|lang|ruby|rt)(?:[\s.][^<>]*)?>|<[0-9:.]+>", re.IGNORECASE
)
_VTT_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|</?>|<[0-9:.]+>")
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # {\an8}, {\i1}: of SubStation, but found in all
_BREAK = re.compile(r"<br\s*/?>|\\N", re.IGNORECASE)  # SubStation's \N and \n as well
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>", re.IGNORECASE)
_MAP = re.compile(r"X-TIMESTAMP-MAP\s*=.*", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]*);")
# Of SubStation: fields of a line of dialogue, and what begins a section and such a line.
_FIELDS = "start, end, style, name, marginl, marginr, marginv, effect, text"
_SECTION = re.compile(r"\s*\[(?P<name>[^\]]*)\]\s*")
_DIALOGUE_TIMES = re.compile(
    r"(?:[^,]*),(?:\s*[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:[.,][0-9]{1,3})?\s*,){2}"
)
_LEAST_REPEATED = 3
_GAP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption.

    Attributes:
        number: Place in the file, or in the tier by time, from 1; cues without text count.
        start_seconds: When it begins.
        end_seconds: When it ends.
        text: Its text on one line, without markup; may be empty.
        tier: ELAN's name of the tier; None for other files.
        speaker: Whose words they are, where the file tells.
    """

    number: int
    start_seconds: float
    end_seconds: float
    text: str
    tier: str | None = None
    speaker: str | None = None


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
    """Join the lines of a text: a line break and the white space around it become one space."""
    lines = (line.strip() for line in split_lines(text))
    return " ".join(line for line in lines if line)


def split_lines(text: str) -> list[str]:
    """Split a text at line ends, but not at the rarer characters that `str.splitlines` takes."""
    return re.split(r"\r\n|\n|\r", text)


def parse_clock(stamp: str) -> float | None:
    """Parse HH:MM:SS.mmm into seconds, hours and fraction being optional; None: something else."""
    match = _CLOCK.fullmatch(stamp)
    if not match:
        return None
    hours, minutes, seconds = match.groups(default="0")
    total = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return round(total, 9)


def count_repeated(cues: Sequence[Cue]) -> int:
    """Count the cues that repeat words of the one right before, as captions that roll up do.

    Automatic captions show each line twice: below as it is spoken, then above the next one. Where
    such cues are not at least half of all, they only happen to say the same: 0.
    """
    cues = [cue for cue in cues if cue.text]
    repeated = sum(
        later.start_seconds - earlier.end_seconds < _GAP_SECONDS
        and (f"{later.text} ".startswith(f"{earlier.text} ") or earlier.text.endswith(later.text))
        for earlier, later in pairwise(cues)
    )
    return repeated if repeated >= max(_LEAST_REPEATED, len(cues) / 2) else 0


def read_captions(
    path: Path,
    tier: str | None = None,
    report: Report | None = None,
    *,
    clip: str | None = None,
    needs_text: bool = True,
    note: Report | None = None,
) -> list[Cue]:
    """Read the cues of a caption file; its suffix tells the format.

    Of an ELAN file these are the annotations of the tier asked for; without one of that named text,
    translation or sentence, else of the only one with text. Times are those that ELAN shows in the
    clip.

    Args:
        path: A file of one of `CAPTION_SUFFIXES`.
        tier: Name of the tier of an ELAN file; other files have none.
        report: Called for each cue that is wrong; the others are read, and keep their numbers in
            .srt, .vtt and .sbv. None: the first one is raised.
        clip: File name of the clip; None: that of the captions, with another suffix.
        needs_text: Whether to choose only tiers that have text.
        note: Called for what is not as one may think, though nothing is wrong with it.

    Raises:
        InputError: The file cannot be read, is not UTF-8 or malformed as a whole, no tier can be
            chosen, or a cue is wrong and there is no `report`.
    """
    report = report or _refuse
    match path.suffix.lower():
        case ".srt":
            return _read_srt(path, report)
        case ".vtt":
            return _read_vtt(path, report, note)
        case ".sbv":
            return _read_sbv(path, report)
        case ".eaf":
            return _read_elan(path, tier, report, clip or path.name, needs_text)
        case ".ass" | ".ssa":
            return _read_substation(path)
    *suffixes, last = CAPTION_SUFFIXES
    expected = f"{', '.join(suffixes)} or {last}"
    raise InputError(f"{path}: unknown kind of captions, expected {expected}")


def _refuse(where: str, text: str) -> None:
    raise InputError(f"{where}: {text}")


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


def _read_vtt(path: Path, report: Report, note: Report | None) -> list[Cue]:
    lines = split_lines(read_text(path))
    if not re.fullmatch(r"WEBVTT(\s.*)?", lines[0]):
        raise InputError(f"{path}, line 1: found {lines[0][:60]!r}, expected WEBVTT")
    header = lines[1 : lines.index("") if "" in lines else None]
    shift = next(filter(_MAP.fullmatch, header), "")
    if note is not None and re.search("[1-9]", shift):
        note(str(path), f"found {shift[:80]!r}, which is for streams: times are read as they stand")
    blocks = []
    is_apart = True
    for place, end in _spans(lines, _VTT_TIMES):
        body = lines[place + 1 : end]
        blocks.append(_Block(place, body, is_apart))
        is_apart = "" in body
        if is_apart:  # what follows is a note, or the next cue's name
            del body[body.index("") :]

    def clean(text: str) -> str:
        return _ENTITY.sub(lambda match: html.unescape(match[0]), _without(_VTT_TAG, text))

    return _to_cues(path, lines, blocks, clean, report)


def _read_srt(path: Path, report: Report) -> list[Cue]:
    lines = split_lines(read_text(path))
    spans = _spans(lines, _SRT_TIMES)
    before = lines[: spans[0][0]] if spans else []
    numbered = bool(before) and before[-1].strip().isdecimal()
    _check_begin(path, spans, before[:-1] if numbered else before, _EXAMPLE, "a number or ")
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


def _read_sbv(path: Path, report: Report) -> list[Cue]:
    lines = split_lines(read_text(path))
    spans = _spans(lines, _SBV_TIMES)
    _check_begin(path, spans, lines[: spans[0][0]] if spans else [], _SBV_EXAMPLE)
    blocks = [_Block(place, lines[place + 1 : end], True) for place, end in spans]
    return _to_cues(path, lines, blocks, partial(_without, _SRT_TAG), report, _SBV_TIMING)


def _spans(lines: list[str], times: re.Pattern[str]) -> list[tuple[int, int]]:
    """Indices of the lines with times, each with that of the next or of the end."""
    places = [index for index, line in enumerate(lines) if times.search(line)]
    return list(pairwise([*places, len(lines)]))


def _check_begin(
    path: Path, spans: list[tuple[int, int]], before: list[str], example: str, more: str = ""
) -> None:
    """Refuse a file without cues, or with text before the first one."""
    if not spans:
        raise InputError(f"{path}: found no cue, expected lines such as {example}")
    for number, line in enumerate(before, start=1):
        if line.strip():
            found = f"found {line[:60]!r}"
            raise InputError(f"{path}, line {number}: {found}, expected {more}{example}")


def _to_cues(
    path: Path,
    lines: list[str],
    blocks: list[_Block],
    clean: Callable[[str], str],
    report: Report,
    timing: re.Pattern[str] = _TIMING,
) -> list[Cue]:
    cues: list[Cue] = []
    for number, block in enumerate(blocks, start=1):
        match = timing.fullmatch(lines[block.place])
        start, end = map(parse_clock, match.groups()) if match else (None, None)
        if start is not None and end is not None and block.fault is None:
            body = "\n".join(block.body)
            names = dict.fromkeys(on_one_line(clean(name)) for name in _VOICE.findall(body))
            speaker = ", ".join(filter(None, names)) or None
            cues.append(Cue(number, start, end, on_one_line(clean(body)), speaker=speaker))
            continue
        example = _SBV_EXAMPLE if timing is _SBV_TIMING else _EXAMPLE
        wrong = f"times {lines[block.place][:60]!r}, expected {example}"
        index, reason = block.fault or (block.place, wrong)
        report(f"{path}, line {index + 1}", f"{reason} (cue {number})")
        if not block.is_apart and cues and cues[-1].number == number - 1:
            cues.pop()
            text = f"no empty line parts it from line {index + 1}, which may be of its text"
            report(f"{path}, cue {number - 1}", text)
    return cues


def _without(tag: re.Pattern[str], text: str) -> str:
    text = _BREAK.sub("\n", _OVERRIDE.sub("", text)).replace("\\h", " ")
    return tag.sub("", text)


def _read_substation(path: Path) -> list[Cue]:
    """Read the lines of dialogue, in the order of time; the name of an actor is the speaker."""
    text = read_text(path)
    _check_substation(path, split_lines(text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles, which are not used
            events = SSAFile.from_string(text, format_="ass").events
    except Exception as error:  # whatever a damaged file makes it raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: not readable as SubStation: {reason[:200]}") from error
    events.sort(key=lambda event: (event.start, event.end))
    lines = [event for event in events if event.is_text]
    return [
        Cue(
            number,
            line.start / 1000,
            line.end / 1000,
            on_one_line(line.plaintext),
            speaker=line.name.strip() or None,
        )
        for number, line in enumerate(lines, start=1)
    ]


def _check_substation(path: Path, lines: list[str]) -> None:
    """Refuse what pysubs2 would read otherwise than the file says, or not at all."""
    section, sections = "", set()
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition(":")
        name = name.strip().casefold()
        if match := _SECTION.fullmatch(line):
            section = match["name"].strip().casefold()
            sections.add(section)
        elif section == "events" and name == "format":
            fields = ", ".join(field.strip() for field in rest.casefold().split(","))
            if fields.partition(", ")[2] != _FIELDS:  # the first is Layer, or Marked
                found = f"found {line[:100]!r}, expected Layer, {_FIELDS}"
                raise InputError(f"{path}, line {number}: {found}")
        elif section == "events" and name == "dialogue" and not _DIALOGUE_TIMES.match(rest):
            found = f"found {line[:60]!r}, expected Dialogue: 0,0:00:01.00,0:00:02.50,..."
            raise InputError(f"{path}, line {number}: {found}")
    if "events" not in sections:
        raise InputError(f"{path}: found no section [Events], expected one")


def _read_elan(
    path: Path, wanted: str | None, report: Report, clip: str, needs_text: bool
) -> list[Cue]:
    """Read the annotations of the tier that is chosen."""
    document = read_document(path)
    name = _choose_tier(path, document.tiers, wanted, needs_text)
    return read_tier(path, document, Times(document), name, clip, report)


def read_tier(
    path: Path, document: Document, times: Times, name: str, clip: str, report: Report
) -> list[Cue]:
    """Read the annotations of one tier of an ELAN file, in the order of time.

    Args:
        path: The file, for messages.
        document: What is in it.
        times: Its times.
        name: Name of the tier.
        clip: File name of the clip.
        report: Called for each annotation that has no times.

    Raises:
        InputError: It is not known where in the clip the annotations begin.
    """
    tier = document.tiers[name]
    try:
        origin = document.origin_of(clip)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    cues = []
    for place, annotation in enumerate(tier.annotations):
        try:
            start, end = times.of(annotation)
        except ValueError as error:
            text = f"annotation {annotation.text[:60]!r} of the tier {name!r}: {error}"
            report(f"{path}, line {annotation.line}", text)
            continue
        text = on_one_line(annotation.text)
        cues.append((round(start + origin, 6), round(end + origin, 6), place, text))
    return [
        Cue(number, start, end, text, name, tier.participant)
        for number, (start, end, _, text) in enumerate(sorted(cues), start=1)
    ]


def _choose_tier(path: Path, tiers: dict[str, Tier], wanted: str | None, needs_text: bool) -> str:
    if wanted is not None:
        alike = [name for name in tiers if folded(name) == folded(wanted)]
        if wanted in tiers or len(alike) == 1:
            return wanted if wanted in tiers else alike[0]
        found = ", ".join(map(repr, tiers)) or "none"
        raise InputError(f"{path}: found the tiers {found}, expected {wanted!r} (?tier=, --tier)")
    named = [name for name in tiers if name.casefold() in SENTENCE_TIERS]
    filled = [
        name for name, tier in tiers.items() if any(one.text.strip() for one in tier.annotations)
    ]
    if not needs_text and not filled:
        # Of tiers that depend on others the times are also those of the others.
        filled = [name for name, tier in tiers.items() if tier.annotations and not tier.parent]
    choice = named or filled
    if len(choice) != 1:
        raise InputError(
            f"{path}: found the tiers {', '.join(map(repr, choice or tiers)) or 'none'}, expected "
            f"one of the name {' or '.join(SENTENCE_TIERS)}, or a single one with text; ?tier=NAME "
            "in a spec, or --tier NAME, chooses one"
        )
    return choice[0]


def folded(name: str) -> str:
    """A name in Unicode NFC and without capitals, to compare it."""
    return unicodedata.normalize("NFC", name.strip()).casefold()
