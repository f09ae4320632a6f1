"""Captions from ELAN files: the annotations of one tier, with the times that ELAN shows."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from unglossed.corpora.cues import Cue, Report, on_one_line
from unglossed.corpora.elan import Tier, read_document
from unglossed.corpora.elan_times import Times
from unglossed.errors import InputError

SENTENCE_TIERS = ("text", "translation", "sentence")
"""Names of the ELAN tier that holds the sentences where a file has several tiers, in any case."""


def read_elan(
    path: Path,
    wanted: str | None,
    report: Report,
    clip: str | None = None,
    *,
    needs_text: bool = True,
) -> list[Cue]:
    """Read the annotations of a tier, in the order of time.

    Args:
        path: A .eaf file.
        wanted: Name of the tier; None: the one that holds the sentences.
        report: Told of each annotation that is wrong; the others are read.
        clip: File name of the medium that times are wanted of; None: it has the file's own name.
        needs_text: Tiers without any text are no choice.

    Raises:
        InputError: As `read_document`; no tier can be chosen; or the file's media begin at
            different times and none of them is the clip.
    """
    document = read_document(path)
    name = _choose_tier(path, document.tiers, wanted, needs_text)
    tier = document.tiers[name]
    try:
        origin = document.origin_of(clip or path.name)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    times = Times(document)
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
        alike = [name for name in tiers if _folded(name) == _folded(wanted)]
        if wanted in tiers or len(alike) == 1:
            return wanted if wanted in tiers else alike[0]
        found = ", ".join(map(repr, tiers)) or "none"
        raise InputError(f"{path}: found the tiers {found}, expected {wanted!r} (?tier=)")
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
            "chooses one"
        )
    return choice[0]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()
