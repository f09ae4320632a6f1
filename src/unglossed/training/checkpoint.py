"""Checkpoints that are whole or do not count."""

from __future__ import annotations

import shutil
from pathlib import Path

MARK = "complete"
"""File written last into a checkpoint: without it, it was interrupted and is not used."""


def mark_complete(checkpoint: Path) -> None:
    """Say that everything in this checkpoint's folder is written."""
    (checkpoint / MARK).touch()


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; half-written ones are deleted."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / MARK).is_file():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
