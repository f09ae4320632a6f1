"""Decides the order of the clauses of a sentence, for every language alike.

What a clause looks like inside is the business of `german`, `english` and `chinese`.
"""

from __future__ import annotations

import numpy as np

from unglossed_synth.meaning import TEMPERATURE_CHANGES, Meaning


def clause_order(rng: np.random.Generator, meaning: Meaning) -> list[str]:
    """The clauses that the meaning needs, mostly with the phenomenon first."""
    kinds = {
        "phenomenon": meaning.phenomenon is not None,
        "temperature": meaning.temperature is not None,
        "comparison": meaning.comparison is not None,
    }
    order = [kind for kind, said in kinds.items() if said]
    if len(order) > 1 and rng.random() < 0.12:
        first = order.pop(1 + int(rng.random() * (len(order) - 1)))
        order.insert(0, first)
    if len(order) == 3 and rng.random() < 0.2:
        order[1], order[2] = order[2], order[1]
    return order


def attaches_temperature(rng: np.random.Generator, meaning: Meaning, order: list[str]) -> bool:
    """Whether the temperature hangs on the phenomenon ("at two degrees") and has no clause.

    After a clause of what comes later it would be unclear which phenomenon has the temperature.
    """
    return (
        "temperature" in order
        and order[0] == "phenomenon"
        and meaning.later is None
        and meaning.change not in TEMPERATURE_CHANGES
        and rng.random() < 0.75
    )
