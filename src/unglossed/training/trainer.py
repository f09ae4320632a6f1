"""The training loop of a stage: transformers' Seq2SeqTrainer, the paper's optimisers, the best.

The best checkpoint is that with the best score on dev. A score that ties, as BLEU-4 does at 0, or
is not defined says nothing about which epoch is better; the loss on dev then decides.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerControl

from unglossed.errors import InputError, note
from unglossed.files import naming
from unglossed.models.translator import PartModel, Translator
from unglossed.models.visual import VisualEncoder
from unglossed.training.callbacks import DATA_WAIT, Resumption
from unglossed.training.checkpoint import find_fault, rotate, seal
from unglossed.training.data import (
    UNREADABLE,
    Collator,
    EpochSampler,
    Unreadable,
    cut_batch,
    refuse,
)
from unglossed.training.features import use_bfloat16
from unglossed.training.objectives import OBJECTIVES, Objective
from unglossed.training.optimizers import KINDS, StepsInBackward
from unglossed.training.settings import NEW_TOKENS, StageSettings

DevScores = Callable[[], Mapping[str, float | None]]
POSITIONS = (1024, 16384)
"""Of a part of a batch where the recipe sets no budget, on a CPU and on a GPU: matrix products are
at their fastest with as many."""
PLAIN_ATTENTION = 128
"""Most positions at which attention is computed without a fused kernel, see `attention_for`."""
PREFIX = "eval_"
"""In front of the names of scores on dev, where they are logged."""
_NAMES = {"bleu4": "BLEU-4", "word_error_rate": "word error rate"}
SCHEDULES = {
    "cosine": "cosine_with_min_lr",
    "linear": "linear",
    "constant": "constant_with_warmup",
}


def stage_arguments(
    stage: StageSettings, folder: Path, *, steps_per_epoch: int, seed: int, num_workers: int
) -> Seq2SeqTrainingArguments:
    """Settings of a stage in the trainer's terms."""
    every = steps_per_epoch * stage.evaluate_every
    objective = OBJECTIVES[stage.objective]
    scored = objective.best is not None
    schedule = stage.schedule
    return Seq2SeqTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch_size,
        learning_rate=max(stage.learning_rates.values()),
        lr_scheduler_type=SCHEDULES[schedule.name],
        lr_scheduler_kwargs=(
            {"min_lr_rate": schedule.min_ratio} if schedule.name == "cosine" else None
        ),
        warmup_steps=math.ceil(schedule.warmup * steps_per_epoch * stage.epochs),
        max_grad_norm=stage.optimizer.max_grad_norm,
        eval_strategy="steps" if scored else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=scored,
        metric_for_best_model=objective.best,
        greater_is_better=not objective.lowest if scored else None,
        logging_strategy="steps",
        logging_steps=steps_per_epoch,
        logging_nan_inf_filter=False,
        report_to=[],
        bf16=use_bfloat16(stage.precision),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=num_workers,
        dataloader_persistent_workers=num_workers > 0,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        seed=seed,
        log_level="error",
    )


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
    ) -> None:
        self.stage = stage
        self.objective = OBJECTIVES[stage.objective]
        self.dev_scores = dev_scores
        self.leave_out = leave_out
        self._logged_at: float | None = None
        self._seconds_waited = 0.0
        self.in_backward: StepsInBackward | None = None
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=dataset,
            # The trainer asks for one where it evaluates; `evaluate` reads dev itself.
            eval_dataset=dataset if dev_scores else None,
            data_collator=collator,
            callbacks=[Resumption(), *callbacks],
        )
        for module in model.modules():
            if isinstance(module, VisualEncoder):
                module.frame_budget = stage.frame_budget
        self.args._n_gpu = min(self.args.n_gpu, 1)  # packed frames cannot be cut by DataParallel
        self.model_accepts_loss_kwargs = True  # has the trainer count the tokens of a whole batch

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Any]:
        return EpochSampler(len(self.train_dataset), self.args.seed)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The loader, with a random generator of its own.

        It would draw from the one that dropout uses, once an epoch or once a stage: the number of
        workers would change the training.
        """
        loader: DataLoader[Any] = super().get_train_dataloader()
        getattr(loader, "base_dataloader", loader).generator = torch.Generator()
        return loader

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
        alone = self.accelerator.num_processes == self.args.gradient_accumulation_steps == 1
        return wanted and alone and not settings.max_grad_norm and not self.stage.norms_every

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """See the trainer of transformers."""
        try:
            return super().train(*arguments, **settings)
        finally:
            if self.in_backward is not None:
                self.in_backward.close()

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The batches of the next step, without clips that cannot be read; measures the wait."""
        began = time.perf_counter()
        if self._logged_at is None:
            self._logged_at = began
        batches = super().get_batch_samples(*arguments)
        self._seconds_waited += time.perf_counter() - began
        for batch in batches[0]:
            for clip in batch.pop(UNREADABLE, ()):
                self.leave_out(clip)
        return batches

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
        rows = _scored(self.state.log_history)
        if not (patience and best) or sum(row["step"] > best for row in rows) < patience:
            super()._run_epoch(**settings)
            return
        self.control.should_training_stop = True
        note(
            f"stages.{self.stage.name}: the scores on dev have not risen in the last {patience}:"
            f" ends after epoch {self.state.epoch:.0f} of {self.stage.epochs}"
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward pass of a batch, in parts where that changes only the time.

        That is where no batch normalisation is trained and the loss is a sum over rows. Several
        processes would have to take as many parts each, so that they take whole batches.
        """
        if not inputs:  # no clip of the batch can be read: a step that changes nothing
            return torch.zeros((), device=self.args.device)
        inputs = self._prepare_inputs(inputs)
        encodes = "frames" in inputs and "encoder" not in self.stage.frozen
        sums = self.objective.sums and self.stage.alignment is None
        if encodes or not sums or self.accelerator.num_processes > 1:
            parts = [inputs]
        else:
            budget = self.stage.frame_budget or POSITIONS[self.args.device.type != "cpu"]
            parts = list(cut_batch(self._encoded(inputs), budget, self._positions))
        if self.in_backward is not None:
            self.in_backward.begin(active=len(parts) == 1)
        losses = [
            super(StageTrainer, self).training_step(model, part, num_items_in_batch)
            for part in parts
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

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
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the stage's objective, over the tokens of the whole effective batch."""
        with attention_for(self.args, inputs):
            outputs = model(**inputs)
        count = num_items_in_batch
        if count is not None:  # of all processes, whose gradients are averaged
            count = count / self.accelerator.num_processes
        loss = self.objective.loss(outputs, inputs, self.stage, count)
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the dev split."""
        assert self.dev_scores is not None
        with torch.random.fork_rng():  # scoring on or off, training draws the same
            scores = self.dev_scores()
        # A score that is not defined, as BLEU-4 of short texts, has no row.
        metrics = {f"{PREFIX}{name}": value for name, value in scores.items() if value is not None}
        self.log(metrics)
        told = self.args, self.state, self.control, metrics
        self.control = self.callback_handler.on_evaluate(*told)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether these are the best scores so far; see `rank`."""
        step = self.state.best_global_step
        before = [row for row in _scored(self.state.log_history) if row["step"] == step]
        is_best = not before or rank(metrics, self.objective) > rank(before[-1], self.objective)
        if is_best:
            self.state.best_metric = metrics.get(f"{PREFIX}{self.objective.best}")
            self.state.best_global_step = self.state.global_step
        return is_best

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder, step = Path(self.args.output_dir), self.state.global_step
        checkpoint = folder / f"checkpoint-{step}"
        shutil.rmtree(checkpoint, ignore_errors=True)  # skipped when the run was resumed
        try:
            with naming(checkpoint):
                super()._save_checkpoint(model, trial)
                seal(checkpoint)
        except OSError:
            shutil.rmtree(checkpoint, ignore_errors=True)  # on a full disk every byte counts
            raise
        rotate(folder, step, self.state.best_global_step)

    def _load_best_model(self) -> None:
        if fault := find_fault(Path(self.state.best_model_checkpoint), weights_only=True):
            note(f"{fault}: the best checkpoint is lost, the model is that of the last epoch")
        else:
            super()._load_best_model()


def attention_for(
    arguments: Seq2SeqTrainingArguments, inputs: dict[str, Tensor]
) -> AbstractContextManager[None]:
    """How attention is computed while a batch is trained: unfused, or as PyTorch chooses.

    In bfloat16 on a CPU PyTorch's fused kernel takes two to three times as long as plain matrix
    products over a few dozen positions, forward and backward; beyond `PLAIN_ATTENTION` it is
    faster.
    """
    if arguments.device.type != "cpu" or not arguments.bf16:
        return nullcontext()  # before lengths are read: that would wait for the GPU
    lengths = [int(rows.max()) for name, rows in inputs.items() if name == "lengths"]
    widths = [rows.shape[1] for name, rows in inputs.items() if name not in ("lengths", "frames")]
    if max(lengths + widths) > PLAIN_ATTENTION:
        return nullcontext()
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain


def build_optimizer(
    stage: StageSettings, model: nn.Module, *, one_by_one: bool = False
) -> torch.optim.Optimizer:
    """The stage's optimiser with one learning rate a part (FLa-LLM, section 4.2).

    Biases and normalisation are not decayed.

    Args:
        stage: Its settings.
        model: With the parts that are trained.
        one_by_one: For `StepsInBackward`; else it is torch's own, unless the stage's momentum is to
            be held in another number format.
    """
    groups: list[dict[str, Any]] = []
    for part, rate in stage.learning_rates.items():
        trained = _trained(part, model)
        for decay, vectors in ((stage.optimizer.weight_decay, False), (0.0, True)):
            chosen = [p for p in trained if (p.ndim < 2) == vectors]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    settings = stage.optimizer
    rounded = settings.momentum_dtype == "bfloat16"
    options: dict[str, Any] = {"fused": True}
    if settings.name == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    else:
        options |= {"betas": settings.betas}
    plain, stepwise = KINDS[settings.name]
    if not (one_by_one or rounded):
        return plain(groups, **options)
    optimizer = stepwise(groups, **options)
    optimizer.momentum_dtype = torch.bfloat16 if rounded else None
    return optimizer


def _trained(part: str, model: Any) -> list[nn.Parameter]:
    """What a learning rate is for."""
    if part == NEW_TOKENS:
        return [model.language_model.new_rows_parameter()]
    trained = model.get_submodule(part) if isinstance(model, PartModel) else model
    return [
        p
        for name, p in trained.named_parameters()
        if p.requires_grad and not name.startswith("new_tokens.")
    ]


def rank(scores: Mapping[str, Any], objective: Objective) -> tuple[float, float]:
    """A key that is larger for better scores on dev; one that is missing, None or NaN is worst."""
    score = _number(scores.get(f"{PREFIX}{objective.best}"))
    worst = -math.inf if objective.lowest else 0.0
    loss = _number(scores.get(f"{PREFIX}{objective.then}"))
    first = worst if score is None else -score if objective.lowest else score
    return first, -math.inf if loss is None else -loss


def _scored(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a trainer's log that hold scores on dev."""
    return [row for row in history if any(name.startswith(PREFIX) for name in row)]


def tell_choice(
    history: Sequence[Mapping[str, Any]], best_step: int | None, objective: Objective
) -> str | None:
    """Say how the best checkpoint was chosen, where its score tied or never rose."""
    rows = _scored(history)
    chosen = next((row for row in rows if row["step"] == best_step), None)
    if chosen is None or len(rows) < 2:
        return None
    names = (objective.best or "", objective.then)
    best, then = (_NAMES.get(name, name.replace("_", " ")) for name in names)
    score = _number(chosen.get(f"{PREFIX}{objective.best}"))
    shown = "not defined" if score is None else f"{score:.2f}"
    epoch = f"epoch {chosen['epoch']:.0f}"
    top = rank(chosen, objective)[0]
    tied = sum(rank(row, objective)[0] == top for row in rows)
    if tied > 1:
        how_often = f"all {tied}" if tied == len(rows) else f"{tied} of {len(rows)}"
        return (
            f"the {best} on dev is {shown} in {how_often} evaluations: among these the {then} on"
            f" dev decided, the model is that of {epoch}"
        )
    if chosen is rows[0]:
        return (
            f"the {best} on dev is never better than at first ({shown}): the model is that of"
            f" {epoch}"
        )
    return None


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
