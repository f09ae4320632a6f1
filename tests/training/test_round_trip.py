"""What a tokenizer changes in the texts is told before training, and what it costs."""

from __future__ import annotations

from pathlib import Path

import tiny
from unglossed.corpora.sample import Sample
from unglossed.evaluation.metrics import score
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.tokenizer import tell_changed_texts, train_tokenizer


def samples(split: str, *texts: str) -> list[Sample]:
    return [Sample(f"{split}{i}", Path("a.mp4"), text, split, "de") for i, text in enumerate(texts)]


def processor() -> TranslatorProcessor:
    return TranslatorProcessor(train_tokenizer(tiny.SENTENCES, "de", 120), "de", "<de>")


def test_the_share_an_example_and_the_ceiling_are_told() -> None:
    lost = "heute schneit es im süden !"
    dev = samples("dev", tiny.SENTENCES[0], lost)
    train = samples("train", *tiny.SENTENCES[1:])
    told = tell_changed_texts(processor(), train, dev, "nfc.v1")

    found = lost.removesuffix(" !")
    most = score([tiny.SENTENCES[0], found], [one.text for one in dev], "de").bleu4
    assert told == (
        "75.0% of 4 texts of train and dev come back unchanged from the tokenizer; that of"
        f" clip 'dev1', {lost!r}, as {found!r}; a model that wrote every text of dev would score"
        f" {most:.2f} BLEU-4"
    )
    assert 50 < most < 99


def test_nothing_is_told_where_all_come_back() -> None:
    train = samples("train", *tiny.SENTENCES, f" {tiny.SENTENCES[0]} ")
    dev = samples("dev", tiny.SENTENCES[1])
    assert tell_changed_texts(processor(), train, dev, "nfc.v1") is None


def test_no_ceiling_is_told_without_dev_or_for_short_texts() -> None:
    for dev in ([], samples("dev", "schnee !")):
        told = tell_changed_texts(processor(), samples("train", "sonne !"), dev, "nfc.v1")
        assert told is not None
        assert "0.0% of" in told
        assert "BLEU" not in told
