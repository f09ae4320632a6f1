"""Which number format a stage computes in."""

from __future__ import annotations

import torch


def use_bfloat16(setting: str) -> bool:
    """Whether to compute in bfloat16: as `setting` says, or for `auto` where it is fast.

    Fast means that the GPU, or else the processor (AVX512-BF16 or AMX), has instructions for it.
    """
    if setting != "auto":
        return setting == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
