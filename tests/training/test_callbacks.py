"""`metrics.jsonl`: one line a logged value, none twice after a resume."""

from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments

from unglossed.training.callbacks import METRICS_FILE, MetricsFile, read_metrics


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
