"""Attention over short rows while training: PyTorch's fused kernel against its plain products.

    python benchmarks/attention.py [--positions 12 64 128 256] [--pairs 5]

One layer of attention, 8 heads of 64, forward and backward in bfloat16 over 1,024 positions in all,
in rows of so many. Baseline: the fused kernel, which PyTorch takes by itself. Ours: what
`training/attention.py` has it take up to `PLAIN_ATTENTION` positions. Both give the same within
bfloat16's rounding.
"""

from __future__ import annotations

import argparse

import torch
from pairs import time_pairs
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from unglossed.training.attention import PLAIN_ATTENTION

POSITIONS = 1024
HEADS, WIDTH = 8, 64
REPEATS = 10


def draw(length: int) -> list[Tensor]:
    """Query, key and value (rows, heads, length, width)."""
    generator = torch.Generator().manual_seed(0)
    shape = (max(1, POSITIONS // length), length, HEADS, WIDTH)
    drawn = [torch.randn(shape, generator=generator).bfloat16() for _ in range(3)]
    return [values.transpose(1, 2).requires_grad_() for values in drawn]


def attend(inputs: list[Tensor], kernel: SDPBackend, repeats: int = 1) -> Tensor:
    """The result of attention by a kernel, its gradients taken too."""
    size, _, length, _ = inputs[0].shape
    mask = torch.zeros(size, 1, length, length, dtype=torch.bfloat16)
    with sdpa_kernel(kernel):
        for _ in range(repeats):
            result = scaled_dot_product_attention(*inputs, attn_mask=mask)
            result.sum().backward()
    return result.detach()


def main() -> None:
    """Time both for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, nargs="+", default=[12, 32, 64, 128, 256, 512])
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    print(f"plain up to {PLAIN_ATTENTION} positions")
    for length in chosen.positions:
        inputs = draw(length)
        fused = attend(inputs, SDPBackend.FLASH_ATTENTION)
        apart = (attend(inputs, SDPBackend.MATH) - fused).abs().max() / fused.abs().max()
        ratio = time_pairs(
            lambda inputs=inputs: attend(inputs, SDPBackend.FLASH_ATTENTION, REPEATS),
            lambda inputs=inputs: attend(inputs, SDPBackend.MATH, REPEATS),
            chosen.pairs,
        )
        print(f"rows of {length}: plain {ratio}; apart by {apart:.4f} of the largest")


if __name__ == "__main__":
    main()
