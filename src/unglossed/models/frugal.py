"""A ResNet that trains with half the memory of transformers' own: the same numbers and modules.

What a plain backward pass keeps of a frame is mostly what normalisation, ReLU and pooling put out.
That is cheap to compute again, so only what the convolutions put out is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import ResNetModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention

from unglossed.models.synced_norm import SyncedNorm

KEPT = [torch.ops.aten.convolution.default]
FRAMES_AT_ONCE = 16
"""Of the stem's pooling, on a CPU: few enough that memory is used again and not asked for anew."""


def frugal_resnet(
    backbone: ResNetModel, pixels: Tensor
) -> BaseModelOutputWithPoolingAndNoAttention:
    """What `backbone(pixels)` gives, for a backward pass of little memory.

    Args:
        backbone: a ResNet; its modules and weights are used as they are.
        pixels: (frames, 3, height, width), in the number format to compute in.
    """
    hidden = _stem(backbone, pixels)
    for stage in backbone.encoder.stages:
        for layer in stage.layers:
            hidden = checkpoint(
                layer, hidden, use_reentrant=False, context_fn=partial(_keep_convolutions, layer)
            )
    return BaseModelOutputWithPoolingAndNoAttention(hidden, backbone.pooler(hidden))


def recompute(work: Callable[[Tensor], Tensor], module: nn.Module, inputs: Tensor) -> Tensor:
    """`work(inputs)`, of which nothing is kept; the backward pass does it once more.

    Args:
        work: uses the module.
        module: whose normalisation statistics are not to move the second time.
        inputs: given to `work`.
    """

    def run(inputs: Tensor, _: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # the first time
            return work(inputs)
        with _still_statistics(module, nullcontext()):
            return work(inputs)

    # Reentrant: the first time has no gradients, so that checkpoints within `work` keep nothing.
    # It wants an input that has gradients, which frames have not.
    anchor = torch.zeros((), device=inputs.device, requires_grad=True)
    return checkpoint(run, inputs, anchor, use_reentrant=True)


Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def _keep_convolutions(module: nn.Module) -> Contexts:
    make: Callable[[list[Any]], Contexts] = create_selective_checkpoint_contexts
    first, again = make(KEPT)
    return first, _still_statistics(module, again)


@contextmanager
def _still_statistics(module: nn.Module, inner: AbstractContextManager[Any]) -> Iterator[None]:
    """Keep what is computed again from counting twice in the running statistics."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        with inner:
            yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _stem(backbone: ResNetModel, pixels: Tensor) -> Tensor:
    """Convolution, normalisation, ReLU, pooling: half of the memory of the whole network."""
    stem = backbone.embedder.embedder
    norm = stem.normalization
    alone = not isinstance(norm, SyncedNorm)
    if not (norm.training and alone and isinstance(stem.activation, nn.ReLU)):
        return backbone.embedder(pixels)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    run: Callable[..., Tensor] = _Stem.apply
    return run(pixels, stem.convolution.weight, norm.weight, norm.bias, norm)


class _Stem(torch.autograd.Function):
    """Convolution, batch normalisation in training, 3x3 maximum of stride 2, ReLU.

    Few frames at a time, so that memory is used again and not asked for anew; the statistics are
    those of all frames. ReLU and maximum change places, which changes neither value nor gradient:
    the ReLU has a quarter of the work. Kept are the output and where the maxima lie; the
    convolution, a fortieth of the work of a step, is computed again.
    """

    CONVOLUTION = ([2, 2], [3, 3], [1, 1], False, [0, 0], 1)
    """Stride, padding, dilation, transposed, output padding, groups."""
    POOL = ([3, 3], [2, 2], [1, 1], [1, 1], False)
    """Kernel, stride, padding, dilation, ceil mode."""

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm
    ) -> Tensor:
        kernel = kernel.to(pixels.dtype)
        on_cpu = pixels.device.type == "cpu"  # a GPU's memory is kept by torch, its cores are many
        parts = torch.split(pixels, FRAMES_AT_ONCE if on_cpu else len(pixels))
        with torch.autocast(pixels.device.type, enabled=False):
            maps = [_Stem.convolve(part, kernel) for part in parts]
        mean, variance = _statistics(maps, norm)
        positions = maps[0].shape[2] * maps[0].shape[3]
        small = torch.int16 if positions < 2**15 else torch.int32
        pooled, places = [], []
        for part in maps:
            normed = nn.functional.batch_norm(part, mean, variance, weight, bias, eps=norm.eps)
            highest, where = torch.ops.aten.max_pool2d_with_indices(normed, *_Stem.POOL)
            pooled.append(highest.relu_())
            places.append(where.to(small))
        output = torch.cat(pooled)
        ctx.eps, ctx.num_parts = norm.eps, len(parts)
        ctx.save_for_backward(
            kernel, weight, mean, torch.rsqrt(variance + norm.eps), output, *parts, *places
        )
        return output

    @staticmethod
    def convolve(pixels: Tensor, kernel: Tensor) -> Tensor:
        """What the convolution puts out."""
        return torch.convolution(pixels, kernel, None, *_Stem.CONVOLUTION)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernel, weight, mean, inverse, output, *lists = ctx.saved_tensors
        parts, places = lists[: ctx.num_parts], lists[ctx.num_parts :]
        maps = [_Stem.convolve(part, kernel) for part in parts]
        gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        grads = torch.split(gradient, [len(part) for part in parts])

        def spread(pooled: Tensor, part: Tensor, where: Tensor) -> Tensor:
            return torch.ops.aten.max_pool2d_with_indices_backward(
                pooled, part, *_Stem.POOL, where.long()
            )

        slope, offset = torch.zeros_like(weight), torch.zeros_like(weight)
        for pooled, part, where in zip(grads, maps, places, strict=True):
            _, more_slope, more_offset = torch.ops.aten.native_batch_norm_backward(
                *(spread(pooled, part, where), part, weight, None, None, mean, inverse),
                *(True, ctx.eps, [False, True, True]),
            )
            slope += more_slope
            offset += more_offset

        # Through the normalisation: scale * (gradient - mean of it - x's share), x's and the
        # constant share being one linear function of the map.
        num_values = sum(part.numel() for part in maps) / len(weight)
        scale = weight * inverse
        on_map = -scale * inverse * slope / num_values
        constant = -scale * offset / num_values - on_map * mean
        zero, one = torch.zeros_like(weight), torch.ones_like(weight)
        kernel_gradient = torch.zeros_like(kernel, dtype=torch.float32)
        for pooled, part, where, pixels in zip(grads, maps, places, parts, strict=True):
            scaled = nn.functional.batch_norm(pooled, zero, one, scale, zero, eps=0.0)
            through = nn.functional.batch_norm(part, zero, one, on_map, constant, eps=0.0)
            through += spread(scaled, part, where)
            kernel_gradient += torch.ops.aten.convolution_backward(
                through, pixels, kernel, None, *_Stem.CONVOLUTION, [False, True, False]
            )[1]
        return None, kernel_gradient, slope, offset, None


def _statistics(maps: list[Tensor], norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance (dim,) of all maps; the running ones move as `norm` would move them."""
    unused = torch.zeros_like(norm.bias), torch.zeros_like(norm.bias)  # tell that it is float32
    rows = [torch.ops.aten.batch_norm_update_stats(part, *unused, 0.0) for part in maps]
    means, variances = (torch.stack(column) for column in zip(*rows, strict=True))
    shares = torch.tensor([float(part.numel()) for part in maps], device=means.device)[:, None]
    shares /= shares.sum()
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    num_values = sum(part.numel() for part in maps) / len(mean)
    assert norm.running_mean is not None and norm.running_var is not None
    momentum = norm.momentum or 0.0
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (num_values / (num_values - 1)), momentum)
    return mean, variance
