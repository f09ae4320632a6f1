"""Checkpoints that are whole or do not count: sealed when written, checked before they are used.

What training keeps for going on lies in folders `checkpoint-<step>`, and at the end of a stage in
`last`. Folders of other names are somebody else's: they are neither read nor deleted.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer import (
    OPTIMIZER_NAME,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
    TRAINING_ARGS_NAME,
)
from transformers.trainer_pt_utils import safe_globals
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from unglossed.errors import InputError, note
from unglossed.files import link, whole_folder
from unglossed.model_folders import read_checksums, verify_checksums, write_checksums

MARK = "complete"
"""File written last into a checkpoint: without it, it was interrupted and is not used."""
LAST = "last"
"""Folder in which a stage that is trained keeps its last checkpoint, until the next one begins."""
_RANDOM_STATE = "rng_state.pth"
_OURS = re.compile(r"checkpoint-([1-9]\d*)")


def seal(checkpoint: Path) -> None:
    """Say that everything in this checkpoint's folder is written, and how it was."""
    # A pickle of the trainer's settings, which nobody reads: the recipe has them.
    (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)
    write_checksums(checkpoint)
    (checkpoint / MARK).touch()


def checkpoints_of(folder: Path) -> list[Path]:
    """A stage's checkpoints, whole or not, from the first step to the last."""
    found = [path for path in folder.glob("checkpoint-*") if _OURS.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, as its name says."""
    return int(checkpoint.name.rpartition("-")[2])


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a stage.

    Half-written ones are deleted; damaged ones are passed over, which is said.
    """
    damaged = False
    for checkpoint in reversed(checkpoints_of(folder)):
        if not (checkpoint / MARK).is_file():
            shutil.rmtree(checkpoint)
        elif fault := find_fault(checkpoint):
            note(f"{fault}: {checkpoint.name} is passed over")
            damaged = True
        else:
            return checkpoint
    if damaged:
        note(f"{folder}: no checkpoint is whole: the stage begins anew")
    return None


def find_fault(checkpoint: Path) -> str | None:
    """What keeps a checkpoint from being resumed from as it was written, in one line.

    Checksums are compared; those of older versions have none, so that its files are opened, too.

    Returns:
        The file and what is wrong with it; None: nothing is.
    """
    try:
        verify_checksums(checkpoint)
        _read_state(checkpoint)
        _read_json(checkpoint / CONFIG_NAME)
        for name in (OPTIMIZER_NAME, SCHEDULER_NAME, _RANDOM_STATE):
            _open_pickle(checkpoint / name)
        _open_weights(checkpoint)
    except InputError as error:
        return str(error)
    return None


def find_weights_fault(checkpoint: Path) -> str | None:
    """What keeps a checkpoint's weights from being loaded as they were written, in one line.

    Returns:
        The file and what is wrong with it; None: nothing is.
    """
    try:
        names = [name for name in read_checksums(checkpoint) or {} if ".safetensors" in name]
        verify_checksums(checkpoint, names)
        _open_weights(checkpoint)
    except InputError as error:
        return str(error)
    return None


def misfit(checkpoint: Path, steps_per_epoch: int, config: Any) -> str | None:
    """Why a whole checkpoint cannot be gone on from with the clips that there are now.

    Args:
        checkpoint: it.
        steps_per_epoch: steps that an epoch has now.
        config: of the model that is trained now.

    Returns:
        The reason; None: it can.
    """
    state = _read_state(checkpoint)
    before = state["global_step"] / state["epoch"]
    if round(before) != steps_per_epoch:
        return f"its epochs have {before:.0f} steps, those of the corpus now {steps_per_epoch}"
    symbols = getattr(config, "symbols", None)
    if symbols is not None:
        fields = _read_json(checkpoint / CONFIG_NAME)
        # Versions before 0.1 called them glosses.
        if fields.get("symbols", fields.get("glosses")) != list(symbols):
            return "it recognises other symbols than the corpus has now"
    return None


def rotate(folder: Path, step: int, best_step: int | None) -> None:
    """Delete a stage's checkpoints but the newest, the one before it and the best on dev.

    Args:
        folder: the stage's.
        step: of the newest; those beyond it are from before a resume, and damaged.
        best_step: of the best, if there is one.
    """
    before = [path for path in checkpoints_of(folder) if step_of(path) < step]
    kept = {step, best_step, *map(step_of, before[-1:])}
    for checkpoint in checkpoints_of(folder):
        if step_of(checkpoint) not in kept:
            shutil.rmtree(checkpoint)


def forget(folder: Path) -> None:
    """Delete all checkpoints of a stage, and the last one that it kept."""
    shutil.rmtree(folder / LAST, ignore_errors=True)
    for checkpoint in checkpoints_of(folder):
        shutil.rmtree(checkpoint)


def put_away(folder: Path) -> None:
    """Leave a stage that has its model only the last checkpoint, from which more epochs can go on.

    Killed in the middle, it ends the work when it is called again.
    """
    needed = (MARK, TRAINER_STATE_NAME)
    whole = [
        path for path in checkpoints_of(folder) if all((path / name).is_file() for name in needed)
    ]
    if whole:
        shutil.rmtree(folder / LAST, ignore_errors=True)
        whole[-1].rename(folder / LAST)
    for checkpoint in checkpoints_of(folder):
        shutil.rmtree(checkpoint)


def reopen(folder: Path) -> None:
    """Have a stage that has its model go on from the last checkpoint that it kept.

    Killed in the middle, `put_away` undoes it.

    Raises:
        InputError: it has none, or a damaged one.
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
    if best and best != step:  # the model is the best one: its weights are all that is asked for
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


def _read_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's own state of a checkpoint.

    Raises:
        InputError: it is damaged, or of another step.
    """
    path = checkpoint / TRAINER_STATE_NAME
    state = _read_json(path)
    try:
        step, epoch = int(state["global_step"]), float(state["epoch"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged, expected the trainer's state") from None
    expected = step if checkpoint.name == LAST else step_of(checkpoint)
    if step != expected or step < 1 or not epoch > 0:
        raise InputError(f"{path}: found step {step}, expected that of {checkpoint.name}")
    return state


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds keys with values.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is damaged, expected JSON with keys and values")
    return found


def _open_pickle(path: Path) -> None:
    """Open a file of torch's, of tensors and plain values.

    Raises:
        InputError: it is not there, damaged, or has code in it, which is not run.
    """
    try:
        with safe_globals():
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing, and training cannot go on as it was") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        reason = "is damaged, or holds more than tensors and plain values; nothing in it is run"
        raise InputError(f"{path}: {reason}") from None
    except Exception as error:  # of many kinds, as the bytes have it
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: is damaged: {type(error).__name__} {reason}") from None


def _open_weights(checkpoint: Path) -> None:
    """Open a checkpoint's weights, of one file or several.

    Raises:
        InputError: they are not there, or damaged.
    """
    paths = sorted(checkpoint.glob("*.safetensors"))
    if not paths:
        raise InputError(f"{checkpoint / SAFE_WEIGHTS_NAME}: is missing")
    for path in paths:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: is damaged: {' '.join(str(error).split())[:120]}") from None
