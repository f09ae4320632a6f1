"""The settings of a stage in the terms of transformers' trainer."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import Seq2SeqTrainingArguments

from unglossed.ranks import here
from unglossed.training.features import use_bfloat16
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import StageSettings

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
    arguments = Seq2SeqTrainingArguments(
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
    if here().count > 1 and torch.cuda.is_available():
        # It knows of one process alone, and would take the first GPU for all of a machine's.
        arguments.__dict__["_setup_devices"] = here().device
        torch.cuda.set_device(here().device)
    return arguments
