"""A ResNet of transformers trained with half the memory: the same numbers from the same modules.

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

KEPT = [torch.ops.aten.convolution.default]
FRAMES_AT_ONCE = 16
"""Of the stem's pooling: few enough that memory is used again and not asked for anew."""


def use_in_place_relu(backbone: ResNetModel) -> None:
    """Let each ReLU write over its input, which is a normalisation's output that nobody needs."""
    for module in backbone.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True


def frugal_resnet(
    backbone: ResNetModel, pixels: Tensor
) -> BaseModelOutputWithPoolingAndNoAttention:
    """What `backbone(pixels)` gives, for a backward pass of little memory.

    Args:
        backbone: a ResNet; its modules and weights are used as they are.
        pixels: (frames, 3, height, width).
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
    contexts = partial(_keep_nothing, module)
    return checkpoint(work, inputs, use_reentrant=False, context_fn=contexts)


Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def _keep_nothing(module: nn.Module) -> Contexts:
    return nullcontext(), _still_statistics(module, nullcontext())


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
    if not (norm.training and isinstance(stem.activation, nn.ReLU)):
        return backbone.embedder(pixels)
    hidden = stem.convolution(pixels)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    run: Callable[..., Tensor] = _NormPoolRelu.apply
    return run(
        hidden, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )


class _NormPoolRelu(torch.autograd.Function):
    """Batch normalisation in training, 3x3 maximum of stride 2, ReLU.

    ReLU and maximum change places, which changes neither value nor gradient: the ReLU has a
    quarter of the work. Kept are the input, the output, and where the maxima lie.
    """

    POOL = ([3, 3], [2, 2], [1, 1], [1, 1], False)
    """Kernel, stride, padding, dilation, ceil mode."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        mean, variance = torch.ops.aten.batch_norm_update_stats(
            hidden, running_mean, running_var, momentum
        )
        positions = hidden.shape[2] * hidden.shape[3]
        small = torch.int16 if positions < 2**15 else torch.int32
        pooled, places = [], []
        for part in torch.split(hidden, FRAMES_AT_ONCE):
            normed = nn.functional.batch_norm(part, mean, variance, weight, bias, eps=eps)
            highest, where = torch.ops.aten.max_pool2d_with_indices(normed, *_NormPoolRelu.POOL)
            pooled.append(highest.relu_())
            places.append(where.to(small))
        output = torch.cat(pooled)
        ctx.eps = eps
        ctx.save_for_backward(hidden, weight, mean, variance, output, torch.cat(places))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, mean, variance, output, places = ctx.saved_tensors
        spread = torch.empty_like(hidden)
        for target, grads, out, part, where in zip(
            *(
                torch.split(tensor, FRAMES_AT_ONCE)
                for tensor in (spread, gradient, output, hidden, places)
            ),
            strict=True,
        ):
            through = torch.ops.aten.threshold_backward(grads, out, 0)
            target.copy_(
                torch.ops.aten.max_pool2d_with_indices_backward(
                    through, part, *_NormPoolRelu.POOL, where.long()
                )
            )
        inverse = torch.rsqrt(variance + ctx.eps)
        gradients = torch.ops.aten.native_batch_norm_backward(
            spread, hidden, weight, None, None, mean, inverse, True, ctx.eps, [True] * 3
        )
        return *gradients, None, None, None, None
