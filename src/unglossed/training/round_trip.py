"""What a tokenizer leaves of the texts: the most that a model trained with it can score."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from unglossed.corpora.sample import Sample
from unglossed.evaluation.metrics import score
from unglossed.models.processing import TranslatorProcessor, pad_labels

_MOST_TEXTS = 20_000
"""Train texts that are looked at, spread over the split: more would cost minutes."""

_BATCH_SIZE = 1_000


def tell_changed_texts(
    processor: TranslatorProcessor,
    train: Sequence[Sample],
    dev: Sequence[Sample],
    normalisation: str,
) -> str | None:
    """Tell how many texts the tokenizer does not give back as they were, and what that costs.

    Space at either end does not count.

    Args:
        processor: has the tokenizer.
        train: whose texts are labels.
        dev: whose texts are compared with what a model writes.
        normalisation: with which the corpus is scored.

    Returns:
        In words; None: all come back.
    """
    seen = [*train[:: 1 + len(train) // _MOST_TEXTS], *dev]
    decoded = _through_tokenizer(processor, [sample.text for sample in seen])
    changed = [
        (sample, text)
        for sample, text in zip(seen, decoded, strict=True)
        if unicodedata.normalize("NFC", sample.text).strip() != text
    ]
    if not changed:
        return None
    first, text = changed[0]
    share = 1 - len(changed) / len(seen)
    told = (
        f"{share:.1%} of {len(seen):,} texts of train and dev come back unchanged from the"
        f" tokenizer; that of clip {first.id!r}, {first.text[:60]!r}, as {text[:60]!r}"
    )
    if dev:
        texts, found = [sample.text for sample in dev], decoded[-len(dev) :]
        wanted = [(sample.text, *sample.references) for sample in dev]
        language = processor.language
        whole = score(texts, wanted, language, normalisation).bleu4
        if whole and whole > 0:  # not so where no text has four words
            most = score(found, wanted, language, normalisation).bleu4
            told += f"; a model that wrote every text of dev would score {most:.2f} BLEU-4"
    return told


def _through_tokenizer(processor: TranslatorProcessor, texts: Sequence[str]) -> list[str]:
    decoded: list[str] = []
    for start in range(0, len(texts), _BATCH_SIZE):
        rows = processor.encode_texts(texts[start : start + _BATCH_SIZE])
        decoded += processor.decode(pad_labels(rows))
    return decoded
