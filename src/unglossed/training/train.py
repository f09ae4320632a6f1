"""Runs a recipe on a corpus: tokenizer, then stage after stage, each resumable.

DIR/recipe.yaml       the resolved recipe; DIR/run.json: corpus, versions
DIR/processor/        tokenizer and picture settings
DIR/<n>-<stage>/      checkpoints, metrics.jsonl, TensorBoard files, model/
DIR/features/         what frozen encoders gave, see `features.py`
DIR/model/            the last stage's model, what `translate` and `evaluate` read
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter
from transformers import set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

import unglossed
from unglossed.config import read_settings, write_settings
from unglossed.corpora.check_clips import Limits, check_clips
from unglossed.corpora.faults import FaultKind, Faults, Severity
from unglossed.corpora.needs import TRAINING_SPLITS
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError, note
from unglossed.files import RUN_FILE, whole_folder, write_text
from unglossed.inference.decoding import DECODING_FILE
from unglossed.model_folders import bind_folder, verify_folder
from unglossed.training.callbacks import MetricsFile, ProgressDisplay
from unglossed.training.checkpoint import latest_checkpoint
from unglossed.training.data import Collator
from unglossed.training.diagnostics import norms_callbacks
from unglossed.training.recipe import Recipe, load_recipe
from unglossed.training.run import Run
from unglossed.training.stage_settings import StageSettings
from unglossed.training.tasks import Job, build_task
from unglossed.training.trainer import StageTrainer, stage_arguments


def train_recipe(
    recipe: str | Path,
    corpus: str,
    output: Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    features: Path | None = None,
) -> Path:
    """Train a recipe's stages on a corpus.

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: the run's folder; new or empty unless `resume`.
        resume: go on where an interrupted run of the same recipe and corpus stopped.
        overrides: `key=value` changes of the recipe.
        check_media: look at every clip of train and dev first, see `check_clips_of`.
        features: folder of stored features, which runs can share; `output/features` by default, or
            where a run that is resumed has them.

    Returns:
        The folder of the final model, `output/model`.

    Raises:
        InputError: the recipe, the corpus or the output folder is not as it must be.
    """
    transformers_logging.disable_progress_bar()  # there is one progress display: ours
    cv2.setNumThreads(1)  # the readers run side by side already, as processes
    settings = load_recipe(recipe, list(overrides))
    rows = read_corpus(corpus)
    is_new = _prepare_folder(output, settings, rows, features, resume=resume)
    if resume and is_new:
        note(f"{output}: no run to resume, a new one begins")
    elif (output / "model").is_dir():
        note(f"{output}: the run is finished, nothing is left to train")
    for line in rows.notes:
        note(line)
    try:
        run = Run(settings, rows, output, features or _features_of(output))
        if check_media:
            check_clips_of(rows, settings)
    except InputError:
        if is_new:  # a recipe that cannot be run leaves nothing that would stand in its way later
            shutil.rmtree(output)
        raise
    earlier: dict[str, Path] = {}
    with show_progress() as progress:
        for number, stage in enumerate(settings.stages, start=1):
            folder = output / f"{number}-{stage.name}"
            if not (folder / "model").is_dir():
                train_stage(run, stage, number, folder, earlier, progress)
            earlier[stage.name] = folder / "model"
    verify_folder(folder / "model")
    with whole_folder(output / "model") as partial:
        shutil.copytree(folder / "model", partial, dirs_exist_ok=True, copy_function=_link)
    return output / "model"


def train_stage(
    run: Run,
    stage: StageSettings,
    number: int,
    folder: Path,
    earlier: dict[str, Path],
    progress: Progress,
) -> None:
    """Train one stage and leave its best model in `folder/model`.

    Args:
        run: the run.
        stage: the stage's settings.
        number: its place in the recipe, from 1.
        folder: where it keeps what it writes.
        earlier: model folders of the stages before, by name.
        progress: the run's display.

    Raises:
        InputError: a part's source is neither a stage nor a loadable model, or does not fit.
    """
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    seed = run.recipe.seed + number
    set_seed(seed)
    task = build_task(Job(run, stage, seed, earlier, progress))
    writer = SummaryWriter(str(folder / "tensorboard"))
    trainer = StageTrainer(
        stage,
        task.model,
        task.dataset,
        Collator(run.processor),
        stage_arguments(
            stage,
            folder,
            steps_per_epoch=-(-len(task.dataset) // stage.batch_size),
            seed=seed,
            num_workers=task.num_workers,
        ),
        task.scores,
        [
            MetricsFile(folder),
            ProgressDisplay(progress, stage.name),
            TensorBoardCallback(writer),
            *norms_callbacks(stage, folder, writer),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = latest_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    with whole_folder(folder / "model") as partial:
        task.model.save_pretrained(partial)
        run.processor.save_pretrained(partial)
        write_settings(run.recipe.decoding, partial / DECODING_FILE)
        seconds = {"name": stage.name, "seconds": round(time.monotonic() - started, 1)}
        (partial / "stage.json").write_text(json.dumps(seconds), encoding="utf-8")
        bind_folder(partial)
    for leftover in folder.glob("checkpoint-*"):
        shutil.rmtree(leftover)


def check_clips_of(corpus: Corpus, recipe: Recipe) -> None:
    """Look at the headers of all clips that are trained on, before hours go into the first of them.

    Raises:
        InputError: A medium cannot be read or is not what the recipe reads, or a clip lies past its
            end.
    """
    faults = Faults(max_examples=1)
    samples = [sample for split in TRAINING_SPLITS for sample in corpus.split(split)]
    check_clips(
        corpus.spec,
        samples,
        faults,
        limits=Limits(max_seconds=recipe.max_seconds),
        needs=recipe.needs,
        progress=sys.stderr.isatty(),
    )
    for kind in faults:
        (first,) = faults.examples(kind)
        more = faults.total(Severity.ERROR) - 1
        if kind.severity is Severity.ERROR:
            rest = f" (and {more:,} more: see `unglossed corpus check`)" if more else ""
            raise InputError(f"{first}{rest}")
        if kind is FaultKind.PAST_END:
            note(f"{kind.title}: {faults.count(kind):,} ({first})")
        if kind is FaultKind.TOO_LONG:
            note(f"{kind.title}, cut there: {faults.count(kind):,} ({first})")


def _features_of(output: Path) -> Path | None:
    """Where a run was told to have its features, if it was."""
    folder = json.loads((output / RUN_FILE).read_text(encoding="utf-8")).get("features")
    return Path(folder) if folder else None


def _difference(one: Any, other: Any, place: str = "") -> str:
    """Says where two recipes differ first, and in what."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        names = [item["name"] if isinstance(item, dict) else str(i) for i, item in enumerate(one)]
        one, other = dict(zip(names, one, strict=True)), dict(zip(names, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        key = next(key for key in one if one[key] != other[key])
        return _difference(one[key], other[key], f"{place}.{key}" if place else key)
    return f"{place} was {one}, is {other}"


def _prepare_folder(
    output: Path, recipe: Recipe, corpus: Corpus, features: Path | None, *, resume: bool
) -> bool:
    """Make the run's folder, or check that it holds a run of the same recipe and corpus.

    Returns:
        Whether the run is new.
    """
    path = output / "recipe.yaml"
    facts_path = output / RUN_FILE
    if resume and facts_path.is_file():
        spec = json.loads(facts_path.read_text(encoding="utf-8"))["corpus"]
        if spec != corpus.spec:
            raise InputError(f"{output}: was trained on {spec}, not on {corpus.spec}")
    if resume and path.is_file():
        before = read_settings(Recipe, path)
        if before != recipe:
            change = _difference(before.model_dump(mode="json"), recipe.model_dump(mode="json"))
            raise InputError(
                f"{path}: differs from the recipe given, {change}; resume with the same recipe and"
                " the same key=value changes"
            )
        return False
    # A run that was killed before it wrote its recipe has trained nothing: it begins anew.
    begun = {RUN_FILE, f".{RUN_FILE}.partial", ".recipe.yaml.partial"} if resume else set()
    if output.exists() and (
        not output.is_dir() or any(file.name not in begun for file in output.iterdir())
    ):
        hint = "no recipe.yaml in it to resume" if resume else "add --resume to go on with it"
        raise InputError(f"{output}: is not an empty folder ({hint})")
    output.mkdir(parents=True, exist_ok=True)
    facts = {
        "corpus": corpus.spec,
        "notes": list(corpus.notes),
        "features": str(features.absolute()) if features else None,
        "unglossed": unglossed.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    write_text(facts_path, json.dumps(facts, indent=2) + "\n")
    write_settings(recipe, path)
    return True


def show_progress() -> Progress:
    """The display of a run; without a terminal it draws nothing, lines are printed instead."""
    console = Console()
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _link(source: str, target: str) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
