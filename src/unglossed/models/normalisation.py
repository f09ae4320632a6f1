"""Batch normalisation where a batch holds a single value a channel: it has no variance.

That is a clip of one frame, alone in its batch or in its chunk. PyTorch refuses to train there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def spare_single_values(module: nn.Module) -> None:
    """Let a module's batch normalisations take single values with their running statistics.

    In training, a batch of one value a channel is then normalised as in eval mode, and leaves the
    running statistics as they are: its own would be that value and a variance of 0. All other
    batches are normalised as before.

    Args:
        module: the layers in it are changed in place.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(_begin)
            norm.register_forward_hook(_end, always_call=True)


def _begin(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if norm.training and inputs[0].numel() == inputs[0].shape[1]:
        norm.training, norm.spared = False, True  # type: ignore[assignment]


def _end(norm: nn.Module, *_: Any) -> None:
    if getattr(norm, "spared", False):
        norm.training, norm.spared = True, False  # type: ignore[assignment]
