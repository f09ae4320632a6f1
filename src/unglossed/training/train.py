"""Runs a recipe on a corpus: tokenizer, then stage after stage, each resumable.

DIR/recipe.yaml       and what else a run was begun with, see `run_folder.py`
DIR/processor/        tokenizer, and how clips are read
DIR/<n>-<stage>/      checkpoints, metrics.jsonl, TensorBoard files, model/, see `checkpoint.py`
DIR/skipped.jsonl     clips that could not be read, if any, see `data.py`
DIR/features/         what frozen encoders gave, see `features.py`
DIR/model/            the last stage's model, what `translate` and `evaluate` read
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from transformers import set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from unglossed.config import FieldError, field, write_settings
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError, note
from unglossed.files import as_path, bind_folder, link, whole_folder
from unglossed.inference.search import DECODING_FILE
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.frozen import chosen_engine
from unglossed.training.build import encoder_part, load_weights
from unglossed.training.callbacks import MetricsFile, NormsFile, ProgressDisplay, tensorboard
from unglossed.training.card import write_card
from unglossed.training.checkpoint import forget, latest_checkpoint, misfit, put_away
from unglossed.training.data import SKIPPED_FILE, Collator
from unglossed.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from unglossed.training.job import Job
from unglossed.training.objectives import OBJECTIVES, build_task
from unglossed.training.plan import StagePlan
from unglossed.training.recipe import Recipe, load_recipe
from unglossed.training.run import Run
from unglossed.training.run_folder import (
    Before,
    alone,
    begin,
    check_folder,
    check_trained,
    is_trained,
    keep_lengths,
    stage_folder,
)
from unglossed.training.settings import StageSettings
from unglossed.training.trainer import StageTrainer, stage_arguments, tell_choice


def train_recipe(
    recipe: str | Path,
    corpus: str,
    output: str | Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    features: str | Path | None = None,
    max_damaged: int | None = None,
    accept_changes: bool = False,
) -> Path:
    """Train a recipe's stages on a corpus.

        >>> unglossed.train(recipe, corpus, output / "run").name
        pretraining: epoch 1 of 1, loss 4...
        visual_initialing: epoch 1 of 1, loss 3..., dev BLEU-4 ...
        'model'

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: the run's folder; new or empty unless `resume`.
        resume: go on where an interrupted run of the same recipe and corpus stopped. The recipe
            may differ in stages that have not begun, and in more epochs of the last one that has.
        overrides: `key=value` changes of the recipe.
        check_media: look at every clip of train and dev first, see `Run.check_media`.
        features: folder of stored features, which runs can share; `output/features` by default, or
            where a run that is resumed has them.
        max_damaged: most clips that are left out because they cannot be read; one in a hundred, and
            five at least, when not given.
        accept_changes: go on with a corpus that changed since the run was begun. What is trained
            stays; the stage that was interrupted goes on with the next epoch, or begins anew where
            its epochs had another number of steps or its labels another vocabulary.

    Returns:
        The folder of the final model, `output/model`.

    Raises:
        InputError: the recipe, the corpus or the output folder is not as it must be, or another
            process trains there.
        OSError: the disk is full; names the file.
    """
    _prepare_process()
    output = as_path(output, "output")
    features = None if features is None else as_path(features, "features")
    settings = load_recipe(recipe, overrides)
    rows = read_corpus(corpus)
    check_folder(output, resume=resume)
    with alone(output):
        is_new = check_folder(output, resume=resume)  # another process may have begun one
        now = Fingerprint.take(rows, media=check_media)
        before = None
        if is_new:
            begin(output, settings, rows, features)
        else:
            before = Before.read(output, accept=accept_changes)
            before.check_recipe(settings)
            before.check_corpus(rows, now)
        if resume and is_new:
            note(f"{output}: no run to resume, a new one begins")
        for line in rows.notes:
            note(line)
        try:
            listed = output / SKIPPED_FILE
            run = Run(
                settings,
                rows,
                output,
                features or (before.features if before else None),
                max_damaged=max_damaged,
                listed=listed,
            )
            if check_media:
                run.processor.trained_seconds = run.check_media()
            elif before is not None:
                run.processor.trained_seconds = before.trained_seconds
        except InputError:
            if is_new:  # a recipe that cannot be run leaves nothing that would stand in its way
                shutil.rmtree(output)
            raise
        for line in run.notes:
            note(line)
        if before is None:
            now.write(output / FINGERPRINT_FILE)
        else:
            before.write(settings, rows, now)
        keep_lengths(output, run.processor.trained_seconds)
        return _train_stages(run, output, accept_changes)


def _train_stages(run: Run, output: Path, accept_changes: bool) -> Path:
    """Train what is left to train of a run, and give it its model."""
    stages = {
        stage.name: stage_folder(output, number, stage)
        for number, stage in enumerate(run.recipe.stages, start=1)
    }
    if all(map(is_trained, stages.values())):
        note(f"{output}: the run is finished, nothing is left to train")
    earlier: dict[str, Path] = {}
    with _show_progress() as progress:
        for number, stage in enumerate(run.recipe.stages, start=1):
            folder = stages[stage.name]
            if is_trained(folder):
                check_trained(folder)
            else:
                for trained in earlier.values():
                    forget(trained.parent)
                seed = run.recipe.seed + number
                _train_stage(Job(run, stage, seed, earlier, progress), folder, accept_changes)
            put_away(folder)  # also of a run that was killed before it did
            earlier[stage.name] = folder / "model"
    with whole_folder(output / "model") as partial:
        shutil.copytree(folder / "model", partial, dirs_exist_ok=True, copy_function=link)
        write_card(partial, run, stages)
    return output / "model"


def _train_stage(job: Job, folder: Path, accept_changes: bool) -> None:
    """Train one stage and leave its best model in `folder/model`."""
    run, stage = job.run, job.stage
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    set_seed(job.seed)
    task = build_task(job)
    steps_per_epoch = -(-len(task.dataset) // stage.batch_size)
    checkpoint = latest_checkpoint(folder)
    if checkpoint and (reason := misfit(checkpoint, steps_per_epoch, task.model.config)):
        if not accept_changes:
            raise InputError(f"{checkpoint}: {reason}: --accept-changes begins the stage anew")
        note(f"{checkpoint}: {reason}: the stage begins anew")
        forget(folder)
        checkpoint = None
    with tensorboard(folder / "tensorboard") as writer:
        callbacks = [
            MetricsFile(folder),
            ProgressDisplay(job.progress, stage.name),
            TensorBoardCallback(writer),
        ]
        if stage.norms_every:
            callbacks.append(NormsFile(folder, stage.norms_every, writer))
        trainer = StageTrainer(
            stage,
            task.model,
            task.dataset,
            Collator(run.processor),
            stage_arguments(
                stage,
                folder,
                steps_per_epoch=steps_per_epoch,
                seed=job.seed,
                num_workers=task.num_workers,
            ),
            task.scores,
            callbacks,
            run.left_out.add,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    state, objective = trainer.state, OBJECTIVES[stage.objective]
    if told := tell_choice(state.log_history, state.best_global_step, objective):
        note(f"stages.{stage.name}: {told}")
    if left_out := str(run.left_out):
        note(f"stages.{stage.name}: trained without {left_out}, which cannot be read")
    with whole_folder(folder / "model") as partial:
        objective.finish(task.model).save_pretrained(partial)
        run.processor.save_pretrained(partial)
        write_settings(run.recipe.decoding, partial / DECODING_FILE)
        seconds = {"name": stage.name, "seconds": round(time.monotonic() - started, 1)}
        (partial / "stage.json").write_text(json.dumps(seconds), encoding="utf-8")
        bind_folder(partial)


def extract_features(
    recipe: str | Path,
    corpus: str,
    output: Path,
    *,
    trained: Path | None = None,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    max_damaged: int | None = None,
) -> Path:
    """Store the features that a recipe's stages train from, before any of them is trained.

    `train_recipe` with the same `features` folder then encodes nothing, where the language model
    has positions for as long a clip as the recipe allows.

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: folder for the features; what it has already is not computed again.
        trained: folder of a run, whose stages give the encoders that the recipe's stages inherit.
        overrides: `key=value` changes of the recipe.
        check_media: look at every clip first.
        max_damaged: see `train_recipe`.

    Returns:
        The folder.

    Raises:
        InputError: the recipe or the corpus is not as it must be, no stage trains from features, or
            one's encoder is not known before it is trained.
    """
    _prepare_process()
    output = as_path(output, "output")
    trained = None if trained is None else as_path(trained, "trained")
    settings = load_recipe(recipe, overrides)
    stages = [stage for stage in settings.stages if stage.feature_views]
    if not stages:
        raise InputError(f"{recipe}: no stage has feature_views, expected one that is to train so")
    earlier = _trained_stages(settings, trained)
    _refuse_untrained_encoders(stages, settings, earlier)
    rows = read_corpus(corpus)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = Run(settings, rows, folder, output, trained=earlier, max_damaged=max_damaged)
    encoders = [_known_encoder(run.plans[stage.name], earlier) for stage in stages]
    if check_media:
        run.check_media()
    with _show_progress() as progress:
        for stage, (encoder, config) in zip(stages, encoders, strict=True):
            for samples, training in ((run.train_samples, True), (run.dev_samples, False)):
                clips = run.clips(samples, training=training)
                run.features(stage, encoder, config, clips, progress)
    return output


def _trained_stages(recipe: Recipe, trained: Path | None) -> dict[str, Path]:
    """Model folders of a run's stages that the recipe has too, by name."""
    if trained is None:
        return {}
    found = {path.parent.name.partition("-")[2]: path for path in trained.glob("[0-9]*-*/model")}
    if not found:
        raise InputError(f"{trained}: is not a run folder: it has no trained stage")
    return {stage.name: found[stage.name] for stage in recipe.stages if stage.name in found}


