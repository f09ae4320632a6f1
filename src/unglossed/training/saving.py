"""When a training saves a checkpoint, and what it notes there beside the trainer's own state."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.training.checkpoint import read_json, reading

PROGRESS_FILE = "progress.json"
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class SaveEvery:
    """How much may be lost: a checkpoint at least every so many seconds, or steps.

    What is scored on dev is saved in any case.
    """

    seconds: float | None = 1800.0
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> SaveEvery:
        """Read `30min`, `2h`, `90s`, or a number of steps.

        Raises:
            InputError: It is none of these.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h)?", text.strip())
        number = float(found[1]) if found else 0.0
        if found and found[2] and number > 0:
            return cls(seconds=number * _UNITS[found[2]])
        if found and not found[2] and number > 0 and number == int(number):
            return cls(seconds=None, steps=int(number))
        raise InputError(
            f"save_every: found {text!r}, expected a time, such as 30min, 2h or 90s, or a number of"
            " steps"
        )

    def is_due(self, steps: int, since: float) -> bool:
        """Whether to save, so many steps after the last time, which was at `since` (monotonic)."""
        if self.steps is not None:
            return steps >= self.steps
        return self.seconds is not None and time.monotonic() - since >= self.seconds


@dataclass(slots=True)
class Progress:
    """Where in an epoch a checkpoint was written.

    Attributes:
        loss: Sum of the losses of the steps that are not yet logged, as float32.
        logged_at: Step up to which they are.
        unscored: Whether the step is to be scored on dev: that was interrupted.
        losses: Of the last steps, by which an explosion is known.
    """

    loss: float = 0.0
    logged_at: int | None = None
    unscored: bool = False
    losses: Sequence[float] = ()

    def write(self, checkpoint: Path) -> None:
        """Write it into a checkpoint."""
        names = ("loss", "logged_at", "unscored", "losses")
        fields = {name: getattr(self, name) for name in names}
        write_text(checkpoint / PROGRESS_FILE, json.dumps(fields) + "\n")

    @classmethod
    def read(cls, checkpoint: Path) -> Progress:
        """Read it; of checkpoints of earlier versions, which are scored ones, there is none.

        Raises:
            InputError: it is damaged.
        """
        path = checkpoint / PROGRESS_FILE
        if not path.is_file():
            return cls()
        fields = read_json(path)
        with reading(path, "where in an epoch the checkpoint was written"):
            losses = tuple(float(one) for one in fields["losses"])
            loss, logged_at = float(fields["loss"]), int(fields["logged_at"])
            return cls(loss, logged_at, bool(fields["unscored"]), losses)
