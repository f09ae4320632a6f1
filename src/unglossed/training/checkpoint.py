"""Checkpoints that are whole or do not count, and folders that appear in one step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into that takes the target's name only when the block ends well."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
