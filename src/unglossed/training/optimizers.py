"""The optimisers of a stage, and their steps within the backward pass.

They are PyTorch's fused ones. What is added saves memory: the momentum may be held in bfloat16, and
a gradient may be used up as soon as it is there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from unglossed.errors import InputError
from unglossed.models.translator import PartModel
from unglossed.models.visual import VisualEncoder
from unglossed.ranks import is_shard
from unglossed.training.settings import NEW_TOKENS, StageSettings


class _OneByOne(Optimizer):
    """Steps of single parameters, in front of an optimiser of torch's, whose numbers they keep.

    With `momentum_dtype` the momentum is held in that format and rounded once a step, to the
    nearest; the step itself computes in float32. A checkpoint holds what is held.
    """

    momentum_name: ClassVar[str]
    momentum_dtype: torch.dtype | None = None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        assert closure is None
        for number, group in enumerate(self.param_groups):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.step_one(number, parameter)

    def step_one(self, number: int, parameter: Tensor) -> None:
        """Move a parameter, which has a gradient, of the group of this number."""
        state, name = self.state[parameter], self.momentum_name
        held = state.get(name)
        if held is not None:
            state[name] = held.to(parameter.dtype)
        groups = self.param_groups
        self.param_groups = [{**groups[number], "params": [parameter]}]
        try:
            super().step()
        finally:
            self.param_groups = groups
        if self.momentum_dtype is not None:
            moved = state[name]
            # A resumed run finds it in the format of the parameter, as torch loads it.
            same = held is not None and held.dtype == self.momentum_dtype
            state[name] = held.copy_(moved) if same else moved.to(self.momentum_dtype)


class _SGD(_OneByOne, SGD):
    momentum_name = "momentum_buffer"


class _Adam(_OneByOne, Adam):
    momentum_name = "exp_avg"


class _AdamW(_OneByOne, AdamW):
    momentum_name = "exp_avg"


KINDS: dict[str, tuple[Any, Any]] = {
    "sgd": (SGD, _SGD),
    "adam": (Adam, _Adam),
    "adamw": (AdamW, _AdamW),
}
"""Optimisers by name: torch's, and ours of single steps."""


class StepsInBackward:
    """Takes the steps of an optimiser in the backward pass: each as soon as its gradient is whole.

    The gradient is then let go, so that there are never many at once; numbers are those of a step
    after the backward pass. Left for that one are parameters of an image backbone, whose gradients
    come in parts where frames are trained chunk by chunk.

    Args:
        optimizer: Whose steps are taken, at the learning rates that it has at the time; of
            `build_optimizer` with `one_by_one`.
        model: That is trained.

    """

    def __init__(self, optimizer: Optimizer, model: nn.Module) -> None:
        assert isinstance(optimizer, _OneByOne)
        self._active = False
        self._moved: set[Tensor] = set()
        self._hooks: list[Any] = []
        self.optimizer = optimizer
        self.parameters = list(model.parameters())
        self._norms: dict[Tensor, Tensor] = {}
        in_parts = {
            parameter
            for module in model.modules()
            if isinstance(module, VisualEncoder)
            for parameter in module.backbone.parameters()
        }
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                if parameter not in in_parts:
                    hook: Any = parameter.register_post_accumulate_grad_hook  # torch gives no types
                    self._hooks.append(hook(partial(self._step, number)))

    def begin(self, *, active: bool) -> None:
        """Say before a backward pass whether it takes steps: the only one before weights move."""
        self._active = active
        self._moved.clear()

    def close(self) -> None:
        """Take no more steps; the weights hold on to this object, and it to them, until then."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _step(self, number: int, parameter: Tensor) -> None:
        """Move a weight whose gradient is whole.

        Raises:
            InputError: its gradient comes in parts, as behind reentrant checkpoints.
        """
        if self._active and parameter.grad is not None:
            if parameter in self._moved:
                raise InputError(
                    "optimizer.in_backward: found a weight whose gradient comes in parts, expected"
                    " false, or a part of the model that computes it at once"
                )
            self._moved.add(parameter)
            self._norms[parameter] = torch.linalg.vector_norm(parameter.grad)
            self.optimizer.step_one(number, parameter)
            parameter.grad = None

    def grad_norm(self) -> float:
        """Norm of all gradients since it was last asked for: used up, and still there."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                self._norms[parameter] = torch.linalg.vector_norm(parameter.grad)
        # In the model's order, as torch sums them up.
        norms = [self._norms[one] for one in self.parameters if one in self._norms]
        self._norms.clear()
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


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
        if any(is_shard(one) for group in groups for one in group["params"]):
            options["fused"] = False  # of shards torch has no such step
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
