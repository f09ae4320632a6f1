"""What a run shows and records while it trains: one progress display and `metrics.jsonl`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from unglossed.errors import note
from unglossed.files import naming, write_text
from unglossed.training.checkpoint import find_weights_fault


@contextmanager
def tensorboard(folder: Path) -> Iterator[SummaryWriter]:
    """A writer of TensorBoard's files.

    It writes in a thread of its own, which would print a traceback where the disk is full; what
    happened there is raised again by the next call.

    Args:
        folder: where the files lie.

    Raises:
        OSError: the disk is full; names the folder.
    """
    before = threading.excepthook

    def report(failed: threading.ExceptHookArgs) -> None:
        of_writer = type(failed.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(failed.exc_value, OSError)):
            before(failed)

    threading.excepthook = report
    try:
        with naming(folder):
            yield SummaryWriter(str(folder))
    finally:
        threading.excepthook = before


METRICS_FILE = "metrics.jsonl"
DATA_WAIT = "data_wait"
"""Share of the time of training, 0..1, that waited for data: the machine's, not the run's."""
SHOWN = {
    "loss": "loss",
    "eval_bleu4": "dev BLEU-4",
    "eval_word_error_rate": "dev WER",
    "eval_retrieval": "dev retrieval",
    DATA_WAIT: "waits for data",
}
"""What the progress display shows, and under which name."""


class MetricsFile(TrainerCallback):
    """Appends every logged value to `metrics.jsonl`: one JSON object a line, with epoch and step.

    What differs from machine to machine is left out: two runs of a seed give the same file.
    After a resume the lines beyond the checkpoint's step are dropped, so that none is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_FILE

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Drop lines beyond the checkpoint that a resumed run starts from."""
        kept = [row for row in read_metrics(self.path) if row["step"] <= state.global_step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Append the logged values."""
        if logs is None or "train_runtime" in logs:
            return  # the trainer's closing summary knows only what happened since the last resume
        row = {"epoch": round(state.epoch or 0, 4), "step": state.global_step, **logs}
        row.pop(DATA_WAIT, None)
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; none where there is no file.

    Lines that are no rows are left out: the last one may be cut by a kill, others are damaged.
    """
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


class Resumption(TrainerCallback):
    """Puts right what the trainer takes from a checkpoint as it was written.

    That is where the best checkpoint lies, as a run may have been moved, and whether it is whole;
    and the learning rates, which it plans anew where there are to be more epochs than before.
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **_: Any,
    ) -> None:
        """Look for the best checkpoint; set the learning rates of the step that comes."""
        if state.best_global_step:
            best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
            fault = find_weights_fault(best)
            if fault is None:
                state.best_model_checkpoint = str(best)
            else:
                note(f"{fault}: the best one is chosen among the epochs that follow, or the last")
                state.best_model_checkpoint = state.best_global_step = state.best_metric = None
        if state.global_step:
            plan = getattr(lr_scheduler, "scheduler", lr_scheduler)
            rates = zip(plan.base_lrs, plan.lr_lambdas, strict=True)
            for group, (rate, factor) in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(plan.last_epoch)


class ProgressDisplay(TrainerCallback):
    """Shows a stage as one line of a rich progress display: steps, loss, the score on dev.

    Where there is no terminal to draw on, a line is printed after each epoch instead.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress = progress
        self.name = name
        self.task: TaskID | None = None
        self.values: dict[str, str] = {}
        self.started = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Show the stage's line."""
        self.started = time.monotonic()
        self.task = self.progress.add_task(
            self.name, total=state.max_steps, completed=state.global_step
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar on."""
        assert self.task is not None
        self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the newest loss and score."""
        if logs is None or "train_runtime" in logs:
            return
        assert self.task is not None
        for key, label in SHOWN.items():
            if logs.get(key) is not None:
                self.values[label] = f"{label} {logs[key]:.2f}"
        described = ", ".join([f"epoch {state.epoch or 0:.0f}", *self.values.values()])
        self.progress.update(self.task, description=f"{self.name} ({described})")
        # Where an epoch is scored its loss is logged first, then its scores: one line has both.
        half = "loss" in logs and control.should_evaluate
        if self.values and not half and not self.progress.console.is_terminal:
            self._print_line(state)
            self.values.clear()

    def _print_line(self, state: TrainerState) -> None:
        epochs = f"epoch {state.epoch or 0:.0f} of {state.num_train_epochs:.0f}"
        told = ", ".join([epochs, *self.values.values()])
        print_line(self.progress, f"{self.name}: {told}", self.started)


def print_line(progress: Progress, line: str, started: float) -> None:
    """Print a line with the time since `started`, of `time.monotonic`, beside the display."""
    passed = timedelta(seconds=round(time.monotonic() - started))
    progress.console.print(f"{line}, {passed}", markup=False, highlight=False, soft_wrap=True)