def _refuse_untrained_encoders(
    stages: Sequence[StageSettings], recipe: Recipe, earlier: Mapping[str, Path]
) -> None:
    for stage in stages:
        assert stage.encoder is not None
        where, source = f"stages.{stage.name}.encoder.source", stage.encoder.source
        if source in [one.name for one in recipe.stages] and source not in earlier:
            raise FieldError(
                where,
                f"{source} is yet to be trained: name a run that has it (--run), or a model"
                f" ({where}=FOLDER)",
            )


def _known_encoder(plan: StagePlan, earlier: Mapping[str, Path]) -> tuple[Encoder, dict[str, Any]]:
    """A stage's encoder and its configuration, if its weights are known before the training."""
    holder = nn.Module()
    with field(plan.where):
        config, weights = encoder_part(plan, earlier)
        holder.encoder = encoder = build_encoder(config)
        load_weights(holder, weights, plan)
    known = {f"{name}.{key}" for name, values in weights.items() for key in values}
    drawn = [name for name, _ in holder.named_parameters() if name not in known]
    if drawn:
        raise FieldError(
            f"{plan.where}.encoder.source",
            f"{len(drawn)} weights (as {drawn[0]}) are drawn when the stage is trained, expected an"
            " encoder that is trained",
        )
    return encoder, config


def _prepare_process() -> None:
    chosen_engine()  # what is wrong with it is told before the first stage
    transformers_logging.disable_progress_bar()  # there is one progress display: ours
    cv2.setNumThreads(1)  # the readers run side by side already, as processes


def _show_progress() -> Progress:
    """The display of a run; without a terminal it draws nothing, lines are printed instead."""
    console = Console()
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
