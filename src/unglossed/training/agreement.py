"""What the processes of a training agree on before each step."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch

from unglossed.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the processes of a training tell each other of a step: sums over all.

    Attributes:
        tokens: Of the texts of the step.
        active: Processes that have clips of it.
        unreadable: Clips that cannot be read.
        blank: Processes that have none, and never had one to compute in its place.
        stop: Whether one was asked to end.
        save: Whether to save after the step.
    """

    tokens: int = 0
    active: int = 1
    unreadable: int = 0
    blank: int = 0
    stop: int = 0
    save: int = 0

    def of_all(self, ranks: Ranks) -> Agreed:
        """The sums."""
        if ranks.count == 1:
            return self
        return Agreed(*map(int, ranks.sum(torch.tensor([*map(int, astuple(self))]))))
