r"""Captions from SubStation files (.ass, .ssa): the lines of dialogue, read by pysubs2.

Comments and drawings are no captions. Overrides such as `{\an8}` go.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from pysubs2 import SSAFile

from unglossed.corpora.cues import Cue, on_one_line, read_text, split_lines
from unglossed.errors import InputError

_FIELDS = "start, end, style, name, marginl, marginr, marginv, effect, text"
_SECTION = re.compile(r"\s*\[(?P<name>[^\]]*)\]\s*")
_TIMES = re.compile(r"(?:[^,]*),(?:\s*[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:[.,][0-9]{1,3})?\s*,){2}")


def read_substation(path: Path) -> list[Cue]:
    """Read the lines of dialogue, in the order of time; the name of an actor is the speaker.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or not as SubStation files are.
    """
    text = read_text(path)
    _check(path, split_lines(text))
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


def _check(path: Path, lines: list[str]) -> None:
    """Refuse what pysubs2 would read otherwise than the file says, or not at all."""
    section = ""
    sections = list(map(_SECTION.fullmatch, lines))
    for number, (line, match) in enumerate(zip(lines, sections, strict=True), start=1):
        where = f"{path}, line {number}"
        name, _, rest = line.partition(":")
        name = name.strip().casefold()
        if match:
            section = match["name"].strip().casefold()
        elif section == "events" and name == "format":
            fields = ", ".join(field.strip() for field in rest.casefold().split(","))
            if fields.partition(", ")[2] != _FIELDS:  # the first is Layer, or Marked
                raise InputError(f"{where}: found {line[:100]!r}, expected Layer, {_FIELDS}")
        elif section == "events" and name == "dialogue" and not _TIMES.match(rest):
            found = f"found {line[:60]!r}, expected Dialogue: 0,0:00:01.00,0:00:02.50,..."
            raise InputError(f"{where}: {found}")
    if not any(found and found["name"].strip().casefold() == "events" for found in sections):
        raise InputError(f"{path}: found no section [Events], expected one")
