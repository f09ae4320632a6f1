"""Norms of gradients and parameters while a stage trains (FLa-LLM, Figure 2).

Measured in the last layer of the encoder and in that of the language model, where these are
trained. `experiments/figures.py` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerState

from unglossed.errors import note
from unglossed.files import whole_file
from unglossed.models.language_model import LanguageModel
from unglossed.models.speech import SpeechEncoder
from unglossed.models.visual import VisualEncoder
from unglossed.training.callbacks import RowsFile

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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
