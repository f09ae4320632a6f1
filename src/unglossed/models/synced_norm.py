"""Batch normalisation over the batches of all processes of a training.

Its mean and variance, and what the backward pass needs of them, are those of one process with all
rows. torch's SyncBatchNorm does the same, on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unglossed.ranks import Ranks


def sync_norms(model: nn.Module, ranks: Ranks) -> None:
    """Let a model's batch normalisations count over all processes; weights stay where they are."""
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, _BatchNorm) and not isinstance(norm, SyncedNorm):
                setattr(parent, name, SyncedNorm(norm, ranks))


class SyncedNorm(_BatchNorm):
    """A batch normalisation over all processes, instead of one over its own batch.

    In training a batch of one value a channel, over all processes, is normalised with the running
    statistics, see `spare_single_values`.

    Args:
        norm: Its weights and running statistics become those of this one.
        ranks: The processes.
    """

    def __init__(self, norm: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(self, name, getattr(norm, name))
        self.ranks = ranks
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (batch, channels, ...)."""
        if not self.training:
            return super().forward(input)
        run: Any = _Normalise.apply
        found: Tensor = run(input, self.weight, self.bias, self)
        return found


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, norm: SyncedNorm) -> Tensor:
        mean, variance, count = _statistics(values, norm)
        assert norm.running_mean is not None and norm.running_var is not None
        ctx.count, ctx.eps, ctx.ranks, ctx.idle = count, norm.eps, norm.ranks, norm.ranks.idle
        if count <= 1:
            mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        else:
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
            momentum = norm.momentum or 0.0
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(variance + norm.eps))
        return nn.functional.batch_norm(values, mean, variance, weight, bias, eps=norm.eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, inverse = ctx.saved_tensors
        slope, offset = _sums(gradient, values, weight, mean, inverse, ctx.eps)
        scale = weight * inverse
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        through = nn.functional.batch_norm(gradient, zero, one, scale, zero, eps=0.0)
        if ctx.count > 1:  # else mean and variance are constants
            totals = ctx.ranks.sum(torch.stack([slope, offset]))
            if ctx.idle:  # its values are not in the statistics
                return through, slope, offset, None
            on_value = -scale * inverse * totals[0] / ctx.count
            constant = -scale * totals[1] / ctx.count - on_value * mean
            through = through + nn.functional.batch_norm(
                values, zero, one, on_value, constant, eps=0.0
            )
        return through, slope, offset, None


def _statistics(values: Tensor, norm: SyncedNorm) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (channels,) over all processes, in float32, and how many values.

    The second sum is taken around the mean, as that of squares would lose digits.
    """
    dims = [dim for dim in range(values.ndim) if dim != 1]
    rows = values.detach().float()
    own = rows.numel() // rows.shape[1]
    if norm.ranks.idle:
        own, rows = 0, rows[:0]
    count = int(norm.ranks.sum(torch.tensor([own])))
    mean = norm.ranks.sum(rows.sum(dims)) / max(count, 1)
    shape = [1, -1, *[1] * (rows.ndim - 2)]
    return mean, norm.ranks.sum((rows - mean.view(shape)).square().sum(dims)) / max(count, 1), count


def _sums(
    gradient: Tensor, values: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients (channels,) of weight and bias, from this process's values."""
    if not values.numel():
        return torch.zeros_like(mean), torch.zeros_like(mean)
    _, slope, offset = torch.ops.aten.native_batch_norm_backward(
        *(gradient, values, weight, None, None, mean, inverse, True, eps, [False, True, True])
    )
    return slope, offset
