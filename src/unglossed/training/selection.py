"""Which checkpoint of a stage is the best one: by its score on dev, then by a loss on dev.

A score that ties, as BLEU-4 does at 0, or is not defined says nothing about which epoch is better;
the loss on dev then decides. Both come from what the trainer has logged, which checkpoints keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.corpora.sample import Sample
from unglossed.training.objectives import Objective

PREFIX = "eval_"
"""In front of the names of scores on dev, where they are logged."""
_NAMES = {"bleu4": "BLEU-4", "word_error_rate": "word error rate"}
_SHORTEST = 4  # words of an n-gram of BLEU-4


def rank(scores: Mapping[str, Any], objective: Objective) -> tuple[float, float]:
    """What is larger the better a checkpoint is.

    Args:
        scores: on dev, under their logged names. One that is missing, None or no number counts as
            the worst.
        objective: of the stage; names the score that counts first.
    """
    score = _number(scores.get(f"{PREFIX}{objective.best}"))
    worst = -math.inf if objective.lowest else 0.0
    loss = _number(scores.get(f"{PREFIX}{objective.then}"))
    first = worst if score is None else -score if objective.lowest else score
    return first, -math.inf if loss is None else -loss


def scored(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a trainer's log that hold scores on dev."""
    return [row for row in history if any(name.startswith(PREFIX) for name in row)]


def tell_choice(
    history: Sequence[Mapping[str, Any]], best_step: int | None, objective: Objective
) -> str | None:
    """How the best checkpoint was chosen, where its score alone did not, or never rose.

    Args:
        history: the trainer's log.
        best_step: of the checkpoint that was chosen.
        objective: of the stage.

    Returns:
        A sentence; None: the score chose, and the first epoch was not the best.
    """
    rows = scored(history)
    chosen = next((row for row in rows if row["step"] == best_step), None)
    if chosen is None or len(rows) < 2:
        return None
    best, then = (_name(score) for score in (objective.best or "", objective.then))
    score = _number(chosen.get(f"{PREFIX}{objective.best}"))
    shown = "not defined" if score is None else f"{score:.2f}"
    epoch = f"epoch {chosen['epoch']:.0f}"
    top = rank(chosen, objective)[0]
    tied = sum(rank(row, objective)[0] == top for row in rows)
    if tied > 1:
        how_often = f"all {tied}" if tied == len(rows) else f"{tied} of {len(rows)}"
        return (
            f"the {best} on dev is {shown} in {how_often} evaluations: among these the {then} on"
            f" dev decided, the model is that of {epoch}"
        )
    if chosen is rows[0]:
        return (
            f"the {best} on dev is never better than at first ({shown}): the model is that of"
            f" {epoch}"
        )
    return None


def tell_short_texts(samples: Sequence[Sample], language: str) -> str | None:
    """How many texts BLEU-4 finds no 4-gram in, if any.

    Args:
        samples: of dev.
        language: of their texts.
    """
    split = BLEU(tokenize=tokenisation(language)).tokenizer
    short = [sample for sample in samples if len(split(sample.text).split()) < _SHORTEST]
    if not short:
        return None
    unit = "words" if has_spaces(language) else "characters"
    first = short[0]
    ending = (
        "its score is not defined, and the loss on dev chooses the best checkpoint"
        if len(short) == len(samples)
        else "where its score ties, the loss on dev chooses the best checkpoint"
    )
    return (
        f"{len(short):,} of {len(samples):,} dev texts have fewer than four {unit} (first: clip"
        f" {first.id!r}, {first.text[:60]!r}): BLEU-4 counts nothing in them; {ending}"
    )


def _name(score: str) -> str:
    return _NAMES.get(score, score.replace("_", " "))


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
