"""Checkpoints that are whole or do not count: sealed when written, checked before they are used.

What training keeps for going on is in folders `checkpoint-<step>`, and at the end of a stage in
`last`. Folders of other names are somebody else's: they are neither read nor deleted.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.trainer import (
    OPTIMIZER_NAME,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
    TRAINING_ARGS_NAME,
)
from transformers.trainer_pt_utils import safe_globals
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from unglossed.errors import InputError, note
from unglossed.files import link, read_checksums, verify_checksums, whole_folder, write_checksums

MARK = "complete"
"""File written last into a checkpoint: without it, it was interrupted and is not used."""
LAST = "last"
"""Folder in which a stage that is trained keeps its last checkpoint, until the next one begins."""
SAVING = ".saving"
"""Folder in which a checkpoint is written, before it gets its name."""
_PICKLES = (OPTIMIZER_NAME, SCHEDULER_NAME)
_OURS = re.compile(r"checkpoint-([1-9]\d*)")


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as whole: everything in its folder is written."""
    # A pickle of the trainer's settings, which nobody reads: the recipe has them.
    (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)
    write_checksums(checkpoint)
    (checkpoint / MARK).touch()


@contextmanager
def written_whole(checkpoint: Path) -> Iterator[Path]:
    """A folder to fill, of the checkpoint's name, which takes its place, sealed, when it is whole.

    What was there before stays until then.
    """
    saving = checkpoint.with_name(SAVING)
    shutil.rmtree(saving, ignore_errors=True)  # left by a process that was killed
    saving.mkdir(parents=True)
    try:
        yield saving / checkpoint.name
        seal(saving / checkpoint.name)
        if checkpoint.exists():
            checkpoint.rename(saving / "before")
        (saving / checkpoint.name).rename(checkpoint)
    finally:
        shutil.rmtree(saving, ignore_errors=True)  # on a full disk every byte counts


