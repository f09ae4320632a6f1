"""Which checkpoint of a stage is the best: that with the best score on dev.

A score that ties, as BLEU-4 does at 0, or is not defined says nothing about which epoch is better;
the loss on dev then decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unglossed.training.objectives import Objective

PREFIX = "eval_"
"""In front of the names of scores on dev, where they are logged."""
_NAMES = {"bleu4": "BLEU-4", "word_error_rate": "word error rate"}


def rank(scores: Mapping[str, Any], objective: Objective) -> tuple[float, float]:
    """A key that is larger for better scores on dev; one that is missing, None or NaN is worst."""
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
    """Say how the best checkpoint was chosen, where its score tied or never rose."""
    rows = scored(history)
    chosen = next((row for row in rows if row["step"] == best_step), None)
    if chosen is None or len(rows) < 2:
        return None
    names = (objective.best or "", objective.then)
    best, then = (_NAMES.get(name, name.replace("_", " ")) for name in names)
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


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
