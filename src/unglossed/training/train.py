"""Runs a recipe on a corpus: tokenizer, then stage after stage, each resumable.

DIR/recipe.yaml       and what else a run was begun with, see `run_folder.py`
DIR/processor/        tokenizer, and how clips are read
DIR/<n>-<stage>/      checkpoints, metrics.jsonl, TensorBoard files, model/, see `checkpoint.py`
DIR/skipped.jsonl     clips that could not be read, if any, see `data.py`
DIR/context/          texts beside the features of train's clips, see `context.py`
DIR/features/         what frozen encoders gave, see `features.py`
DIR/model/            the last stage's model, what `translate` and `evaluate` read
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from unglossed.config import write_settings
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError, note
from unglossed.files import add_checksums, as_path, bind_folder, link, verify_folder, whole_folder
from unglossed.inference.search import DECODING_FILE
from unglossed.models.frozen import chosen_engine
from unglossed.models.kept_alignment import CONFIG, FOLDER, WEIGHTS, latest_kept, shares_encoder
from unglossed.models.saved import load_processor
from unglossed.ranks import here, joined
from unglossed.signals import stop_as, stopped_by, stops_wait
from unglossed.training.arguments import stage_arguments
from unglossed.training.callbacks import MetricsFile, NormsFile, ProgressDisplay, tensorboard
from unglossed.training.card import write_card
from unglossed.training.checkpoint import (
    forget,
    latest_checkpoint,
    misfit,
    put_away,
    step_of,
)
from unglossed.training.context import texts_of_train
from unglossed.training.data import SKIPPED_FILE, Collator, Unreadable
from unglossed.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from unglossed.training.job import Job
from unglossed.training.objectives import OBJECTIVES, build_task
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
from unglossed.training.saving import SaveEvery
from unglossed.training.selection import tell_choice
from unglossed.training.settings import StageSettings
from unglossed.training.storage import Place, as_place
from unglossed.training.trainer import StageTrainer


def train_recipe(
    recipe: str | Path,
    corpus: str,
    output: str | Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    features: Place | None = None,
    max_damaged: int | None = None,
    accept_changes: bool = False,
    save_every: str | None = None,
    keep: int = 2,
    shard_model: bool = False,
    trained: Mapping[str, Path] | None = None,
    unneeded: Collection[str] = (),
) -> Path:
    """Train a recipe's stages on a corpus.

    Started by `torchrun` or `accelerate launch`, all processes train together: each takes a part
    of every batch, and the first one writes the run's folder, which all have to see.

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
        features: folder or URL of stored features, which runs can share; `output/features` by
            default, or where a run that is resumed has them.
        max_damaged: most clips that are left out because they cannot be read; one in a hundred, and
            five at least, when not given.
        accept_changes: go on with a corpus that changed since the run was begun. What is trained
            stays; the stage that was interrupted goes on with the next epoch, or begins anew where
            its epochs had another number of steps or its labels another vocabulary.
        save_every: time (`30min`, `2h`) or number of steps after which a checkpoint is written, as
            one is when dev is scored; 30 minutes by default.
        keep: checkpoints of a stage that are kept beside the best one.
        shard_model: share weights, gradients and optimiser state of the language model out among
            the processes, see `sharding.py`; else each process has all of them.
        trained: model folders of stages, by name, that another run trained with the same settings,
            tokenizer and corpus: they are taken over, as links, instead of being trained.
        unneeded: names of stages that are not trained; no other stage's parts come from them. The
            others are numbered, and draw, as if they were.

    Returns:
        The folder of the final model, `output/model`.

    Raises:
        InputError: the recipe, the corpus or the output folder is not as it must be, or another
            process trains there.
        OSError: the disk is full; names the file.
        KeyboardInterrupt: the process was asked to end; says what is saved.
    """
    prepare_process()
    saving = SaveEvery() if save_every is None else SaveEvery.parse(save_every)
    if keep < 1:
        raise InputError(f"keep: found {keep}, expected 1 checkpoint at least")
    output = as_path(output, "output")
    features = None if features is None else as_place(features, "features")
    with joined() as ranks:
        settings = ranks.in_turn(lambda: load_recipe(recipe, overrides))
        rows = ranks.in_turn(lambda: read_corpus(corpus))
        for stage in settings.stages:
            if stage.encoder is not None:
                rows.require_media(f"stages.{stage.name}")
        ranks.first(lambda: check_folder(output, resume=resume))
        with alone(output) if ranks.is_first else nullcontext():
            opened = _Opened(settings, rows, output, features, max_damaged, shard_model)
            run = opened.on_all(lambda: opened.first(resume, check_media, accept_changes))
            sharded = shard_model and ranks.count > 1
            return _train_stages(
                run, output, _Manner(accept_changes, saving, keep, sharded, trained or {}, unneeded)
            )


@dataclass(frozen=True)
class _Manner:
    """How stages are trained, beside what is trained; see `train_recipe`."""

    accept_changes: bool
    saving: SaveEvery
    keep: int
    sharded: bool
    trained: Mapping[str, Path]
    unneeded: Collection[str]


@dataclass
class _Opened:
    """A run whose folder is made or found by the first process, and then seen by the others."""

    recipe: Recipe
    rows: Corpus
    output: Path
    features: Place | None
    max_damaged: int | None
    shard_model: bool

    def on_all(self, first: Callable[[], Run]) -> Run:
        """The run, on each process."""
        opened: list[Run] = []

        def seen() -> tuple[Place, Any, list[Unreadable]]:
            run = first()
            opened.append(run)
            return run.cache.folder, run.processor.trained_seconds, run.left_out.clips

        features, lengths, left_out = here().first(seen)
        if opened:
            return opened[0]
        damaged = self.max_damaged
        run = Run(self.recipe, self.rows, self.output, features, max_damaged=damaged)
        run.processor.trained_seconds = lengths
        for clip in left_out:
            run.left_out.add(clip)
        return run

    def first(self, resume: bool, check_media: bool, accept_changes: bool) -> Run:
        """The run, on the first process: its folder is begun, or compared with what is given."""
        settings, rows, output = self.recipe, self.rows, self.output
        is_new = check_folder(output, resume=resume)  # another process may have begun one
        now = Fingerprint.take(rows, media=check_media and rows.has_media)
        before = None
        if is_new:
            begin(output, settings, rows, self.features)
        else:
            before = Before.read(output, accept=accept_changes)
            before.check_recipe(settings)
            before.check_corpus(rows, now)
        if resume and is_new:
            note(f"{output}: no run to resume, a new one begins")
        for line in rows.notes:
            note(line)
        try:
            run = Run(
                settings,
                rows,
                output,
                self.features or (before.features if before else None),
                max_damaged=self.max_damaged,
                listed=output / SKIPPED_FILE,
            )
            if self.shard_model:
                _check_sharding(run)
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
        return run


def _check_sharding(run: Run) -> None:
    """See `check_sharding`; what it needs takes a while to import."""
    from unglossed.training.sharding import check_sharding

    check_sharding(run.plans.values())
    if here().count == 1:
        note("--shard-model: has no effect: a process alone has the whole model")


def _train_stages(run: Run, output: Path, manner: _Manner) -> Path:
    """Train what is left to train of a run, and give it its model."""
    ranks = here()
    stages = {
        stage.name: stage_folder(output, number, stage)
        for number, stage in enumerate(run.recipe.stages, start=1)
    }
    for name, model in manner.trained.items():
        ranks.first(partial(_take_over, run, stages[name], model))
    wanted = [folder for name, folder in stages.items() if name not in manner.unneeded]
    if ranks.first(lambda: all(map(is_trained, wanted))):
        note(f"{output}: the run is finished, nothing is left to train")
    with show_progress() as progress:
        names = [name for name in stages if name not in manner.unneeded]
        _train_each(run, names, output, manner, progress)
    ranks.first(partial(_write_model, run, stages, output / "model"))
    return output / "model"


def _train_each(
    run: Run, names: Collection[str], output: Path, manner: _Manner, progress: Progress
) -> dict[str, Path]:
    """Train what is left to train of some stages; gives the model folders of all of them."""
    ranks = here()
    earlier: dict[str, Path] = {}
    for number, stage in enumerate(run.recipe.stages, start=1):
        if stage.name not in names:
            continue
        folder = stage_folder(output, number, stage)
        if ranks.first(partial(_begin_stage, folder, [*earlier.values()])):
            job = Job(run, stage, run.recipe.seed + number, earlier, progress)
            if stage.context is not None:
                train = partial(_train_each, manner=manner, progress=progress)
                job = replace(job, beside=texts_of_train(job, output, train))
            _train_stage(job, folder, manner)
        ranks.first(partial(put_away, folder))  # also of a run that was killed before it did
        earlier[stage.name] = folder / "model"
    return earlier


def _take_over(run: Run, folder: Path, model: Path) -> None:
    """Give a stage the model that another run trained.

    Raises:
        InputError: the model was damaged, or trained with another tokenizer.
    """
    if is_trained(folder):
        return
    verify_folder(model)
    one, other = load_processor(model).tokenizer, run.processor.tokenizer
    if one.get_vocab() != other.get_vocab():
        raise InputError(f"{model}: was trained with another tokenizer than {folder.parent} has")
    with whole_folder(folder / "model") as partial_folder:
        shutil.copytree(model, partial_folder, dirs_exist_ok=True, copy_function=link)


def _begin_stage(folder: Path, earlier: Sequence[Path]) -> bool:
    """Whether a stage is to be trained; its folder is then made."""
    if is_trained(folder):
        check_trained(folder)
        return False
    for trained in earlier:
        forget(trained.parent)
    folder.mkdir(parents=True, exist_ok=True)
    return True


def _write_model(run: Run, stages: Mapping[str, Path], target: Path) -> None:
    """Give a run the model of its last stage."""
    last = [*stages.values()][-1] / "model"
    kept = latest_kept([folder / "model" for folder in stages.values()])
    with whole_folder(target) as partial_folder:
        shutil.copytree(last, partial_folder, dirs_exist_ok=True, copy_function=link)
        if kept is not None and kept != last and shares_encoder(kept, last):
            shutil.copytree(kept / FOLDER, partial_folder / FOLDER, copy_function=link)
            add_checksums(partial_folder, (CONFIG, WEIGHTS))
        write_card(partial_folder, run, stages)


def _train_stage(job: Job, folder: Path, manner: _Manner) -> None:
    """Train one stage and leave its best model in `folder/model`."""
    run, stage, ranks = job.run, job.stage, here()
    started = time.monotonic()
    set_seed(job.seed)
    task = build_task(job)
    steps_per_epoch = -(-len(task.dataset) // stage.batch_size)
    config = task.model.config
    checkpoint = ranks.first(
        lambda: _find_checkpoint(folder, steps_per_epoch, config, manner.accept_changes)
    )
    if checkpoint is not None and ranks.is_first:
        step, last = step_of(checkpoint), stage.epochs * steps_per_epoch
        note(f"stages.{stage.name}: goes on after step {step:,} of {last:,}")
    transformers_logging.set_verbosity_error()  # it warns that it does not know of our processes
    arguments = stage_arguments(
        stage,
        folder,
        steps_per_epoch=steps_per_epoch,
        seed=job.seed,
        num_workers=task.num_workers,
    )
    with ExitStack() as opened:
        asked = opened.enter_context(stops_wait())
        callbacks: list[Any] = []
        if ranks.is_first:
            from_step = step_of(checkpoint) + 1 if checkpoint else None
            writer = opened.enter_context(tensorboard(folder / "tensorboard", from_step))
            callbacks += [MetricsFile(folder), ProgressDisplay(job.progress, stage.name)]
            callbacks.append(TensorBoardCallback(writer))
            if stage.norms_every:
                callbacks.append(NormsFile(folder, stage.norms_every, writer))
        trainer = _trainer_class(stage, manner)(
            *(stage, task.model, task.dataset, Collator(run.processor), arguments, task.scores),
            *(callbacks, run.left_out.add),
            saving=manner.saving,
            keep=manner.keep,
            asked=asked,
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt:
            step = trainer.saved_step
            told = f"saved after step {step:,} of {stage.name}" if step else "nothing to save yet"
            raise KeyboardInterrupt(told) from None
    state, objective = trainer.state, OBJECTIVES[stage.objective]
    if choice := tell_choice(state.log_history, state.best_global_step, objective):
        note(f"stages.{stage.name}: {choice}")
    if left_out := str(run.left_out):
        note(f"stages.{stage.name}: trained without {left_out}, which cannot be read")
    seconds = {"name": stage.name, "seconds": round(time.monotonic() - started, 1)}
    beside = objective.beside(trainer.model)
    model = objective.finish(trainer.model)
    ranks.first(lambda: _write_stage(run, model, folder / "model", seconds, beside))
    if ranks.largest([asked.came])[0]:  # as the last step was saved
        stop_as(ranks.largest([stopped_by() or 0])[0])
        raise KeyboardInterrupt(f"{stage.name} is trained and saved")


def _trainer_class(stage: StageSettings, manner: _Manner) -> type[StageTrainer]:
    """What trains a stage: all of a model in each process, or a part of its language model."""
    if not manner.sharded or stage.language_model is None:
        return StageTrainer
    from unglossed.training.sharded_trainer import ShardedTrainer

    return ShardedTrainer


def _find_checkpoint(
    folder: Path, steps_per_epoch: int, config: Any, accept_changes: bool
) -> Path | None:
    """What a stage goes on from; None: it begins."""
    checkpoint = latest_checkpoint(folder)
    if checkpoint and (reason := misfit(checkpoint, steps_per_epoch, config)):
        if not accept_changes:
            raise InputError(f"{checkpoint}: {reason}: --accept-changes begins the stage anew")
        note(f"{checkpoint}: {reason}: the stage begins anew")
        forget(folder)
        return None
    return checkpoint


def _write_stage(
    run: Run,
    model: Any,
    target: Path,
    about: Mapping[str, Any],
    beside: Callable[[Path], None] | None,
) -> None:
    """Write the model of a stage, and what belongs beside it, whole or not at all."""
    with whole_folder(target) as partial_folder:
        model.save_pretrained(partial_folder)
        run.processor.save_pretrained(partial_folder)
        write_settings(run.recipe.decoding, partial_folder / DECODING_FILE)
        (partial_folder / "stage.json").write_text(json.dumps(about), encoding="utf-8")
        if beside is not None:
            beside(partial_folder)
        bind_folder(partial_folder)


def prepare_process() -> None:
    """What a process that trains or encodes sets once."""
    chosen_engine()  # what is wrong with it is told before the first stage
    transformers_logging.disable_progress_bar()  # there is one progress display: ours
    cv2.setNumThreads(1)  # the readers run side by side already, as processes


def show_progress() -> Progress:
    """The display of a run; without a terminal it draws nothing, lines are printed instead."""
    console = Console()
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