def checkpoints_of(folder: Path) -> list[Path]:
    """A stage's checkpoints, whole or not, from the first step to the last."""
    found = [path for path in folder.glob("checkpoint-*") if _OURS.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimiser steps after which a checkpoint was written, by its name."""
    return int(checkpoint.name.rpartition("-")[2])


def _delete(folder: Path, keep: Collection[int | None] = ()) -> None:
    """Delete a stage's checkpoints, except those after some steps."""
    for checkpoint in checkpoints_of(folder):
        if step_of(checkpoint) not in keep:
            shutil.rmtree(checkpoint)


def rotate(folder: Path, step: int, best_step: int | None, keep: int = 2) -> None:
    """Delete a stage's checkpoints except the last `keep`, of `step` at last, and the best on dev.

    Those beyond `step` are damaged, from before a resume.
    """
    kept = [path for path in checkpoints_of(folder) if step_of(path) <= step][-keep:]
    _delete(folder, {step, best_step, *map(step_of, kept)})


def forget(folder: Path) -> None:
    """Delete all checkpoints of a stage, and the last one that it kept."""
    shutil.rmtree(folder / LAST, ignore_errors=True)
    _delete(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a stage.

    Half-written ones are deleted; damaged ones are skipped with a note.
    """
    damaged = False
    for checkpoint in reversed(checkpoints_of(folder)):
        if not (checkpoint / MARK).is_file():
            shutil.rmtree(checkpoint)
        elif fault := find_fault(checkpoint):
            note(f"{fault}: {checkpoint.name} is skipped")
            damaged = True
        else:
            return checkpoint
    if damaged:
        note(f"{folder}: no checkpoint is whole: the stage begins anew")
    return None


def find_fault(checkpoint: Path, *, weights_only: bool = False) -> str | None:
    """Why a checkpoint cannot be used as it was written: the file and its fault, in one line.

    Checksums are compared. Checkpoints of older versions have none, so files are opened as well.
    With `weights_only` a missing or damaged optimiser state is no fault.
    """
    try:
        if weights_only:
            names = [name for name in read_checksums(checkpoint) or {} if ".safetensors" in name]
            verify_checksums(checkpoint, names)
        else:
            verify_checksums(checkpoint)
            _read_state(checkpoint)
            read_json(checkpoint / CONFIG_NAME)
            for name in _PICKLES:
                _open_pickle(checkpoint / name)
        _open_weights(checkpoint)
    except InputError as error:
        return str(error)
    return None


def misfit(checkpoint: Path, steps_per_epoch: int, config: Any) -> str | None:
    """Why a whole checkpoint does not fit the clips and the model that there are now, if so."""
    state = _read_state(checkpoint)
    before = state["global_step"] / state["epoch"]
    if round(before) != steps_per_epoch:
        return f"its epochs have {before:.0f} steps, those of the corpus now {steps_per_epoch}"
    symbols = getattr(config, "symbols", None)
    if symbols is not None:
        fields = read_json(checkpoint / CONFIG_NAME)
        # Versions before 0.1 called them glosses.
        if fields.get("symbols", fields.get("glosses")) != list(symbols):
            return "it recognises other symbols than the corpus has now"
    return None


def put_away(folder: Path) -> None:
    """Leave a trained stage only its last checkpoint, from which more epochs can be trained.

    If it is killed, calling it again completes the work.
    """
    needed = (MARK, TRAINER_STATE_NAME)
    whole = [
        path for path in checkpoints_of(folder) if all((path / name).is_file() for name in needed)
    ]
    shutil.rmtree(folder / SAVING, ignore_errors=True)
    if whole:
        shutil.rmtree(folder / LAST, ignore_errors=True)
        whole[-1].rename(folder / LAST)
    _delete(folder)


def reopen(folder: Path) -> None:
    """Let a trained stage go on from the last checkpoint that it kept.

    If it is killed, `put_away` undoes it.

    Raises:
        InputError: there is none, or it is damaged.
    """
    last = folder / LAST
    if not last.is_dir():
        raise InputError(
            f"{last}: is missing, so the stage cannot go on: begin another run, whose parts have"
            f" {folder / 'model'} for their source"
        )
    if fault := find_fault(last):
        raise InputError(fault)
    state = _read_state(last)
    best, step = state.get("best_global_step"), state["global_step"]
    if best and best != step:  # the model is the best one, of which only weights are read
        with whole_folder(folder / f"checkpoint-{best}") as partial:
            for file in (folder / "model").glob("*.safetensors*"):
                link(str(file), str(partial / file.name))
            (partial / MARK).touch()
    last.rename(folder / f"checkpoint-{step}")
    # Under the name of what a writer that is killed leaves, which the next one deletes.
    gone = folder / ".model.partial"
    shutil.rmtree(gone, ignore_errors=True)
    (folder / "model").rename(gone)
    shutil.rmtree(gone)


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn what can go wrong in the block, where a file is parsed, into one line.

    Raises:
        InputError: the file is missing, cannot be read, or is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        reason = "is missing"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except pickle.UnpicklingError:
        reason = "is damaged, or holds more than tensors and plain values; nothing in it is run"
    except Exception:  # of many kinds, as the bytes have it
        reason = "is damaged"
    else:
        return
    raise InputError(f"{path}: {reason}, expected {expected}")


def _read_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's own state of a checkpoint."""
    path = checkpoint / TRAINER_STATE_NAME
    state = read_json(path)
    with reading(path, "the trainer's state"):
        step, epoch = int(state["global_step"]), float(state["epoch"])
    expected = step if checkpoint.name == LAST else step_of(checkpoint)
    if step != expected or step < 1 or not epoch > 0:
        raise InputError(f"{path}: found step {step}, expected that of {checkpoint.name}")
    return state


def read_json(path: Path, expected: str = "JSON with keys and values") -> dict[str, Any]:
    """Keys and values of a JSON file; see `reading`."""
    with reading(path, expected):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        raise TypeError


def _open_pickle(path: Path) -> None:
    """Open a file of torch's with tensors and plain values; code in it is not run."""
    with reading(path, "what training goes on with"), safe_globals():
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _open_weights(checkpoint: Path) -> None:
    paths = sorted(checkpoint.glob("*.safetensors"))
    if not paths:
        raise InputError(f"{checkpoint / SAFE_WEIGHTS_NAME}: is missing")
    for path in paths:
        with reading(path, "weights"), safe_open(path, framework="pt"):
            pass
