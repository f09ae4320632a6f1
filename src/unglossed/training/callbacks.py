"""What a run shows and records while it trains: one progress display and `metrics.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from unglossed.files import write_text

METRICS_FILE = "metrics.jsonl"
SHOWN = {
    "loss": "loss",
    "eval_bleu4": "dev BLEU-4",
    "eval_word_error_rate": "dev WER",
    "eval_retrieval": "dev retrieval",
}
"""What the progress display shows, and under which name."""


class MetricsFile(TrainerCallback):
    """Appends every logged value to `metrics.jsonl`: one JSON object a line, with epoch and step.

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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; none where there is no file. A cut last line is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class ProgressDisplay(TrainerCallback):
    """Shows a stage as one line of a rich progress display: steps, loss, the score on dev."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress = progress
        self.name = name
        self.task: TaskID | None = None
        self.values: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Show the stage's line."""
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
        assert self.task is not None
        for key, label in SHOWN.items():
            if logs and key in logs:
                self.values[label] = f"{label} {logs[key]:.2f}"
        described = ", ".join([f"epoch {state.epoch or 0:.0f}", *self.values.values()])
        self.progress.update(self.task, description=f"{self.name} ({described})")
