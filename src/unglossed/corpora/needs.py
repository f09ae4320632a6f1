"""What training needs of a corpus, as far as its rows tell; `check_media` looks at its media."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from unglossed.corpora.faults import Fault, FaultKind
from unglossed.corpora.languages import base_language, language_of, tokenisation
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError

TRAINING_SPLITS = {"train": "to learn from", "dev": "to choose the best checkpoint"}
"""Splits that every recipe needs, and what for."""


@dataclass(frozen=True)
class Needs:
    """What a recipe needs of a corpus.

    Attributes:
        signal: Kind of signal that clips are read as.
        glosses_for: The stage that learns glosses; None: there is none.
        transcripts_for: The stage that learns transcripts; None: there is none.
        start_token: Token of a pre-trained tokenizer with which texts start; None: its own.
    """

    signal: str = "video"
    glosses_for: str | None = None
    transcripts_for: str | None = None
    start_token: str | None = None


def find_unfit(corpus: Corpus, needs: Needs | None = None) -> Iterator[Fault]:
    """Find why a corpus cannot be trained on, by a recipe with these needs or by any.

    Without needs a missing split is only a warning: the corpus may be there to be evaluated on.
    """
    for language in corpus.languages:
        try:
            tokenisation(language)
        except InputError as error:
            yield Fault(FaultKind.UNKNOWN_LANGUAGE, corpus.spec, str(error))
    trained = [one for split in TRAINING_SPLITS for one in corpus.splits.get(split, ())]
    languages = Counter(sample.language for sample in trained).most_common()
    if needs is not None and len(languages) > 1:  # each text would start with the first one's code
        found = ", ".join(f"{code} ({count:,})" for code, count in languages)
        text = (
            f"found texts of train and dev in several languages: {found}, expected one: choose it"
            f" with ?language={languages[0][0]} in the spec"
        )
        yield Fault(FaultKind.UNFIT, corpus.spec, text)
    for split, purpose in TRAINING_SPLITS.items():
        if split not in corpus.splits:
            found = ", ".join(corpus.splits) or "none"
            text = f"no split {split!r}, which `train` needs {purpose}: it will refuse this corpus"
            kind = FaultKind.MISSING_SPLIT if needs is None else FaultKind.UNFIT
            yield Fault(kind, corpus.spec, f"{text} (found {found})")
        elif needs is not None:
            yield from _find_untold(corpus, split, "gloss", "glosses", needs.glosses_for)
            yield from _find_untold(
                corpus, split, "transcript", "transcripts", needs.transcripts_for
            )


def _find_untold(
    corpus: Corpus, split: str, field: str, names: str, stage: str | None
) -> Iterator[Fault]:
    samples = corpus.splits[split]
    without = [one.id for one in samples if not (getattr(one, field) or "").split()]
    if stage is not None and without:
        text = (
            f"found {len(without)} of {len(samples)} {split} clips without {names}"
            f" (first: {without[0]}), expected {names} for stages.{stage}"
        )
        yield Fault(FaultKind.UNFIT, corpus.spec, text)


def find_other_language(corpus: Corpus, needs: Needs) -> Iterator[Fault]:
    """Find whether a recipe's texts start with the code of another language than the corpus's.

    Only a warning: whether its tokenizer has a better code is known once it is loaded.
    """
    found = needs.start_token and language_of(needs.start_token)
    if found and found not in map(base_language, corpus.languages):
        text = (
            f"tokenizer.start_token: found {needs.start_token!r}, but the texts are in"
            f" {corpus.language!r}: `train` will refuse this if the tokenizer has their code"
        )
        yield Fault(FaultKind.OTHER_LANGUAGE, corpus.spec, text)
