"""A ResNet with little memory: the values, gradients and statistics of the plain one."""

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import profile
from transformers import ResNetConfig, ResNetModel

from unglossed.models.frugal import frugal_resnet, recompute
from unglossed.models.visual import use_in_place_relu

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
    return [output.float(), *gradients, *(buffer.float() for buffer in backbone.buffers())]


KINDS = pytest.mark.parametrize(
    "changes",
    [{}, {"layer_type": "bottleneck", "hidden_sizes": [16, 32]}, {"hidden_act": "gelu"}],
    ids=["basic", "bottleneck", "gelu"],
)


def plain_step(backbone: ResNetModel, pixels: Tensor, *, bfloat16: bool) -> list[Tensor]:
    again = copy.deepcopy(backbone)
    return step(again, lambda x: again(pixel_values=x).pooler_output, pixels, bfloat16=bfloat16)


def frugal_step(backbone: ResNetModel, pixels: Tensor, *, bfloat16: bool) -> list[Tensor]:
    again = copy.deepcopy(backbone)
    use_in_place_relu(again)
    return step(again, lambda x: frugal_resnet(again, x).pooler_output, pixels, bfloat16=bfloat16)


@KINDS
def test_little_memory_changes_no_number(changes: dict[str, Any]) -> None:
    backbone, pixels = build_backbone(**changes), draw_pixels()

    mine = frugal_step(backbone, pixels, bfloat16=False)
    theirs = plain_step(backbone, pixels, bfloat16=False)

    for one, two in zip(mine, theirs, strict=True):
        # Of the largest value: sums differ in order; worst seen: 8e-6.
        limit = 1e-4 * max(two.abs().max().item(), 1e-3)
        torch.testing.assert_close(one, two, atol=limit, rtol=0)


@KINDS
def test_in_bfloat16_little_memory_is_as_near_to_float32_as_the_plain_one(
    changes: dict[str, Any],
) -> None:
    backbone, pixels = build_backbone(**changes), draw_pixels().bfloat16()

    exact = plain_step(backbone, pixels.float(), bfloat16=False)
    mine = frugal_step(backbone, pixels, bfloat16=True)
    theirs = plain_step(backbone, pixels, bfloat16=True)

    def error(values: list[Tensor]) -> float:
        pairs = zip(values, exact, strict=True)
        shares = [(one - two).norm() / two.norm() for one, two in pairs if two.norm() > 0]
        return float(torch.stack(shares).mean())

    # Where rounding falls differs a little, by how much it is off does not.
    assert error(mine) < 1.1 * error(theirs)


def test_no_convolution_but_the_first_is_computed_twice() -> None:
    backbone = build_backbone()
    num_convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in backbone.modules())

    with profile() as recorded:
        torch.autograd.backward(frugal_resnet(backbone, draw_pixels(4)).pooler_output.sum())

    counts = [event.count for event in recorded.key_averages() if event.key in CONVOLUTIONS]
    assert sum(counts) == num_convolutions + 1


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


def test_of_what_is_computed_twice_nothing_is_kept() -> None:
    backbone = build_backbone()

    def bytes_in_use() -> int:
        gc.collect()
        found = (one for one in gc.get_objects() if isinstance(one, Tensor))
        return sum(one.nbytes for one in found if one.layout == torch.strided)

    pixels = draw_pixels()
    before = bytes_in_use()
    output = recompute(lambda x: frugal_resnet(backbone, x).pooler_output, backbone, pixels)

    # The output, and the state of the random numbers; one map of the stem has 1.6 MB.
    assert bytes_in_use() - before < output.nbytes + 10_000
