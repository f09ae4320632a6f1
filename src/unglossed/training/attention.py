"""How attention is computed while a batch is trained on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Seq2SeqTrainingArguments

PLAIN_ATTENTION = 128
"""Most positions at which attention is computed without a fused kernel, see `attention_for`."""


def attention_for(
    arguments: Seq2SeqTrainingArguments, inputs: dict[str, Any]
) -> AbstractContextManager[None]:
    """How attention is computed while a batch is trained: unfused, or as PyTorch chooses.

    In bfloat16 on a CPU PyTorch's fused kernel takes two to three times as long as plain matrix
    products over a few dozen positions, forward and backward; beyond `PLAIN_ATTENTION` it is
    faster.
    """
    if arguments.device.type != "cpu" or not arguments.bf16:
        return nullcontext()  # before lengths are read: that would wait for the GPU
    lengths = [int(rows.max()) for name, rows in inputs.items() if name == "lengths"]
    widths = [
        rows.shape[1]
        for name, rows in inputs.items()
        if isinstance(rows, Tensor) and name not in ("lengths", "frames")
    ]
    if max(lengths + widths) > PLAIN_ATTENTION:
        return nullcontext()
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain
