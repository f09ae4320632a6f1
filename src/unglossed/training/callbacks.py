"""What a run shows and records while it trains: one progress display and `metrics.jsonl`.

And, where a stage asks for it, norms of gradients and parameters (FLa-LLM, Figure 2), in the last
layer of the encoder and in that of the language model, where these are trained.
`reproduce/figures.py` draws them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import Progress, TaskID
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerState

from unglossed.errors import note
from unglossed.files import naming, whole_file, write_text
from unglossed.models.language_model import LanguageModel
from unglossed.models.speech import SpeechEncoder
from unglossed.models.visual import VisualEncoder
from unglossed.training.checkpoint import find_fault
from unglossed.training.selection import PREFIX

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
def tensorboard(folder: Path, from_step: int | None = None) -> Iterator[SummaryWriter]:
    """A writer of TensorBoard's files in a folder; what is there from a step on is written anew.

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
            yield SummaryWriter(str(folder), purge_step=from_step)
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


def _is_score(key: str) -> bool:
    return key.startswith(PREFIX)


class RowsFile:
    """A file to which training adds rows, one JSON object a line, with epoch and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, state: TrainerState) -> None:
        """Drop the rows beyond the checkpoint that a resumed run starts from."""
        step = state.global_step
        scored = {row["step"] for row in state.log_history if any(map(_is_score, row))}
        kept = [
            row
            for row in read_metrics(self.path)
            # What was scored after the checkpoint was written is scored again.
            if row["step"] < step
            or (row["step"] == step and (step in scored or not any(map(_is_score, row))))
        ]
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


NORMS_FILE = "norms.jsonl"
START_FILE = "norms-start.safetensors"


class NormsFile(TrainerCallback):
    """Writes the norms of every so many steps to `norms.jsonl` and to TensorBoard.

    A row has `epoch`, `step` and, for each trained part (`encoder`, `language_model`) of its last
    layer: `<part>_gradient`, the norm of the gradient of the whole batch before any clipping;
    `<part>_parameters`, the norm of the parameters that it was taken at; `<part>_change`, their
    distance from those at the stage's start, divided by the norm of these.

    A resumed run drops the rows beyond its checkpoint; the parameters of the start are kept in a
    file beside the rows. With several processes the gradient is the first one's own.

    Args:
        folder: Of the stage.
        every: Steps from one row to the next; the first step has one.
        writer: Of the stage's TensorBoard files.
    """

    def __init__(self, folder: Path, every: int, writer: SummaryWriter) -> None:
        self.rows = RowsFile(folder / NORMS_FILE)
        self.start_file = folder / START_FILE
        self.every = every
        self.writer = writer
        self.layers: dict[str, dict[str, nn.Parameter]] = {}
        self.start: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self.row: dict[str, float] = {}
        self.due = False

    def on_train_begin(
        self, args: Any, state: TrainerState, control: Any, model: nn.Module, **_: Any
    ) -> None:
        """Find the layers, watch their gradients, and keep or read the parameters of the start."""
        self.rows.begin(state)
        self.layers = {
            part: {f"{part}.{name}": weight for name, weight in layer.items()}
            for part, layer in trained_layers(model).items()
        }
        weights = {name: weight for layer in self.layers.values() for name, weight in layer.items()}
        if state.global_step == 0:
            self._keep(weights)
        try:
            self.start = load_file(self.start_file)
        except (OSError, SafetensorError):
            note(f"{self.start_file}: is missing or damaged; changes are measured from here on")
            self.start = self._keep(weights)
        for name, weight in weights.items():
            self.start[name] = self.start[name].to(weight.device)
            # Only here is a gradient seen unclipped; of accumulated batches the last call has all.
            watch: Any = weight.register_post_accumulate_grad_hook  # torch gives it no types
            watch(self._watch(name))

    def _keep(self, weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        start = {name: weight.detach().clone().contiguous() for name, weight in weights.items()}
        with whole_file(self.start_file) as partial:
            save_file(start, partial)
        return start

    def _watch(self, name: str) -> Callable[[Tensor], None]:
        def watch(weight: Tensor) -> None:
            if self.due and weight.grad is not None:
                self.squares[name] = _square(weight.grad)

        return watch

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Decide whether this step is measured."""
        self.due = state.global_step % self.every == 0
        self.squares.clear()

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Measure the parameters before they are moved."""
        for part, layer in self.layers.items() if self.due else ():
            gradient = (self.squares[name] for name in layer if name in self.squares)
            change = (_square(weight - self.start[name]) for name, weight in layer.items())
            self.row[f"{part}_gradient"] = _root(gradient)
            self.row[f"{part}_parameters"] = _root(map(_square, layer.values()))
            self.row[f"{part}_change"] = _root(change) / _root(
                _square(self.start[name]) for name in layer
            )

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Write the step's row."""
        if self.row:
            self.rows.add(state, self.row)
            for name, value in self.row.items():
                self.writer.add_scalar(f"norms/{name}", value, state.global_step)
            self.row = {}


def trained_layers(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Trained parameters, by name, of the last layer of each part; a frozen part is left out.

    The last layer of a visual encoder is its temporal module, if it has one, that of the others
    their last block.

    Args:
        model: A translator, or a language model alone.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, VisualEncoder):
            has_temporal = any(True for _ in module.temporal.parameters())
            found["encoder"] = module.temporal if has_temporal else _last_block(module.backbone)
        elif isinstance(module, SpeechEncoder):
            found["encoder"] = module.blocks[-1]
        elif isinstance(module, LanguageModel) and name == "language_model":
            found["language_model"] = _last_block(module.model.get_decoder())
    if not found:
        found["language_model"] = _last_block(model.get_decoder())  # type: ignore[operator]
    trained = {
        part: {name: weight for name, weight in layer.named_parameters() if weight.requires_grad}
        for part, layer in found.items()
    }
    return {part: layer for part, layer in trained.items() if layer}


def _last_block(stack: nn.Module) -> nn.Module:
    """The last of a model's blocks, whatever the architecture calls their list."""
    for module in (stack, *stack.children()):
        blocks = [child for child in module.children() if isinstance(child, nn.ModuleList)]
        if blocks:
            return max(blocks, key=len)[-1]
    return stack


def _square(values: Tensor) -> Tensor:
    return values.detach().float().square().sum()


def _root(squares: Iterable[Tensor]) -> float:
    found = list(squares)
    return float(torch.stack(found).sum().sqrt()) if found else 0.0
