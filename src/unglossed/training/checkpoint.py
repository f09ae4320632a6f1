"""Checkpoints that are whole or do not count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME

from unglossed.files import write_text

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
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    if newest is not None:
        _find_best_here(newest)
    return newest


def _find_best_here(checkpoint: Path) -> None:
    """Have a checkpoint name the best one where it lies now: a run may have been moved.

    The trainer keeps its whole path, and passes over a best checkpoint that is not there.
    """
    path = checkpoint / TRAINER_STATE_NAME
    state = json.loads(path.read_text(encoding="utf-8"))
    if best := state.get("best_model_checkpoint"):
        state["best_model_checkpoint"] = str(checkpoint.parent / Path(best).name)
        write_text(path, json.dumps(state, indent=2) + "\n")
