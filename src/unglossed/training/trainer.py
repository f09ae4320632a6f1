"""The training loop of a stage: transformers' Seq2SeqTrainer, the paper's optimisers and scores."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
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
from unglossed.training.checkpoint import find_weights_fault, rotate, seal
from unglossed.training.damaged import Unreadable, refuse
from unglossed.training.data import UNREADABLE, Collator, EpochSampler, cut_batch
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.selection import PREFIX, rank, scored
from unglossed.training.settings import NEW_TOKENS, OptimizerSettings, StageSettings


def use_bfloat16(setting: str) -> bool:
    """Whether to compute in bfloat16: as `setting` says, or for `auto` where it is fast.

    Fast means that the GPU, or else the processor (AVX512-BF16 or AMX), has instructions for it.
    """
    if setting != "auto":
        return setting == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


DevScores = Callable[[], Mapping[str, float | None]]
POSITIONS = (1024, 16384)
"""Of a part of a batch where the recipe says nothing, on a processor and on a GPU: enough that
matrix products are at their quickest."""
PLAIN_ATTENTION = 128
"""Most positions at which attention is computed without a fused kernel, see `attention_for`."""
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
        stage: its settings.
        model: a `PartModel`, or a language model of transformers for the denoising objective.
        dataset: what it trains on; items are asked for by (epoch, index).
        collator: stacks items.
        arguments: see `stage_arguments`.
        dev_scores: scores of the model on the dev split, or None where the stage has none.
        callbacks: of transformers' kind.
        leave_out: told of a clip that cannot be read; the rest of its batch is trained on.
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
        self.dev_scores = dev_scores
        self.leave_out = leave_out
        self._logged_at: float | None = None
        self._seconds_waited = 0.0
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
        """The loader, which takes no chance from the generator that dropout draws from.

        It would once an epoch, or once a stage where it has workers of its own: their number would
        change the training.
        """
        loader: DataLoader[Any] = super().get_train_dataloader()
        getattr(loader, "base_dataloader", loader).generator = torch.Generator()
        return loader

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """One group a part, with its learning rate; biases and normalisation are not decayed."""
        if self.optimizer is None:
            self.optimizer = build_optimizer(self.stage, self.model)
        return self.optimizer

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The batches of the next step; how long they were waited for is noted.

        Clips that cannot be read are told of, and leave their batch.
        """
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
            InputError: the loss or its gradient is no number any more; nothing is saved of it.
        """
        if not all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "grad_norm")):
            raise InputError(
                f"stages.{self.stage.name}: the loss is no number any more in epoch"
                f" {math.ceil(self.state.epoch or 0)}: lower learning_rates, or look for damaged"
                " clips (unglossed corpus check --deep)"
            )
        if "loss" in logs and self._logged_at is not None:
            seconds = time.perf_counter() - self._logged_at
            logs = {**logs, DATA_WAIT: round(self._seconds_waited / seconds, 4)}
            self._logged_at, self._seconds_waited = None, 0.0  # what is scored now does not count
        super().log(logs, *arguments)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Forward and backward pass of a batch, in parts where that changes nothing but the time.

        That is where no batch normalisation is trained and the loss is a sum over rows. Processes
        side by side have to take as many parts each, so that with several there is one.
        """
        if not inputs:  # no clip of the batch can be read: a step that changes nothing
            return torch.zeros((), device=self.args.device)
        inputs = self._prepare_inputs(inputs)
        encodes = "frames" in inputs and "encoder" not in self.stage.frozen
        sums = OBJECTIVES[self.stage.objective].sums
        if encodes or not sums or self.accelerator.num_processes > 1:
            return super().training_step(model, inputs, num_items_in_batch)
        budget = self.stage.frame_budget or POSITIONS[self.args.device.type != "cpu"]
        losses = [
            super(StageTrainer, self).training_step(model, part, num_items_in_batch)
            for part in cut_batch(self._encoded(inputs), budget, self._positions)
        ]
        return torch.stack(losses).sum()

    def _encoded(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch with what the frozen encoder gives in the place of frames, if it has these."""
        if "frames" not in inputs:
            return inputs
        translator = self.accelerator.unwrap_model(self.model)
        with torch.no_grad(), self.accelerator.autocast():
            features, mask = translator.encode(inputs["frames"], inputs["lengths"])
        rest = {name: rows for name, rows in inputs.items() if name not in ("frames", "lengths")}
        return {**rest, "features": features, "mask": mask}

    def _positions(self, source: int) -> int:
        """Positions that the language model reads of so many features, or tokens."""
        model = self.accelerator.unwrap_model(self.model)
        return model.positions(source) if isinstance(model, Translator) else source

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of the stage's objective, over the tokens of the whole effective batch."""
        with attention_for(self.args, inputs):
            outputs = model(**inputs)
        count = num_items_in_batch
        if count is not None:  # of all processes, whose gradients are averaged
            count = count / self.accelerator.num_processes
        loss = OBJECTIVES[self.stage.objective].loss(outputs, inputs, self.stage, count)
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the dev split."""
        assert self.dev_scores is not None
        with torch.random.fork_rng():  # scoring on or off, training sees the same chance
            scores = self.dev_scores()
        # A score that is not defined, as BLEU-4 of short texts, has no row.
        metrics = {f"{PREFIX}{name}": value for name, value in scores.items() if value is not None}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether these are the best scores so far; see `selection.py`."""
        objective = OBJECTIVES[self.stage.objective]
        step = self.state.best_global_step
        before = [row for row in scored(self.state.log_history) if row["step"] == step]
        is_best = not before or rank(metrics, objective) > rank(before[-1], objective)
        if is_best:
            self.state.best_metric = metrics.get(f"{PREFIX}{objective.best}")
            self.state.best_global_step = self.state.global_step
        return is_best

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder, step = Path(self.args.output_dir), self.state.global_step
        checkpoint = folder / f"checkpoint-{step}"
        shutil.rmtree(checkpoint, ignore_errors=True)  # passed over when the run was resumed
        try:
            with naming(checkpoint):
                super()._save_checkpoint(model, trial)
                seal(checkpoint)
        except OSError:
            shutil.rmtree(checkpoint, ignore_errors=True)  # on a full disk every byte counts
            raise
        rotate(folder, step, self.state.best_global_step)

    def _load_best_model(self) -> None:
        if fault := find_weights_fault(Path(self.state.best_model_checkpoint)):
            note(f"{fault}: the best checkpoint is lost, the model is that of the last epoch")
            return
        super()._load_best_model()


def attention_for(
    arguments: Seq2SeqTrainingArguments, inputs: dict[str, Tensor]
) -> AbstractContextManager[None]:
    """How attention is computed while a batch is trained: its plain products, or as PyTorch likes.

    In bfloat16 PyTorch's fused kernel for processors takes two to three times as long as those over
    a few dozen positions, forward and backward; beyond `PLAIN_ATTENTION` it is the quicker one.

    Args:
        arguments: of the trainer.
        inputs: the batch.
    """
    if arguments.device.type != "cpu" or not arguments.bf16:
        return nullcontext()  # before lengths are looked at: a GPU would have to be waited for
    lengths = [int(rows.max()) for name, rows in inputs.items() if name == "lengths"]
    widths = [rows.shape[1] for name, rows in inputs.items() if name not in ("lengths", "frames")]
    if max(lengths + widths) > PLAIN_ATTENTION:
        return nullcontext()
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain


def build_optimizer(stage: StageSettings, model: nn.Module) -> torch.optim.Optimizer:
    """The stage's optimiser with one learning rate a part (FLa-LLM, section 4.2)."""
    groups = []
    for part, rate in stage.learning_rates.items():
        trained = _trained(part, model)
        for decay, vectors in ((stage.optimizer.weight_decay, False), (0.0, True)):
            chosen = [p for p in trained if (p.ndim < 2) == vectors]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return _optimizer(stage.optimizer, groups)


def _trained(part: str, model: Any) -> list[nn.Parameter]:
    """What a learning rate is for."""
    if not isinstance(model, PartModel):
        return [p for p in model.parameters() if p.requires_grad]
    if part == NEW_TOKENS:
        return [model.language_model.new_rows_parameter()]
    weights = model.get_submodule(part).named_parameters()
    return [p for name, p in weights if p.requires_grad and not name.startswith("new_tokens.")]


def _optimizer(settings: OptimizerSettings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, momentum=settings.momentum, nesterov=settings.nesterov, fused=True
        )
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, betas=settings.betas, fused=True)
