"""Scores text files, one sentence a line: no model and no corpus is needed."""

from __future__ import annotations

from pathlib import Path

from unglossed.errors import InputError, note
from unglossed.evaluation.metrics import Scores, blank_lines, note_blank, score
from unglossed.evaluation.normalisation import DEFAULT_NORMALISATION


def score_files(
    hypotheses: Path,
    references: Path,
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
) -> Scores:
    """Score the sentences of one file against those of another.

    Blank hypotheses count as nothing right; how many there are is noted on standard error.

    Args:
        hypotheses: A system's sentences.
        references: What they should say, in the same order; no line is blank.
        language: See `metrics.score`.
        normalisation: See `metrics.score`.

    Raises:
        InputError: A file is no text in UTF-8, the numbers of lines differ, a reference is blank,
            or see `metrics.score`.
    """
    found, wanted = read_sentences(hypotheses), read_sentences(references)
    if len(found) != len(wanted):
        raise InputError(
            f"{hypotheses} and {references}: found {len(found)} and {len(wanted)} sentences,"
            " expected as many in one as in the other"
        )
    if blank := blank_lines(wanted):
        raise InputError(
            f"{references}, line {blank[0]}: found no text, expected a sentence"
            f" ({len(blank)} of {len(wanted)} lines are blank)"
        )
    scores = score(found, wanted, language, normalisation)
    if fault := note_blank(found):
        note(f"{hypotheses}: {fault}")
    return scores


def read_sentences(path: Path) -> list[str]:
    """The lines of a text file in UTF-8; empty ones count, and no other character ends a line.

    Raises:
        InputError: It is empty, or not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: found byte {error.object[error.start]:#04x} at {error.start}, expected UTF-8"
        ) from None
    if not text:
        raise InputError(f"{path}: the file is empty, expected a sentence a line")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
