"""Checks a copy of a corpus before an hour of training is lost: one pass, all faults.

The reader reports what is wrong with rows; here come texts, media, times, and what splits share.
Nothing is changed on disk.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from unglossed.corpora.check_clips import Limits, check_clips, name_clip
from unglossed.corpora.check_report import Report
from unglossed.corpora.check_text import (
    count_forms,
    find_mojibake,
    find_no_value,
    find_odd_text,
    may_be_damaged,
)
from unglossed.corpora.faults import Fault, FaultKind, Faults
from unglossed.corpora.needs import Needs, find_other_language, find_unfit
from unglossed.corpora.packed import verify_shards
from unglossed.corpora.registry import find_reader
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError

_MOST_NAMES = 5


def check_corpus(
    spec: str,
    *,
    deep: bool = False,
    limits: Limits | None = None,
    needs: Needs | None = None,
    num_workers: int | None = None,
    max_examples: int = 5,
    progress: bool = False,
) -> Report:
    """Find every fault of a corpus.

    Args:
        spec: As in `read_corpus`.
        deep: Decode every file as well, from beginning to end.
        limits: Lengths that clips should have; None: any.
        needs: What the recipe needs that the corpus is meant for; None: no particular one.
        num_workers: Processes that look at media; None for one per core.
        max_examples: Faults of each kind that the report names.
        progress: Show a bar on standard error.

    Returns:
        All faults. A corpus whose structure cannot be read is one of them.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path.
    """
    faults = Faults(max_examples)
    read = find_reader(spec, faults)
    try:
        corpus = read()
    except InputError as error:
        where, colon, text = str(error).partition(": ")
        if not colon:
            where, text = spec, where
        faults.add(Fault(FaultKind.UNREADABLE, where, text))
        return Report(spec, faults, {}, 0, deep)
    limits = limits or Limits()
    samples = [sample for rows in corpus.splits.values() for sample in rows]
    check_texts(samples, faults, limits)
    _check_forms(corpus, faults)
    _check_splits(corpus, faults)
    for fault in (*find_unfit(corpus, needs), *find_other_language(corpus, needs or Needs())):
        faults.add(fault)
    num_media = check_clips(
        spec,
        samples,
        faults,
        deep=deep,
        limits=limits,
        needs=needs,
        num_workers=num_workers,
        progress=progress,
    )
    if deep and corpus.name == "packed" and samples:
        shards = samples[0].media.parents[1]  # may lie elsewhere than the table, see `?media=`
        for fault in verify_shards(corpus.root, shards):
            faults.add(fault)
    num_samples = {name: len(rows) for name, rows in corpus.splits.items()}
    return Report(
        spec,
        faults,
        num_samples,
        num_media,
        deep,
        num_references=sum(len(sample.references) for sample in samples),
        num_of_language=Counter(sample.language for sample in samples),
    )


def check_texts(samples: Sequence[Sample], faults: Faults, limits: Limits | None = None) -> None:
    """Look for texts that are damaged, odd, or longer than they should be.

    Args:
        samples: The clips.
        faults: Where faults go.
        limits: Lengths that texts should have; None: any.
    """
    most = (limits or Limits()).max_characters or math.inf
    for sample, text in ((row, text) for row in samples for text in (row.text, *row.references)):
        damage = find_mojibake(text) if may_be_damaged(text) else None
        if damage:
            kind = FaultKind.MOJIBAKE if damage[1] else FaultKind.ODD_TEXT
            faults.add(Fault(kind, name_clip(sample), damage[0]))
        oddity = find_odd_text(text) or find_no_value(text)
        if oddity:
            faults.add(Fault(FaultKind.ODD_TEXT, name_clip(sample), oddity))
        if len(text) > most:
            found = f"found {len(text)} characters, expected at most {most}"
            faults.add(Fault(FaultKind.TOO_LONG, name_clip(sample), found))


def _check_forms(corpus: Corpus, faults: Faults) -> None:
    """Warn of signs that stand in two forms in the texts of one language."""
    for language in corpus.languages:
        texts = (
            text
            for rows in corpus.splits.values()
            for row in rows
            if row.language == language
            for text in (row.text, *row.references)
        )
        where = f"{corpus.spec}, texts in {language}"
        for found in count_forms(texts):
            faults.add(Fault(FaultKind.TWO_FORMS, where, found))


def _check_splits(corpus: Corpus, faults: Faults) -> None:
    """Note which sentences and which signers two splits have in common."""
    texts = {name: {row.text for row in rows} for name, rows in corpus.splits.items()}
    signers = {
        name: {row.signer for row in rows if row.signer} for name, rows in corpus.splits.items()
    }
    for first, second in combinations(corpus.splits, 2):
        where = f"{second} and {first}"
        shared = texts[second] & texts[first]
        if shared:
            found = (
                f"{len(shared):,} of {len(texts[second]):,} distinct {second} sentences also occur"
                f" in {first}, such as {_cut(min(shared))!r}"
            )
            faults.add(Fault(FaultKind.SHARED_SENTENCE, where, found))
        names = sorted(signers[second] & signers[first])
        if names:
            shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
            found = (
                f"{len(names):,} of {len(signers[second]):,} {second} signers or speakers are also"
                f" in {first}: {shown}"
            )
            faults.add(Fault(FaultKind.SHARED_SIGNER, where, found))


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
