"""Subtitles of long videos as rows: a sample for each cue of a file.

For releases that have a subtitle file a video; `folder` reads what people lay out themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unglossed.corpora.captions import Cue, read_captions
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.reading import Reading, Rows
from unglossed.errors import InputError


def add_subtitles(
    rows: Rows, path: Path, *, id: str, split: str, media: Path | None, expected: Path
) -> int:
    """Add a sample for each cue of a subtitle file, called `id_1` and so on by the cues' numbers.

    Cues without text are left out and counted.

    Args:
        rows: Where they go.
        path: The file.
        id: What its video is called.
        split: Its split.
        media: The video; None: it is not there.
        expected: Where it should be.

    Returns:
        Number of samples that were added.

    Raises:
        InputError: The file or a cue is wrong, and nobody collects faults.
    """
    reading = rows.reading
    try:
        cues = read_captions(
            path,
            report=lambda *fault: reading.report(FaultKind.MALFORMED_ROW, *fault),
            note=lambda *odd: reading.report(FaultKind.ODD_CAPTIONS, *odd),
        )
    except InputError as error:
        report_unreadable(reading, path, error)
        return 0
    rows.begin(path, unit="cue", split=split)
    where: Any = {"id": id, "split": split, "media": media, "expected": expected}
    return sum(add_cue(rows, cue, **where) for cue in cues)


def add_cue(
    rows: Rows, cue: Cue, *, id: str, split: str, media: Path | None, expected: Path
) -> bool:
    """Add a sample for a cue, called `id` and the cue's number; see `add_subtitles`.

    Returns:
        Whether it was kept.
    """
    return rows.add(
        cue.number,
        id=f"{id}_{cue.number}",
        text=cue.text,
        split=split,
        media=media,
        expected=expected,
        start_seconds=cue.start_seconds,
        end_seconds=cue.end_seconds,
        signer=cue.speaker,
    )


def report_unreadable(reading: Reading, path: Path, error: InputError) -> None:
    """Report why a caption file cannot be read, after which the reader goes on without it."""
    wrong_bytes = isinstance(error.__cause__, UnicodeDecodeError)
    kind = FaultKind.NOT_UTF8 if wrong_bytes else FaultKind.MALFORMED_ROW
    line, _, reason = str(error).removeprefix(str(path)).partition(": ")
    reading.report(kind, f"{path}{line}", reason)
