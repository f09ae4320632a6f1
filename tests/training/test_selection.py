"""Which checkpoint is the best where the score on dev ties, is not defined, or never rises."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from unglossed.corpora.sample import Sample
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.objectives.translation import tell_short_texts
from unglossed.training.selection import rank, tell_choice

TRANSLATION, RECOGNITION = OBJECTIVES["translation"], OBJECTIVES["gloss_ctc"]


def history(*rows: dict[str, float | None]) -> list[dict[str, Any]]:
    """A trainer's log: a loss and then the scores of each epoch, of ten steps."""
    log: list[dict[str, Any]] = []
    for epoch, row in enumerate(rows, start=1):
        log.append({"loss": 1.0, "epoch": float(epoch), "step": 10 * epoch})
        scores = {f"eval_{name}": value for name, value in row.items()}
        log.append({**scores, "epoch": float(epoch), "step": 10 * epoch})
    return log


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"eval_bleu4": 1.0, "eval_loss": 1.0}, {"eval_bleu4": 2.0, "eval_loss": 9.0}),
        ({"eval_bleu4": 0.0, "eval_loss": 3.0}, {"eval_bleu4": 0.0, "eval_loss": 2.0}),
        ({"eval_loss": 3.0}, {"eval_loss": 2.0}),
        ({"eval_bleu4": None, "eval_loss": 3.0}, {"eval_bleu4": 0.0, "eval_loss": 2.0}),
        ({"eval_bleu4": 0.0, "eval_loss": 3.0}, {"eval_bleu4": None, "eval_loss": 2.0}),
        ({"eval_bleu4": math.nan, "eval_loss": 1.0}, {"eval_bleu4": 0.1, "eval_loss": 2.0}),
        ({"eval_bleu4": 0.0, "eval_loss": math.nan}, {"eval_bleu4": 0.0, "eval_loss": 99.0}),
    ],
)
def test_a_tie_is_broken_by_the_loss(worse: dict[str, Any], better: dict[str, Any]) -> None:
    assert rank(better, TRANSLATION) > rank(worse, TRANSLATION)


def test_of_word_error_rates_the_lowest_is_the_best_and_a_missing_one_the_worst() -> None:
    rows: list[dict[str, float]] = [
        {"eval_loss": 0.1},
        {"eval_word_error_rate": 100.0, "eval_loss": 5.0},
        {"eval_word_error_rate": 100.0, "eval_loss": 4.0},
        {"eval_word_error_rate": 90.0, "eval_loss": 9.0},
    ]
    ranks = [rank(row, RECOGNITION) for row in rows]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(rows)


def test_what_decided_is_told_where_the_score_did_not() -> None:
    zeros = history(*({"bleu4": 0.0, "loss": loss} for loss in (3.0, 2.0, 2.5)))
    assert tell_choice(zeros, 20, TRANSLATION) == (
        "the BLEU-4 on dev is 0.00 in all 3 evaluations: among these the loss on dev decided, the"
        " model is that of epoch 2"
    )
    undefined = history({"loss": 3.0}, {"loss": 2.0})
    assert "is not defined in all 2 evaluations" in str(tell_choice(undefined, 20, TRANSLATION))
    some = history(*({"bleu4": value, "loss": 1 / (1 + value)} for value in (0.0, 7.0, 7.0)))
    assert "is 7.00 in 2 of 3 evaluations" in str(tell_choice(some, 20, TRANSLATION))


def test_a_score_that_never_rises_is_told_and_one_that_rises_is_not() -> None:
    falling = history(*({"bleu4": value, "loss": 1.0} for value in (3.0, 2.0, 1.0)))
    assert tell_choice(falling, 10, TRANSLATION) == (
        "the BLEU-4 on dev is never better than at first (3.00): the model is that of epoch 1"
    )
    rising = history(*({"bleu4": value, "loss": 1.0} for value in (1.0, 2.0, 3.0)))
    assert tell_choice(rising, 30, TRANSLATION) is None
    assert tell_choice(history({"bleu4": 0.0, "loss": 1.0}), 10, TRANSLATION) is None
    assert tell_choice([], None, OBJECTIVES["denoising"]) is None


@pytest.mark.parametrize(
    ("language", "texts", "unit"),
    [
        ("de", ["heute regen", "es schneit im süden", "wind"], "words"),
        ("en", ["Rain.", "it is snowing, again", "so what?"], "words"),
        ("zh", ["下雨", "明天会下雪", "太阳"], "characters"),
    ],
)
def test_dev_texts_too_short_for_bleu_4_are_counted(
    language: str, texts: list[str], unit: str
) -> None:
    samples = [
        Sample(f"clip{number}", Path("x.mp4"), text, "dev", language)
        for number, text in enumerate(texts)
    ]
    told = str(tell_short_texts(samples, language))
    assert told.startswith(f"2 of 3 dev texts have fewer than four {unit} (first: clip 'clip0', ")
    assert told.endswith("where its score ties, the loss on dev chooses the best checkpoint")
    assert "its score is not defined" in str(tell_short_texts(samples[::2], language))
    assert tell_short_texts(samples[1:2], language) is None
