"""The training loop of a stage: transformers' Seq2SeqTrainer, on one process or on several.

The trainer knows of one process alone. What several have to agree on is shared here: the tokens of
a step, its gradients and its loss; clips that cannot be read; when to save and when to stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from unglossed.errors import InputError, note
from unglossed.files import naming
from unglossed.models.language_model import IGNORED
from unglossed.models.speech import SpeechEncoder
from unglossed.models.synced_norm import sync_norms
from unglossed.models.translator import Translator
from unglossed.models.visual import VisualEncoder
from unglossed.ranks import here
from unglossed.signals import Waiting, stop_as, stopped_by
from unglossed.training.agreement import Agreed
from unglossed.training.attention import attention_for
from unglossed.training.callbacks import DATA_WAIT, Resumption
from unglossed.training.checkpoint import find_fault, rotate, written_whole
from unglossed.training.data import UNREADABLE, Collator, Unreadable, cut_batch, refuse
from unglossed.training.draws import Draws, kept_draws
from unglossed.training.loader import (
    ROWS,
    EpochLoader,
    NumberedDataset,
    StepSampler,
    begin_worker,
    ids_of,
    on_device,
    tell_death,
)
from unglossed.training.loss_watch import LossWatch
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.optimizers import StepsInBackward, build_optimizer
from unglossed.training.saving import Progress, SaveEvery
from unglossed.training.selection import PREFIX, rank, scored
from unglossed.training.settings import StageSettings

DevScores = Callable[[], Mapping[str, float | None]]
POSITIONS = (1024, 16384)
"""Of a part of a batch where the recipe sets no budget, on a CPU and on a GPU: matrix products are
at their fastest with as many."""


class StageTrainer(Seq2SeqTrainer):
    """Trains one stage.

    Args:
        stage: Its settings.
        model: A `PartModel`, or a language model of transformers for the denoising objective.
        dataset: Gives an item for (epoch, index).
        collator: Stacks items.
        arguments: See `stage_arguments`.
        dev_scores: Scores the model on dev; None: the stage is not scored.
        callbacks: Of transformers' kind.
        leave_out: Called with each clip that cannot be read; the rest of its batch is trained on.
    """

    control: TrainerControl
    optimizer: torch.optim.Optimizer | None

    def __init__(
        self,
        stage: StageSettings,
        model: nn.Module,
        dataset: Dataset[dict[str, Any]],
        collator: Collator,
        arguments: Seq2SeqTrainingArguments,
        dev_scores: DevScores | None,
        callbacks: list[Any],
        leave_out: Callable[[Unreadable], None] = refuse,
        *,
        saving: SaveEvery | None = None,
        keep: int = 2,
        asked: Waiting | None = None,
    ) -> None:
        self.stage = stage
        self.objective = OBJECTIVES[stage.objective]
        self.dev_scores = dev_scores
        self.leave_out = leave_out
        self.ranks = here()
        self.saving = saving or SaveEvery()
        self.keep = keep
        self.asked = asked or Waiting()
        self.draws = Draws(arguments.seed)
        self.numbered = NumberedDataset(dataset, arguments.dataloader_num_workers)
        self.sampler = StepSampler(len(self.numbered), stage.batch_size, arguments.seed, self.ranks)
        self.watch = LossWatch(stage.name, partial(ids_of, dataset), len(self.sampler))
        self._agreed = Agreed()
        self._saved, self._written = (0, time.monotonic()), (0, False)
        self._saving_to: Path | None = None
        self._resumed: Progress | None = None
        self._spare: dict[str, Any] = {}
        self._loader: EpochLoader | None = None
        self._logged_at: float | None = None
        self._seconds_waited = 0.0
        self.in_backward: StepsInBackward | None = None
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=self.numbered,
            # The trainer asks for one where it evaluates; `evaluate` reads dev itself.
            eval_dataset=dataset if dev_scores else None,
            data_collator=collator,
            callbacks=[Resumption(), *callbacks, _GoOn(self)],
        )
        if self.ranks.count > 1:
            self._check_shared(model)
            sync_norms(model, self.ranks)
        for module in model.modules():
            if isinstance(module, VisualEncoder):
                module.frame_budget = stage.frame_budget
                self.draws.spare(module.backbone)
        self.args._n_gpu = min(self.args.n_gpu, 1)  # packed frames cannot be cut by DataParallel
        self.model_accepts_loss_kwargs = True  # has the trainer count the tokens of a whole batch

    def _check_shared(self, model: nn.Module) -> None:
        """Refuse what cannot be trained by several processes."""
        for module in model.modules():
            is_trained = any(weight.requires_grad for weight in module.parameters())
            if isinstance(module, SpeechEncoder) and module.normalises_single_clips and is_trained:
                raise InputError(
                    f"stages.{self.stage.name}.encoder: found a speech model with batch"
                    " normalisation that is trained by several processes, expected one process, or"
                    " frozen=[encoder]: it takes clip after clip"
                )

    def get_train_dataloader(self) -> EpochLoader:
        """The loader of this process's clips, with a random generator of its own.

        It would draw from the one of the training: the number of workers would change that.
        """
        self._loader = EpochLoader(
            self.numbered,
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            persistent_workers=self.args.dataloader_persistent_workers,
            pin_memory=self.args.dataloader_pin_memory,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),
        )
        return self._loader

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing: what is drawn in a step depends on no step before."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing, see above; and the past of generators is none of the present step's matter."""

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The stage's optimiser; its steps are part of the backward pass where they can be."""
        if self.optimizer is None:
            early = self._steps_in_backward()
            self.optimizer = build_optimizer(self.stage, self.model, one_by_one=early)
            if early:
                self.in_backward = StepsInBackward(self.optimizer, self.model)
        return self.optimizer

    def _steps_in_backward(self) -> bool:
        """Whether a backward pass may use each gradient up: nothing looks at all of them after."""
        settings = self.stage.optimizer
        wanted = settings.in_backward
        if wanted is None:  # on a GPU many small steps take longer than one
            wanted = self.args.device.type == "cpu"
        alone = self.ranks.count == self.args.gradient_accumulation_steps == 1
        return wanted and alone and not settings.max_grad_norm and not self.stage.norms_every

    def train(self, resume_from_checkpoint: Any = None, *arguments: Any, **settings: Any) -> Any:
        """See the trainer of transformers; goes on in the middle of an epoch as if never stopped.

        Raises:
            KeyboardInterrupt: the process was asked to end; what was trained is saved.
            InputError: a process that reads clips died, or see `log`.
        """
        if resume_from_checkpoint is not None:
            self._resumed = Progress.read(Path(resume_from_checkpoint))
        try:
            return super().train(resume_from_checkpoint, *arguments, **settings)
        except RuntimeError as error:
            if told := tell_death(error, self.numbered):
                raise told from None
            raise
        finally:
            if self.in_backward is not None:
                self.in_backward.close()
            if self._loader is not None:
                self._loader.end()

    def go_on(self, state: TrainerState) -> None:
        """Take up what a checkpoint left undone, before the first step."""
        self.ranks.copy_first(self.model)
        self._saved = (state.global_step, time.monotonic())
        resumed, self._resumed = self._resumed, None
        if resumed is None or resumed.logged_at is None:
            return
        self._written = (state.global_step, resumed.unscored)
        self.watch.go_on(resumed.losses)
        self._tr_loss += resumed.loss
        self._globalstep_last_logged = resumed.logged_at
        if resumed.unscored:
            self.control.should_evaluate = self.dev_scores is not None
            self.control.should_save = True
            self._maybe_log_save_evaluate(
                *(self._tr_loss, None, self.model, None, state.epoch or 0, None, time.time())
            )

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The batches of the next step, without clips that cannot be read; measures the wait.

        The number of tokens is that of all processes, which agree here on all that ends a step.
        """
        began = time.perf_counter()
        if self._logged_at is None:
            self._logged_at = began
        batches, _ = super().get_batch_samples(*arguments)
        self._seconds_waited += time.perf_counter() - began
        unreadable = [clip for batch in batches for clip in batch.pop(UNREADABLE, ())]
        step = self.state.global_step % len(self.sampler)
        idle = self.sampler.is_idle(step) or not any(batches)
        found = Agreed(
            tokens=0 if idle else sum(int((one["labels"] != IGNORED).sum()) for one in batches),
            active=not idle,
            unreadable=len(unreadable),
            blank=not (any(batches) or self._spare),
            stop=self.asked.came,
            save=self.ranks.is_first and self._is_save_due(),
        )
        self._agreed = found = found.of_all(self.ranks)
        self.ranks.idle, self.ranks.active = idle, found.active
        if found.unreadable:
            clips = [*chain.from_iterable(self.ranks.all(unreadable))]
            self.ranks.first(lambda: [*map(self.leave_out, clips)])
        if not found.active:  # no clip can be read: a step that changes nothing
            return batches, None
        if found.blank:
            given = next(one for one in self.ranks.all([] if idle else batches) if any(one))
            self._spare = self._spare or next(filter(None, given))
        return batches, torch.tensor(found.tokens)  # on the CPU: nothing waits for a GPU

    def _get_num_items_in_batch(self, *_: Any) -> None:
        """Nothing: `get_batch_samples` counts over all processes."""

    def _is_save_due(self) -> bool:
        step, since = self._saved
        return self.saving.is_due(self.state.global_step + 1 - step, since)

    def _maybe_log_save_evaluate(self, *arguments: Any, **settings: Any) -> None:
        """At the end of a step: log, score, save; and stop, if the process was asked to end."""
        agreed, self._agreed = self._agreed, Agreed()
        stop = agreed.stop or (self.ranks.count == 1 and self.asked.came)
        if agreed.save or stop:
            self.control.should_save = True
        super()._maybe_log_save_evaluate(*arguments, **settings)
        if stop:
            stop_as(self.ranks.largest([stopped_by() or 0])[0])
            raise KeyboardInterrupt

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Log values; beside the loss the share of the time that waited for data, 0..1.

        Raises:
            InputError: the loss or its gradient became NaN or infinite; nothing of it is saved.
        """
        if not all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "grad_norm")):
            raise InputError(
                f"stages.{self.stage.name}: the loss became NaN or infinite in epoch"
                f" {math.ceil(self.state.epoch or 0)}: lower learning_rates, or look for damaged"
                " clips (unglossed corpus check --deep)"
            )
        if "loss" in logs and self._logged_at is not None:
            seconds = time.perf_counter() - self._logged_at
            logs = {**logs, DATA_WAIT: round(self._seconds_waited / seconds, 4)}
            self._logged_at, self._seconds_waited = None, 0.0  # what is scored now does not count
        super().log(logs, *arguments)

    def _run_epoch(self, **settings: Any) -> None:
        """Train an epoch, unless the scores on dev have not risen for as long as is waited."""
        patience, best = self.stage.patience, self.state.best_global_step
        rows = scored(self.state.log_history)
        if not (patience and best) or sum(row["step"] > best for row in rows) < patience:
            super()._run_epoch(**settings)
            return
        self.control.should_training_stop = True
        note(
            f"stages.{self.stage.name}: the scores on dev have not risen in the last {patience}:"
            f" ends after epoch {self.state.epoch:.0f} of {self.stage.epochs}"
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward pass of a step, whose loss and gradients are those of all processes.

        One that has no clip of its own computes another one's, which counts nowhere, to keep step.
        """
        step = self.state.global_step
        self.draws.seed_step(step)
        if self.ranks.count > 1:
            inputs = self._spare = inputs or self._spare
        if num_items_in_batch is None or not inputs:  # no clip can be read: nothing changes
            loss = torch.zeros((), device=self.args.device)
        else:
            loss = self._trained(model, inputs, num_items_in_batch)
        if self.ranks.count > 1:
            self.ranks.sum_gradients(model.parameters())
            loss = self.ranks.sum(loss.cpu()).to(loss.device)
        rows = [index for _, index in self.sampler.clips(step % len(self.sampler))]
        with self.ranks.as_one():
            self.watch.add(step + 1, loss, rows)
        return loss

    def _trained(self, model: nn.Module, inputs: dict[str, Any], count: Tensor) -> Tensor:
        """Forward and backward pass of a batch, in parts where that changes only the time.

        That is where no batch normalisation is trained and the loss is a sum over rows.
        """
        inputs = on_device(inputs, self.args.device)
        encodes = "frames" in inputs and "encoder" not in self.stage.frozen
        sums = self.objective.sums and self.stage.alignment is None
        if encodes or not sums:
            parts = [inputs]
        else:
            budget = self.stage.frame_budget or POSITIONS[self.args.device.type != "cpu"]
            parts = list(cut_batch(self._encoded(inputs), budget, self._positions))
        if self.in_backward is not None:
            self.in_backward.begin(active=len(parts) == 1)
        return torch.stack(self._losses(model, parts, count)).sum()

    def _losses(self, model: nn.Module, parts: Sequence[dict[str, Any]], count: Any) -> list[Any]:
        """Forward and backward pass of each part."""
        return [super(StageTrainer, self).training_step(model, part, count) for part in parts]

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm of all gradients, also of those that the backward pass has used up."""
        if self.in_backward is None or grad_norm is not None:
            return super()._get_grad_norm(model, grad_norm=grad_norm)
        return self.in_backward.grad_norm()

    def _encoded(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch with the frozen encoder's features instead of frames, if it has frames."""
        if "frames" not in inputs:
            return inputs
        translator = self.accelerator.unwrap_model(self.model)
        with torch.no_grad(), self.accelerator.autocast():
            features, mask = translator.encode(inputs["frames"], inputs["lengths"])
        rest = {name: rows for name, rows in inputs.items() if name not in ("frames", "lengths")}
        return {**rest, "features": features, "mask": mask}

    def _positions(self, source: int) -> int:
        """Positions that the language model reads for so many features, or tokens."""
        model = self.accelerator.unwrap_model(self.model)
        return model.positions(source) if isinstance(model, Translator) else source

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the stage's objective, over the tokens of the whole effective batch."""
        rows = inputs[ROWS]
        batch = {name: values for name, values in inputs.items() if name != ROWS}
        if self.stage.alignment is not None and self.ranks.count > 1:
            own, texts = batch["labels"], batch.get("texts", batch["labels"])
            batch["texts"] = self.ranks.gathered_texts(own, texts[len(own) :])
        step, device = self.state.global_step, self.args.device
        with attention_for(self.args, batch), self.draws.dropout(step, rows, device):
            outputs = model(**batch)
        loss = self.objective.loss(outputs, batch, self.stage, num_items_in_batch)
        if self.ranks.idle:
            loss = loss * 0
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the dev split; a signal that asks to end interrupts it, unless others score too.

        Raises:
            KeyboardInterrupt: it was, and the step is saved, to be scored when the run is resumed.
        """
        assert self.dev_scores is not None
        self.asked.at_once = self.ranks.count == 1
        try:
            if self.asked.came and self.asked.at_once:
                raise KeyboardInterrupt
            with kept_draws(self.args.device):  # scoring on or off, training draws the same
                scores = self.ranks.from_first(self.dev_scores())
        except KeyboardInterrupt:
            if self.ranks.count == 1:  # else the others wait for what this one has not translated
                self._save_step(unscored=True)
            raise
        finally:
            self.asked.at_once = False
        # A score that is not defined, as BLEU-4 of short texts, has no row.
        metrics = {f"{PREFIX}{name}": value for name, value in scores.items() if value is not None}
        self.log(metrics)
        told = self.args, self.state, self.control, metrics
        self.control = self.callback_handler.on_evaluate(*told)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether these are the best scores so far; see `rank`."""
        step = self.state.best_global_step
        before = [row for row in scored(self.state.log_history) if row["step"] == step]
        is_best = not before or rank(metrics, self.objective) > rank(before[-1], self.objective)
        if is_best:
            self.state.best_metric = metrics.get(f"{PREFIX}{self.objective.best}")
            self.state.best_global_step = self.state.global_step
        return is_best

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._save_step()

    def _save_step(self, *, unscored: bool = False) -> None:
        """Write a checkpoint, from which training goes on as if it had not been interrupted.

        Args:
            unscored: The step is to be scored on dev, which was interrupted.
        """
        with self.ranks.as_one():
            self.watch.look()
        step, best = self.state.global_step, self.state.best_global_step
        if self._written != (step, False):
            self.ranks.first(partial(self._write, unscored))
        if best:
            self.state.best_model_checkpoint = str(self._checkpoint(best))
        self._saved, self._written = (step, time.monotonic()), (step, unscored)

    def _write(self, unscored: bool) -> None:
        step = self.state.global_step
        checkpoint = self._checkpoint(step)
        for name, value in self.model.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise InputError(
                    f"stages.{self.stage.name}: found NaN or infinite values in {name} after step"
                    f" {step}, which is not saved: lower learning_rates"
                )
        losses = self.watch.losses
        progress = Progress(float(self._tr_loss), self._globalstep_last_logged, unscored, losses)
        with naming(checkpoint), written_whole(checkpoint) as partial_folder:
            self._saving_to = partial_folder.parent
            try:
                super()._save_checkpoint(self.model, None)
            finally:
                self._saving_to = None
            progress.write(partial_folder)
        rotate(self._folder, step, self.state.best_global_step, self.keep)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._saving_to or self.args.output_dir)

    @property
    def saved_step(self) -> int:
        """The step after which a checkpoint was written last; 0: none was."""
        return self._saved[0]

    @property
    def _folder(self) -> Path:
        return Path(self.args.output_dir)

    def _checkpoint(self, step: int) -> Path:
        return self._folder / f"checkpoint-{step}"

    def _load_best_model(self) -> None:
        if fault := find_fault(Path(self.state.best_model_checkpoint), weights_only=True):
            note(f"{fault}: the best checkpoint is lost, the model is that of the last epoch")
        else:
            super()._load_best_model()


class _GoOn(TrainerCallback):
    """Calls `StageTrainer.go_on` when all others are ready."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self.trainer.go_on(state)
