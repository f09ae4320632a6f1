"""Stops a training whose loss is no longer a number, or far beyond what it was.

On a CPU each step is looked at when it is done. On a GPU, where that would wait for the step, many
are looked at together, and always before something is saved.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unglossed.errors import InputError

_TIMES = 1000.0
"""Beyond so many times the median of the last losses a loss has exploded."""
_LEAST = 0.1
_FEWEST, _MOST = 20, 200
_TOGETHER = 16
_NAMED = 16


class LossWatch:
    """Looks at the losses of the steps of a stage.

    Args:
        stage: Its name.
        names: Gives the names of clips by their numbers.
        steps_per_epoch: How many.
    """

    def __init__(
        self, stage: str, names: Callable[[Sequence[int]], list[str]], steps_per_epoch: int
    ) -> None:
        self._stage, self._names, self._steps_per_epoch = stage, names, steps_per_epoch
        self._waiting: list[tuple[int, Tensor, list[int]]] = []
        self._losses: deque[float] = deque(maxlen=_MOST)

    @property
    def losses(self) -> list[float]:
        """The last losses that were looked at."""
        return [*self._losses]

    def go_on(self, losses: Sequence[float]) -> None:
        """Take up the losses of a training that is resumed."""
        self._losses.extend(losses)

    def add(self, step: int, loss: Tensor, rows: Sequence[int]) -> None:
        """Note the loss of a step and its clips' numbers.

        Raises:
            InputError: see `look`.
        """
        self._waiting.append((step, loss, list(rows)))
        if loss.device.type == "cpu" or len(self._waiting) >= _TOGETHER:
            self.look()

    def look(self) -> None:
        """Look at the losses that have not been looked at.

        Raises:
            InputError: One is not finite or has exploded; names the step and its clips.
        """
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        values = torch.stack([loss.detach() for _, loss, _ in waiting]).tolist()
        for (step, _, rows), value in zip(waiting, values, strict=True):
            usual = statistics.median(self._losses) if len(self._losses) >= _FEWEST else math.inf
            if math.isfinite(value) and value <= _TIMES * max(usual, _LEAST):
                self._losses.append(value)
                continue
            found = "NaN or infinite" if not math.isfinite(value) else f"{value:.4g}"
            before = f" ({usual:.4g} in the middle before)" if math.isfinite(usual) else ""
            epoch = -(-step // self._steps_per_epoch)
            clips = ", ".join(self._names(rows[:_NAMED]))
            more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
            raise InputError(
                f"stages.{self._stage}: the loss became {found} in step {step} (epoch {epoch})"
                f"{before}, on {clips}{more}: lower learning_rates, or look for damaged clips"
                " (unglossed corpus check --deep)"
            )
