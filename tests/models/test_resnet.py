"""A ResNet with little memory: the values, gradients and statistics of the plain one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import profile
from transformers import ResNetConfig, ResNetModel

from unglossed.models.resnet import frugal_resnet, recompute, use_in_place_relu

CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward")
"""What really computes a convolution, as the profiler calls it."""


def build_backbone(**changes: Any) -> ResNetModel:
    torch.manual_seed(0)
    settings = {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [2, 1],
        "layer_type": "basic",
    }
    return ResNetModel(ResNetConfig(**settings | changes)).train()


def draw_pixels(num_frames: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_frames, 3, 40, 32, generator=generator).contiguous(
        memory_format=torch.channels_last
    )


def step(
    backbone: ResNetModel, run: Callable[[Tensor], Tensor], pixels: Tensor, *, bfloat16: bool
) -> list[Tensor]:
    """Output, gradients and running statistics of a forward and backward pass."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
        output = run(pixels)
    # A sum would have no gradient before a normalisation, but for rounding.
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    torch.autograd.backward((output.float() * weights).sum())
    gradients = [weight.grad for weight in backbone.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return [output.float(), *gradients, *backbone.buffers()]


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"layer_type": "bottleneck", "hidden_sizes": [16, 32]}, {"hidden_act": "gelu"}],
    ids=["basic", "bottleneck", "gelu"],
)
def test_little_memory_changes_no_number(changes: dict[str, Any], bfloat16: bool) -> None:
    plain = build_backbone(**changes)
    frugal = copy.deepcopy(plain)
    use_in_place_relu(frugal)
    pixels = draw_pixels()

    mine = step(frugal, lambda x: frugal_resnet(frugal, x).pooler_output, pixels, bfloat16=bfloat16)
    theirs = step(plain, lambda x: plain(pixel_values=x).pooler_output, pixels, bfloat16=bfloat16)

    for one, two in zip(mine, theirs, strict=True):
        scale = two.abs().max().item()
        # Of the largest value. In float32 two sums differ in order; worst seen: 8e-6.
        torch.testing.assert_close(one, two, atol=1e-4 * max(scale, 1e-3), rtol=0)


def test_no_convolution_is_computed_twice() -> None:
    backbone = build_backbone()
    num_convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in backbone.modules())

    with profile() as recorded:
        torch.autograd.backward(frugal_resnet(backbone, draw_pixels(4)).pooler_output.sum())

    counts = [event.count for event in recorded.key_averages() if event.key in CONVOLUTIONS]
    assert sum(counts) == num_convolutions


@pytest.mark.parametrize("frugal", [False, True])
def test_what_is_computed_twice_counts_once_in_the_statistics(frugal: bool) -> None:
    once = build_backbone()
    twice = copy.deepcopy(once)
    chunks = draw_pixels().tensor_split(3)

    def encode(backbone: ResNetModel, pixels: Tensor) -> Tensor:
        if frugal:
            return frugal_resnet(backbone, pixels).pooler_output
        return backbone(pixel_values=pixels).pooler_output

    def kept(_: Tensor) -> Tensor:
        return torch.cat([encode(once, chunk) for chunk in chunks])

    def recomputed(_: Tensor) -> Tensor:
        work = [recompute(lambda pixels: encode(twice, pixels), twice, one) for one in chunks]
        return torch.cat(work)

    mine = step(twice, recomputed, chunks[0], bfloat16=True)
    theirs = step(once, kept, chunks[0], bfloat16=True)

    assert all(torch.equal(one, two) for one, two in zip(mine, theirs, strict=True))
    norm = twice.embedder.embedder.normalization
    assert norm.num_batches_tracked == len(chunks)
    assert norm.momentum == 0.1
