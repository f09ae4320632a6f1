"""What a run shows and records while it trains: one progress display and `metrics.jsonl`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, TaskID
from transformers import TrainerCallback, TrainerState

from unglossed.errors import note
from unglossed.files import naming, write_text
from unglossed.training.checkpoint import find_fault

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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


@contextmanager
def tensorboard(folder: Path) -> Iterator[SummaryWriter]:
    """A writer of TensorBoard's files in a folder.

    It writes in a thread, which would print a traceback where the disk is full; the error is raised
    again by the writer's next call.

    Raises:
        OSError: the disk is full; names the folder.
    """
    from torch.utils.tensorboard import SummaryWriter

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


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; none where there is no file.

    Damaged lines are left out: the last one may be truncated by a kill.
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


class RowsFile:
    """A file to which training adds rows, one JSON object a line, with epoch and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, state: TrainerState) -> None:
        """Drop the rows beyond the checkpoint that a resumed run starts from."""
        kept = [row for row in read_metrics(self.path) if row["step"] <= state.global_step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def add(self, state: TrainerState, values: Mapping[str, float]) -> None:
        """Append the values of a step."""
        row = {"epoch": round(state.epoch or 0, 4), "step": state.global_step, **values}
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class MetricsFile(TrainerCallback):
    """Writes every logged value to `metrics.jsonl`, but for those that depend on the machine.

    Two runs of a seed give the same file.
    """

    def __init__(self, folder: Path) -> None:
        self.file = RowsFile(folder / METRICS_FILE)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Drop what comes after the checkpoint."""
        self.file.begin(state)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Mapping[str, float], **_: Any
    ) -> None:
        """Append the logged values."""
        # The trainer's closing summary knows only what happened since the last resume.
        if "train_runtime" not in logs:
            self.file.add(state, {name: logs[name] for name in logs if name != DATA_WAIT})


class Resumption(TrainerCallback):
    """Corrects what the trainer takes from a checkpoint as it was written.

    That is where the best checkpoint lies, as a run may have been moved, and whether it is whole;
    and the learning rates, which it plans anew where the recipe now has more epochs.
    """

    def on_train_begin(
        self, args: Any, state: TrainerState, control: Any, optimizer: Any = None, **rest: Any
    ) -> None:
        """Look for the best checkpoint; set the learning rates of the next step."""
        if state.best_global_step:
            best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
            if fault := find_fault(best, weights_only=True):
                note(f"{fault}: the best one is chosen among the epochs that follow, or the last")
                state.best_model_checkpoint = state.best_global_step = state.best_metric = None
            else:
                state.best_model_checkpoint = str(best)
        if state.global_step:
            plan = getattr(rest["lr_scheduler"], "scheduler", rest["lr_scheduler"])
            rates = zip(plan.base_lrs, plan.lr_lambdas, strict=True)
            for group, (rate, factor) in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(plan.last_epoch)


class ProgressDisplay(TrainerCallback):
    """Shows a stage as one line of a rich progress display: steps, loss, the score on dev.

    Without a terminal a line is printed after each epoch instead.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress = progress
        self.name = name
        self.values: dict[str, str] = {}
        self.task: TaskID
        self.started: float

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Show the stage's line."""
        self.started = time.monotonic()
        done, total = state.global_step, state.max_steps
        self.task = self.progress.add_task(self.name, total=total, completed=done)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Move the bar on."""
        self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Mapping[str, float], **_: Any
    ) -> None:
        """Show the newest loss and score."""
        if "train_runtime" in logs:
            return
        for key, label in SHOWN.items():
            if logs.get(key) is not None:
                self.values[label] = f"{label} {logs[key]:.2f}"
        epoch = f"epoch {state.epoch or 0:.0f}"
        described = ", ".join([epoch, *self.values.values()])
        self.progress.update(self.task, description=f"{self.name} ({described})")
        # Where an epoch is scored its loss is logged first, then its scores: one line has both.
        half = "loss" in logs and control.should_evaluate
        if self.values and not half and not self.progress.console.is_terminal:
            told = ", ".join([f"{epoch} of {state.num_train_epochs:.0f}", *self.values.values()])
            print_line(self.progress, f"{self.name}: {told}", self.started)
            self.values.clear()


def print_line(progress: Progress, line: str, started: float) -> None:
    """Print a line with the time since `started`, of `time.monotonic`, beside the display."""
    passed = timedelta(seconds=round(time.monotonic() - started))
    progress.console.print(f"{line}, {passed}", markup=False, highlight=False, soft_wrap=True)
