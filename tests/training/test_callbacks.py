"""`metrics.jsonl`: one line a logged value, none twice after a resume."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from transformers import TrainerControl, TrainerState, TrainingArguments

from unglossed.training.callbacks import METRICS_FILE, MetricsFile, ProgressDisplay, read_metrics


def log(folder: Path, steps: list[int], resumed_at: int) -> None:
    """Log a loss for each step, as a training that starts from a checkpoint at `resumed_at`."""
    arguments, control = TrainingArguments(output_dir=str(folder)), TrainerControl()
    state = TrainerState(global_step=resumed_at)
    metrics = MetricsFile(folder)
    metrics.on_train_begin(arguments, state, control)
    for step in steps:
        state.global_step, state.epoch = step, step / 3
        metrics.on_log(arguments, state, control, logs={"loss": 1 / step})


def test_logged_values_are_lines_with_epoch_and_step(tmp_path: Path) -> None:
    log(tmp_path, [1, 2], resumed_at=0)

    assert read_metrics(tmp_path / METRICS_FILE) == [
        {"epoch": 0.3333, "step": 1, "loss": 1.0},
        {"epoch": 0.6667, "step": 2, "loss": 0.5},
    ]


def test_after_a_resume_the_lines_beyond_the_checkpoint_are_gone(tmp_path: Path) -> None:
    log(tmp_path, [1, 2, 3, 4], resumed_at=0)
    log(tmp_path, [3, 4, 5], resumed_at=2)

    assert [row["step"] for row in read_metrics(tmp_path / METRICS_FILE)] == [1, 2, 3, 4, 5]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    log(tmp_path, [1, 2], resumed_at=0)
    path = tmp_path / METRICS_FILE
    path.write_text(path.read_text()[:-9])

    assert [row["step"] for row in read_metrics(path)] == [1]
    log(tmp_path, [2], resumed_at=1)
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_a_damaged_line_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    log(tmp_path, [1, 2, 3, 4, 5], resumed_at=0)
    path = tmp_path / METRICS_FILE
    lines = path.read_bytes().splitlines()
    lines[1] = b'{"epoch": 0.\xff\x00'
    lines[2] = b"[3]"
    lines[3] = b'{"stop": 4}'
    path.write_bytes(b"\n".join(lines) + b"\n")

    assert [row["step"] for row in read_metrics(path)] == [1, 5]
    log(tmp_path, [6], resumed_at=5)
    assert [row["step"] for row in read_metrics(path)] == [1, 5, 6]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / METRICS_FILE) == []


def test_the_closing_summary_of_the_trainer_is_left_out(tmp_path: Path) -> None:
    metrics, state = MetricsFile(tmp_path), TrainerState(global_step=3)
    arguments, control = TrainingArguments(output_dir=str(tmp_path)), TrainerControl()
    metrics.on_train_begin(arguments, state, control)
    metrics.on_log(arguments, state, control, logs={"train_runtime": 3.0, "train_loss": 0.1})
    metrics.on_log(arguments, state, control, logs={"loss": 0.5})

    assert [row["loss"] for row in read_metrics(tmp_path / METRICS_FILE)] == [0.5]
    assert [path.name for path in tmp_path.iterdir()] == [METRICS_FILE]


def show(folder: Path, terminal: bool, logs: list[tuple[float, bool, dict[str, float]]]) -> str:
    """What is written while a stage logs: epoch, whether it is going to be scored, and values."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=60)
    arguments = TrainingArguments(output_dir=str(folder))
    state = TrainerState(max_steps=30, num_train_epochs=3)
    with Progress(console=console, auto_refresh=False) as progress:
        display = ProgressDisplay(progress, "visual_initialing")
        display.on_train_begin(arguments, state, TrainerControl())
        for epoch, scores_follow, values in logs:
            state.epoch = epoch
            control = TrainerControl(should_evaluate=scores_follow)
            display.on_log(arguments, state, control, logs=values)
        return file.getvalue()


SCORED = [
    (1.0, False, {"loss": 5.25}),
    (2.0, True, {"loss": 4.5}),
    (2.0, True, {"eval_bleu4": 12.345, "eval_loss": 3.0}),
    (3.0, False, {"loss": 4.0}),
    (3.0, False, {"train_runtime": 9.0, "train_loss": 4.6}),
]


def test_without_a_terminal_every_epoch_is_a_line(tmp_path: Path) -> None:
    lines = show(tmp_path, False, SCORED).splitlines()

    assert [re.sub(r"0:00:0\d$", "TIME", line) for line in lines] == [
        "visual_initialing: epoch 1 of 3, loss 5.25, TIME",
        "visual_initialing: epoch 2 of 3, loss 4.50, dev BLEU-4 12.35, TIME",
        "visual_initialing: epoch 3 of 3, loss 4.00, TIME",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_are_printed_only_without_a_terminal(tmp_path: Path, terminal: bool) -> None:
    assert ("epoch 1 of 3" in show(tmp_path, terminal, SCORED)) is not terminal
