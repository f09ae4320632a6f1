"""Frozen weights in 4 bits, beside which LoRA or an adapter trains (QLoRA, arXiv 2305.14314).

Weights of NormalFloat4 by bitsandbytes. They are quantised while a model trains; what is saved are
the numbers that they stand for, so that a saved model is an ordinary one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unglossed.models.lora import is_lora

PACKAGE = "bitsandbytes"
BLOCK = 64
"""Numbers that share a scale."""


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is held in 4 bits and a bit, and is not trained.

    Its state is that of `nn.Linear`: `weight` in float32, on the processor. To quantise a weight
    that was quantised before changes nothing, so that saving and loading do not either.

    Args:
        linear: the layer whose place it takes.
    """

    packed: Tensor
    absmax: Tensor
    code: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._quantize(linear.weight.data)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        from bitsandbytes import matmul_4bit

        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return matmul_4bit(inputs, self.packed.t(), self._quant_state(), bias=bias)

    def dequantized(self) -> Tensor:
        """The weight (out_features, in_features) that the 4 bits stand for, in float32."""
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.packed, self._quant_state())

    def _quantize(self, weight: Tensor) -> None:
        from bitsandbytes.functional import quantize_4bit

        packed, state = quantize_4bit(weight.float(), blocksize=BLOCK, quant_type="nf4")
        for name, value in (("packed", packed), ("absmax", state.absmax), ("code", state.code)):
            self.register_buffer(name, value, persistent=False)

    def _quant_state(self) -> Any:
        from bitsandbytes.functional import QuantState

        return QuantState(
            absmax=self.absmax,
            shape=torch.Size((self.out_features, self.in_features)),
            code=self.code,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=torch.float32,
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.dequantized().cpu()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.pop(f"{prefix}weight")
        self._quantize(weight.to(self.packed.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def quantize_linear_layers(model: PreTrainedModel) -> None:
    """Quantise all linear layers of a language model but LoRA's and the output head, in place.

    So do those stay whose inputs are no multiple of `BLOCK`: blocks would lie across rows, which
    bitsandbytes 0.50 mixes up on a processor.

    Args:
        model: a model of transformers, with its weights.

    Raises:
        ImportError: there is no bitsandbytes.
    """
    head = model.get_output_embeddings()
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and module is not head
        and module.in_features % BLOCK == 0
        and not is_lora(f"{name}.")
    ]
    for name, layer in layers:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, QuantizedLinear(layer))
