"""How long the clips were that a model was trained on, and what to say of a clip that is not so.

Saved beside a model, with its processor. A model writes about as much as it has learned to write of
one clip: of a recording ten times as long, too, it makes one sentence, and says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unglossed.errors import InputError

FAR_LONGER = 1.5
"""A clip is far longer than training's from so many times the longest of these on."""


@dataclass(frozen=True)
class TrainedLengths:
    """Lengths of the clips of train, in seconds.

    Attributes:
        clips: How many there are.
        shortest: The shortest.
        median: Half of them are at most as long.
        longest: The longest, before it was cut.
        limit: Where longer ones were cut.
        cut: How many were.
    """

    clips: int
    shortest: float
    median: float
    longest: float
    limit: float
    cut: int

    @classmethod
    def of(cls, seconds: Sequence[float], limit: float) -> TrainedLengths | None:
        """Sum up the lengths of clips; None: none is known.

        Args:
            seconds: of each clip, NaN where it is not known.
            limit: where training cuts a clip, in seconds.
        """
        known = [float(value) for value in seconds if math.isfinite(value)]
        if not known:
            return None
        return cls(
            clips=len(known),
            shortest=round(min(known), 2),
            median=round(float(np.median(known)), 2),
            longest=round(max(known), 2),
            limit=limit,
            cut=sum(value > limit for value in known),
        )

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainedLengths:
        """What `to_dict` gave.

        Raises:
            InputError: it is something else.
        """
        try:
            lengths = cls(**content)
            for value in asdict(lengths).values():
                if isinstance(value, bool) or not 0 <= value < math.inf:
                    raise ValueError
        except (TypeError, ValueError):
            raise InputError(
                f"processor_config.json, trained_seconds: found {str(content)[:60]!r}, expected"
                " clips, shortest, median, longest, limit and cut, each a number"
            ) from None
        return lengths

    def to_dict(self) -> dict[str, Any]:
        """The attributes, for JSON."""
        return asdict(self)

    def told(self, seconds: float) -> str | None:
        """What to say of a clip that is so long; None: nothing."""
        if self.cut and seconds > self.limit:
            return (
                f"{seconds:.1f} seconds long, while training cut its clips at {self.limit:.1f}:"
                f" {_ADVICE}"
            )
        seen = min(self.longest, self.limit)
        if seconds > FAR_LONGER * seen:
            return (
                f"{seconds:.1f} seconds long, more than {FAR_LONGER:g} times the {seen:.1f} of the"
                f" longest clip of training (half have at most {self.median:.1f}): {_ADVICE}"
            )
        return None


_ADVICE = "the text may leave out most of it; cut it into sentences"
