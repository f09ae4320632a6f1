"""What all kinds of caption files give: cues, their texts on one line, and times of a clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from unglossed.corpora.lines import FOUND_UTF16, UTF16_MARKS
from unglossed.errors import InputError

Report = Callable[[str, str], None]
"""Takes where a cue is wrong, and what was found there and expected."""

_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]{1,9})?)")
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
    """Make one line of a text: a line break and the white space around it become one space."""
    lines = (line.strip() for line in split_lines(text))
    return " ".join(line for line in lines if line)


def split_lines(text: str) -> list[str]:
    """The lines of a text; characters that `str.splitlines` also splits at belong to it."""
    return re.split(r"\r\n|\n|\r", text)


def parse_clock(stamp: str) -> float | None:
    """Seconds of HH:MM:SS.mmm, hours and fraction being optional; None if it is something else."""
    match = _CLOCK.fullmatch(stamp)
    if not match:
        return None
    hours, minutes, seconds = match.groups(default="0")
    total = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return round(total, 9)


def count_repeated(cues: Sequence[Cue]) -> int:
    """How many cues repeat words of the one right before, as captions that roll up do.

    Captions that a program made of speech show each line twice: below as it is spoken, then above
    the next one. A cue that only happens to say the same again makes none of it.

    Returns:
        Their number; 0 where they are not at least half of all.
    """
    cues = [cue for cue in cues if cue.text]
    repeated = sum(
        later.start_seconds - earlier.end_seconds < _GAP_SECONDS
        and (f"{later.text} ".startswith(f"{earlier.text} ") or earlier.text.endswith(later.text))
        for earlier, later in pairwise(cues)
    )
    return repeated if repeated >= max(_LEAST_REPEATED, len(cues) / 2) else 0
