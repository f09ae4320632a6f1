"""Bounds of the numbers that translating takes: they are told before anything heavy is loaded.

Beyond them a machine's memory ends, or the numbers are a slip of the hand.
"""

from __future__ import annotations

from unglossed.errors import InputError

MOST = {
    "beams": (256, "every beam is a row of the model's batch"),
    "n_best": (256, "every text is a beam or a draw of its own"),
    "batch_size": (4096, "the clips of a batch are in memory together"),
    "max_new_tokens": (16384, "no language model has positions for more"),
}
"""The largest value of each, and why."""


def check_count(name: str, value: object, told: str | None = None) -> None:
    """Refuse what is no whole number from 1 to the largest of its name.

    Args:
        name: key of `MOST`.
        value: what was given.
        told: how the message calls it; its name if not given.

    Raises:
        InputError: it is no such number.
    """
    most, why = MOST[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{told or name}: found {value!r}, expected a whole number from 1 on")
    if value > most:
        raise InputError(f"{told or name}: found {value}, expected at most {most}: {why}")
