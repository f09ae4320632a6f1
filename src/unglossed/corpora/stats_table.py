"""The numbers of `stats` as plain text: a column a split, then how the lengths are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COUNTS = {
    "num_samples": "samples",
    "num_references": "further references",
    "hours": "hours",
    "num_signers": "signers",
    "num_running_words": "running words",
    "num_words": "vocabulary",
    "num_singletons": "singletons",
    "num_unknown_words": "out of vocabulary, words",
    "unknown_share": "out of vocabulary, % of running words",
    "num_sentences": "distinct sentences",
    "num_sentences_in_train": "of these also in train",
    "num_glosses": "gloss vocabulary",
    "num_running_glosses": "running glosses",
}
_SPREADS = {
    "words_per_sentence": ("words per sentence", 0),
    "seconds_per_clip": ("seconds per clip", 2),
    "frames_per_clip": ("frames per clip, at 25 a second", 0),
}
_QUANTILES = ("minimum", "low", "median", "mean", "high", "maximum")
_QUANTILE_TITLES = ("min", "5 %", "median", "mean", "95 %", "max")


def format_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Set the numbers as two tables; a line that no split has a number for is left out.

    Args:
        columns: By split, `SplitStats` as a dict.
    """
    counts = [["", *columns]]
    for name, title in _COUNTS.items():
        values = [numbers[name] for numbers in columns.values()]
        if name == "num_signers" and not any(one["frames_per_clip"] for one in columns.values()):
            title = "speakers"
        if any(value is not None for value in values):
            counts.append([title, *(_count(name, value) for value in values)])
    spreads = [["", *_QUANTILE_TITLES]]
    for name, (title, places) in _SPREADS.items():
        found = {split: numbers[name] for split, numbers in columns.items() if numbers[name]}
        if found:
            spreads.append([title])
        for split, spread in found.items():
            cells = [
                # The mean of whole numbers is none.
                f"{spread[key]:,.{max(places, 1) if key == 'mean' else places}f}"
                for key in _QUANTILES
            ]
            spreads.append([f"  {split}", *cells])
    return f"{_aligned(counts)}\n\n{_aligned(spreads)}"


def _count(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "hours":
        return f"{value:,.2f}"
    return f"{100 * value:.2f}" if name == "unknown_share" else f"{value:,}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [
        max(len(row[place]) for row in rows if place < len(row)) for place in range(len(rows[0]))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )
