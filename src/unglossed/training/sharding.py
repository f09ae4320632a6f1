"""A language model that the processes of a training share out among them, by torch's FSDP2.

Each holds a part of every weight, of its gradient and of what the optimiser keeps of it, and
gathers a layer's weights for as long as it computes the layer. What scores, saves and loads sees a
whole model as ever: files are those of one process, and any number goes on from them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from unglossed.errors import InputError
from unglossed.models.translator import PartModel
from unglossed.ranks import Ranks
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.plan import StagePlan

FLAG = "--shard-model"


def check_sharding(plans: Iterable[StagePlan]) -> None:
    """Check that the language models of stages can be sharded, before the first is trained.

    Raises:
        InputError: One cannot.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise InputError(
            f"{FLAG}: found torch {torch.__version__}, expected one whose FSDP2 can sum gradients,"
            " such as 2.13"
        )
    for plan in plans:
        stage, writer = plan.settings, plan.language_model
        if writer is None:
            continue
        found = ""
        if not OBJECTIVES[stage.objective].shards:
            found = f"the objective {stage.objective}"
        elif writer.lora is not None:
            found = "a language model with LoRA"
        elif "language_model" in stage.frozen:
            found = "a frozen language model"
        elif stage.alignment is not None:
            found = "an alignment"
        elif stage.context is not None:
            found = "a context"
        elif stage.masked_features is not None:
            found = "masked_features"
        elif stage.unlikelihood:
            found = "unlikelihood"
        elif stage.norms_every:
            found = "norms_every"
        if found:
            raise InputError(
                f"{plan.where}: found {found}, expected a language model that is trained whole, by"
                f" translation or denoising, or no {FLAG}"
            )


class Shards:
    """The parts that the processes have of a language model.

    Args:
        model: Of the stage: a `PartModel`, or a language model of transformers alone. All processes
            have the same weights. It is moved to where the process computes, the language model
            layer by layer.
        ranks: The processes, for which torch's process group is open.
        bfloat16: Gather weights, and compute, in bfloat16; what is kept is float32 all the same,
            and so are sums of gradients.

    Attributes:
        model: What is to be trained, in which the language model is sharded.
    """

    def __init__(self, model: Any, ranks: Ranks, *, bfloat16: bool) -> None:
        self.model = model
        self.ranks = ranks
        self._outer = model if isinstance(model, PartModel) else None
        self._sharded: Any = model.language_model if self._outer is not None else model
        self._twin = _without_values(self._sharded)
        self._is_whole = False
        group = dist.group.WORLD
        assert group is not None
        mesh = DeviceMesh.from_group(group, ranks.device.type)
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None, reduce_dtype=torch.float32
        )
        for block in _blocks(self._sharded):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(self._sharded, mesh=mesh, mp_policy=policy)
        for child in model.children() if self._outer is not None else ():
            if child is not self._sharded:
                child.to(ranks.device)
        for module in self._sharded.modules():
            if isinstance(module, FSDPModule):
                # Gradients are parts of a sum: torch would take their mean.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        self._moments: dict[int, dict[str, Any]] = {}

    @contextmanager
    def whole(self, *, everywhere: bool = True, keep: bool = False) -> Iterator[nn.Module]:
        """The model with a whole language model, in the block.

        Args:
            everywhere: In each process, where it computes; else in the first process's memory,
                and what the others have is of no use.
            keep: The parts take up what the block makes of it, as it is in the first process.
        """
        if self._is_whole:
            yield self.model if self._outer is not None else self._twin
            return
        self._fill(everywhere)
        self._is_whole = True
        try:
            yield self._seen(self._twin)
            if keep:
                self._take()
        finally:
            self._is_whole = False
            self._seen(self._sharded)
            for weight in self._twin.parameters():
                weight.data = weight.new_empty(0)

    def end(self) -> nn.Module:
        """The model with a whole language model, which is trained no more."""
        self._fill(everywhere=True)
        self._is_whole = True
        for weight in self._sharded.parameters():
            weight.grad = None
        return self._seen(self._twin)

    def _seen(self, module: nn.Module) -> nn.Module:
        """Give the model this language model."""
        if self._outer is None:
            return module
        module.train(self._outer.language_model.training)
        self._outer.language_model = module
        return self._outer

    def _pairs(self) -> Iterator[tuple[nn.Parameter, Any]]:
        """Each weight of the whole model and its shard."""
        return zip(self._twin.parameters(), self._sharded.parameters(), strict=True)

    @torch.no_grad()
    def _fill(self, everywhere: bool) -> None:
        self._twin.to(self.ranks.device if everywhere else "cpu")  # buffers: weights have no values
        for weight, shard in self._pairs():
            value = shard.full_tensor()
            if everywhere:
                weight.data = value
            elif self.ranks.is_first:
                weight.data = value.cpu()

    @torch.no_grad()
    def _take(self) -> None:
        for weight, shard in self._pairs():
            shard.copy_(_spread(weight.data, shard))

    @torch.no_grad()
    def clip_gradients(self, parameters: Iterable[nn.Parameter], most: float) -> Tensor:
        """Norm of all gradients, those of the parts together; they are scaled down to `most`."""
        gradients = [one.grad for one in parameters if one.grad is not None]
        parts = [one.to_local() for one in gradients if isinstance(one, DTensor)]
        whole = [one for one in gradients if not isinstance(one, DTensor)]
        device = self.ranks.device
        norm = (self.ranks.sum(_squares(parts, device)) + _squares(whole, device)).sqrt()
        if most < float("inf"):
            factor = (most / (norm + 1e-6)).clamp(max=1.0)
            for gradient in (*parts, *whole):
                gradient.mul_(factor)
        return norm

    def keep_whole(self, optimizer: Optimizer) -> None:
        """Have an optimiser tell its state whole, as `gathered` has it, and read such a state."""

        def tell(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
            return {**state, "state": state["state"] | self._moments}

        def read(of: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
            weights = [weight for group in of.param_groups for weight in group["params"]]
            kept = {
                number: {key: _part_of(value, weights[number]) for key, value in held.items()}
                for number, held in state["state"].items()
            }
            return {**state, "state": kept}

        optimizer.register_state_dict_post_hook(tell)
        optimizer.register_load_state_dict_pre_hook(read)

    @contextmanager
    def gathered(self, optimizer: Optimizer) -> Iterator[None]:
        """Have the first process's optimiser tell a whole state in the block."""
        for number, held in optimizer.state_dict()["state"].items():
            self._moments[number] = {key: self._gathered(value) for key, value in held.items()}
        try:
            yield
        finally:
            self._moments = {}

    def _gathered(self, value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        whole = value.full_tensor()
        return whole.cpu() if self.ranks.is_first else None


def _without_values(module: nn.Module) -> Any:
    """A copy whose weights have no values yet; those that are tied are tied there too."""
    known: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach().new_empty(0), requires_grad=weight.requires_grad)
        for weight in module.parameters()
    }
    return copy.deepcopy(module, known)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a model: what is in its outermost lists. The rest is gathered for all of them.

    What is in a layer, as experts are, is not always computed by all processes.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


def _spread(value: Tensor, like: Any) -> Any:
    """This process's part of a tensor as the first process has it."""
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _part_of(value: Any, weight: Tensor) -> Any:
    """This process's part of what an optimiser keeps of a weight; a count stays as it is."""
    is_cut = isinstance(weight, DTensor) and isinstance(value, Tensor)
    is_whole = is_cut and value.shape == weight.shape and not isinstance(value, DTensor)
    return _spread(value, weight) if is_whole else value


def _squares(gradients: Iterable[Tensor], device: torch.device) -> Tensor:
    """Sum of the squares of all values."""
    norms = [torch.zeros((), device=device)]
    norms += [torch.linalg.vector_norm(one) for one in gradients]
    return torch.stack(norms).square().sum()
