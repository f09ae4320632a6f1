"""Scores files of sentences: text, one sentence a line, or the JSON lines that `evaluate` writes.

No model and no corpus is needed. Tells when hypotheses and references differ by signs that look
alike: ' and ’, wide forms.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unglossed.errors import InputError, note
from unglossed.evaluation.metrics import (
    DEFAULT_NORMALISATION,
    NFKC_PLAIN_SIGNS,
    Reference,
    Scores,
    blank_lines,
    format_score,
    normalise,
    note_blank,
    read_references,
    score_by_language,
)

PREDICTIONS, METRICS = "predictions.jsonl", "metrics.json"
"""What `evaluate` writes."""

_HYPOTHESIS, _REFERENCE, _REFERENCES = "hypothesis", "reference", "references"
_LANGUAGE = "language"
_ID = "id"
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv")
_LINE_END = re.compile(r"\r\n|\r|\n")
# Ends of lines to some programs, to Python's splitlines among them, but to no text editor.
_OTHER_ENDS = {
    "\x0b": "vertical tabs",
    "\x0c": "form feeds",
    "\x85": "next line signs (U+0085)",
    "\u2028": "line separators (U+2028)",
    "\u2029": "paragraph separators (U+2029)",
}
_TIMES = re.compile(r"^[\d:.,]+ --> [\d:.,]+")


def has_references(path: Path) -> bool:
    """Whether a file is JSON lines, which have references beside hypotheses.

    Raises:
        InputError: See `score_files`.
    """
    return _json_rows(path, _read(path)) is not None


def score_files(
    hypotheses: Path,
    references: Path | Sequence[Path],
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
) -> Scores:
    """Score the sentences of one file against those of another, or of several.

    A file is text in UTF-8, one sentence a line, or JSON lines as in `predictions.jsonl`, of which
    `hypothesis`, or `reference` and `references`, are read. Told on stderr: blank
    hypotheses, which count as nothing right; look-alike signs that cost score.

    Args:
        hypotheses: A system's sentences.
        references: What they should say, in the same order; no line is blank. Of several files each
            has a reference for every hypothesis. None: those of the JSON lines of `hypotheses`.
        language: See `metrics.score`. Rows of JSON that name their own are scored by language.
        normalisation: See `metrics.score`.

    Raises:
        InputError: A file is neither, the numbers of sentences differ, a reference is blank, or see
            `metrics.score`.
    """
    files = [references] if isinstance(references, Path) else list(references)
    found = read_hypotheses(hypotheses)
    if not files and not has_references(hypotheses):
        raise InputError(
            f"{hypotheses}: found sentences alone, expected references too: give a file of them, or"
            " the predictions.jsonl of evaluate, which has both"
        )
    wanted = references_for(hypotheses, files or [hypotheses], len(found))
    languages = read_languages(hypotheses, language) or [language] * len(found)
    scores = score_by_language(found, wanted, languages, normalisation)
    if fault := note_blank(found):
        note(f"{hypotheses}: {fault}")
    if signs := note_look_alikes(found, wanted, languages, scores):
        note(signs)
    return scores


def read_hypotheses(path: Path) -> list[str]:
    """The sentences of a system.

    Raises:
        InputError: See `score_files`.
    """
    text = _read(path)
    rows = _json_rows(path, text)
    if rows is None:
        return _sentences(path, text)
    return [_field(path, number, row, _HYPOTHESIS) for number, row in rows]


def references_for(hypotheses: Path, files: Sequence[Path], count: int) -> list[list[str]]:
    """For each of a file's hypotheses the references that other files have of it.

    Args:
        hypotheses: The file.
        files: Each has a reference, or several, for every hypothesis.
        count: Hypotheses in the file.

    Raises:
        InputError: See `score_files`.
    """
    wanted: list[list[str]] = [[] for _ in range(count)]
    for path in files:
        check_order(hypotheses, path)
        rows = read_references_of(path)
        if len(rows) != count:
            raise InputError(
                f"{hypotheses} and {path}: found {count} and {len(rows)} sentences,"
                " expected as many in one as in the other"
            )
        for own, row in zip(wanted, rows, strict=True):
            own += row
    return wanted


def read_ids(path: Path) -> list[str] | None:
    """The ids of the samples of JSON lines; None: it is text, or a row has none.

    Raises:
        InputError: Two rows have the same, or see `score_files`.
    """
    rows = _json_rows(path, _read(path)) or []
    lines: dict[str, int] = {}
    for number, row in rows:
        if row.get(_ID) is None:
            continue
        name = str(row[_ID])
        if name in lines:
            raise InputError(
                f"{path}, line {number}: found the id {name[:40]!r} again, that of line"
                f" {lines[name]}, expected one row for each sample"
            )
        lines[name] = number
    return [*lines] if rows and len(lines) == len(rows) else None


def check_order(hypotheses: Path, references: Path) -> None:
    """Refuse two files of JSON lines of which a row has the ids of two samples.

    Raises:
        InputError: There is such a row, or see `score_files`.
    """
    rows, others = (_json_rows(path, _read(path)) or () for path in (hypotheses, references))
    for (number, row), (other_number, other) in zip(rows, others, strict=False):
        # As text, as `read_ids` has them: some programs write 7 for "7".
        if _ID in row and _ID in other and str(row[_ID]) != str(other[_ID]):
            raise InputError(
                f"{hypotheses}, line {number}, and {references}, line {other_number}: found the ids"
                f" {str(row[_ID])[:40]!r} and {str(other[_ID])[:40]!r}, expected the same samples"
                " in the same order: sort both by id"
            )


def read_languages(path: Path, language: str) -> list[str] | None:
    """For each row of JSON lines the language that it names, else `language`; None: it is text.

    Raises:
        InputError: See `score_files`.
    """
    rows = _json_rows(path, _read(path))
    if rows is None:
        return None
    return [
        _field(path, number, row, _LANGUAGE) if _LANGUAGE in row else language
        for number, row in rows
    ]


def read_references_of(path: Path) -> list[list[str]]:
    """For each sample the references that a file has of it; none is blank.

    Raises:
        InputError: See `score_files`.
    """
    text = _read(path)
    rows = _json_rows(path, text)
    if rows is None:
        sentences = _sentences(path, text)
        if blank := blank_lines(sentences):
            raise InputError(
                f"{path}, line {blank[0]}: found no text, expected a sentence"
                f" ({len(blank)} of {len(sentences)} lines are blank)"
            )
        return [[sentence] for sentence in sentences]
    found = []
    for number, row in rows:
        texts = [_field(path, number, row, _REFERENCE)]
        more = row.get(_REFERENCES, [])
        if not isinstance(more, list) or not all(isinstance(one, str) for one in more):
            raise InputError(
                f"{path}, line {number}: {_REFERENCES!r} is {json.dumps(more)[:40]}, expected a"
                " list of texts"
            )
        texts += more
        if blank_lines(texts):
            raise InputError(f"{path}, line {number}: found no text, expected a sentence")
        found.append(texts)
    return found


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: found byte {error.object[error.start]:#04x} at {error.start}, expected UTF-8"
        ) from None
    if not text:
        raise InputError(f"{path}: the file is empty, expected a sentence a line")
    if (place := text.find("\0")) >= 0:
        raise InputError(f"{path}: found a zero byte at {place}, expected text in UTF-8")
    return text


def _sentences(path: Path, text: str) -> list[str]:
    """Lines end as in a text editor, at LF, CR LF or CR; empty ones count.

    Raises:
        InputError: The lines end otherwise, or are those of a table or of subtitles.
    """
    lines = _LINE_END.split(text)
    if not lines[-1]:
        del lines[-1]
    others = [(text.count(sign), name) for sign, name in _OTHER_ENDS.items() if sign in text]
    if others:
        count, name = max(others)
        told = f"{path}: {count} x {name} in {len(lines)} line{'s' * (len(lines) > 1)}"
        if count >= len(lines):
            raise InputError(f"{told}, expected lines that end in LF, CR LF or CR")
        note(f"{told}: they end no line, a sentence has them within")
    if path.suffix.lower() in _TABLE_SUFFIXES:
        raise InputError(
            f"{path}: has the ending of a table, expected a sentence a line and nothing else, as"
            " in a .txt file"
        )
    if all("\t" in line for line in lines):
        raise InputError(
            f"{path}: found a tab in every line, as in a table, expected a sentence a line and"
            " nothing else"
        )
    for number, line in enumerate(lines, start=1):
        if _TIMES.match(line):
            raise InputError(f"{path}, line {number}: found subtitles, expected a sentence a line")
    return lines


def _json_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]] | None:
    """The rows of JSON lines with their line numbers; None: it is text.

    Raises:
        InputError: It begins as JSON, or is named so, and is not JSON lines throughout.
    """
    lines = [
        (number, line) for number, line in enumerate(_LINE_END.split(text), start=1) if line.strip()
    ]
    named = path.suffix.lower() in _JSON_SUFFIXES
    if not named and not (lines and _begins_as_json(lines[0][1])):
        return None
    rows = []
    for number, line in lines:
        row = _parsed(line)
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}: found {line[:40]!r}, expected JSON lines with"
                f" {_HYPOTHESIS!r} or {_REFERENCE!r} in each, as evaluate writes predictions.jsonl"
            )
        rows.append((number, row))
    return rows


def _begins_as_json(line: str) -> bool:
    return line.strip() in ("[", "{", "[{") or isinstance(_parsed(line), (dict, list))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _field(path: Path, number: int, row: dict[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str):
        told = ", ".join(map(repr, row)) or "none"
        kind = f"{name!r} is {json.dumps(row[name])[:40]}" if name in row else f"fields {told}"
        raise InputError(f"{path}, line {number}: found {kind}, expected a text as {name!r}")
    return str(row[name])


_LEAST_GAIN = 0.05
_MOST_SIGNS = 3


def note_look_alikes(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    languages: Sequence[str],
    scores: Scores,
) -> str | None:
    """What look-alike signs cost; None: nothing.

    Args:
        hypotheses: as they were scored.
        references: of each, as they were scored.
        languages: of the references.
        scores: of these texts.

    Returns:
        How many hypotheses differ from their references in nothing but such signs, and what BLEU-4
        would be with one sign for each.
    """
    found = normalise(hypotheses, scores.normalisation)
    wanted = [normalise(texts, scores.normalisation) for texts in read_references(references)]
    plain = normalise(found, NFKC_PLAIN_SIGNS)
    plain_wanted = [normalise(texts, NFKC_PLAIN_SIGNS) for texts in wanted]
    if plain == found and plain_wanted == wanted:
        return None
    unified = score_by_language(plain, plain_wanted, languages, scores.normalisation)
    same = [
        number
        for number, (one, others) in enumerate(zip(found, wanted, strict=True), start=1)
        if one not in others and plain[number - 1] in plain_wanted[number - 1]
    ]
    gain = (unified.bleu4 or 0.0) - (scores.bleu4 or 0.0)
    if not same and gain < _LEAST_GAIN:
        return None
    signs = _signs(found, [text for texts in wanted for text in texts])
    which = (
        f"{len(same)} of {len(found)} hypotheses differ from their reference in nothing but"
        f" look-alike signs (first: sentence {same[0]})"
        if same
        else "hypotheses and references differ in look-alike signs"
    )
    return (
        f"{which}, such as {signs}: with one sign for each BLEU-4 would be"
        f" {format_score(unified.bleu4)} instead of {format_score(scores.bleu4)}; unglossed score"
        f" --normalisation {NFKC_PLAIN_SIGNS} scores so"
    )


def _signs(found: Sequence[str], wanted: Sequence[str]) -> str:
    """The signs whose counts differ most between hypotheses and references."""
    counts = Counter("".join(found))
    counts.subtract(Counter("".join(wanted)))
    special = [sign for sign in counts if normalise([sign], NFKC_PLAIN_SIGNS) != [sign]]
    special.sort(key=lambda sign: (-abs(counts[sign]), sign))
    return ", ".join(
        f"{sign} (U+{ord(sign):04X} {unicodedata.name(sign, 'without a name')})"
        for sign in special[:_MOST_SIGNS]
    )
