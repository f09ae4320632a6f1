"""Number formats in which a trained model translates: float32, bfloat16, or int8 on a processor.

For translating only: a model in another format than float32 is neither trained further nor saved.
"""

from __future__ import annotations

import platform
from enum import StrEnum

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unglossed.errors import InputError
from unglossed.models.lora import is_lora
from unglossed.models.translator import Translator

SMALLEST = 1e-30
"""Taken for the largest number of a row of zeros."""


class Precision(StrEnum):
    """Format of the weights, and of what is computed with them."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


def read_precision(name: str) -> Precision:
    """The precision of this name.

    Raises:
        InputError: there is none, or this machine cannot compute in it.
    """
    if name not in list(Precision):
        raise InputError(f"precision: found {name!r}, expected one of {', '.join(Precision)}")
    if name == Precision.INT8 and platform.machine().lower() not in ("x86_64", "amd64"):
        raise InputError(
            "precision: found int8, expected bfloat16 or float32: int8 needs an x86-64"
        )
    return Precision(name)


def lower_precision(model: Translator, precision: Precision) -> None:
    """Change the weights of adapter and language model, in place.

    bfloat16: all of them. int8: the language model's linear layers (`Int8Linear`), its table of
    words in bfloat16. The encoder's weights stay, since they are few and its normalisation needs
    the digits; see `encodes_in_bfloat16`.

    Args:
        model: in float32; on the processor for int8.
        precision: of its language model.
    """
    if precision is Precision.BFLOAT16:
        model.adapter.to(torch.bfloat16)
        model.language_model.to(torch.bfloat16)
    if precision is Precision.INT8:
        _quantize(model.language_model.model)


def encodes_in_bfloat16(precision: Precision) -> bool:
    """Whether the encoder computes in bfloat16: with int8 where the processor is fast at it."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return precision is Precision.BFLOAT16 or (precision is Precision.INT8 and fast)


class Int8Linear(nn.Module):
    """A linear layer whose weight is held in 8 bits, and whose inputs are rounded to 8 bits.

    Each row of the weight and each row of the inputs has a scale of its own, its largest number.
    The products are summed exactly, so that a row's result follows from the row alone, whatever
    else is in the batch.

    Args:
        linear: the layer whose place it takes.
    """

    weight: Tensor
    scale: Tensor
    zeros: Tensor
    middle: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Processors without VNNI add products in pairs of 16 bits: halves of them fit.
        self.steps = 127 if torch.cpu._is_vnni_supported() else 63
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_(min=SMALLEST) / 127
        rounded = (weight / scale[:, None]).round_().to(torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        zeros = torch.zeros(self.out_features, dtype=torch.int32)
        # Half a step more: the conversion to whole numbers cuts off.
        middle = torch.tensor(self.steps + 1.5)
        buffers = {"weight": packed, "scale": scale, "zeros": zeros, "middle": middle}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), float32."""
        rows = inputs.reshape(-1, self.in_features).float()
        largest = torch.linalg.vector_norm(rows, torch.inf, -1, keepdim=True).clamp_(min=SMALLEST)
        whole = torch.addcdiv(self.middle, rows, largest, value=self.steps).to(torch.uint8)
        outputs = torch.ops.onednn.qlinear_pointwise(
            *(whole, 1 / self.steps, self.steps + 1, self.weight, self.scale, self.zeros, None),
            *(1.0, 0, torch.float32, "none", [], "none"),
        )
        outputs = outputs.mul_(largest) if self.bias is None else outputs * largest + self.bias
        return outputs.reshape(*inputs.shape[:-1], self.out_features)


def _quantize(model: PreTrainedModel) -> None:
    """Put 8-bit layers in the place of all linear ones, and hold the words in bfloat16.

    LoRA's small matrices stay: peft brings their inputs to their weights' number format.
    """
    words = model.get_input_embeddings()
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight is words.weight
    ]
    layers = [
        (name, one)
        for name, one in model.named_modules()
        if type(one) is nn.Linear and not is_lora(f"{name}.")
    ]
    for name, layer in layers:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, Int8Linear(layer))
    for table in tables:
        table.to(torch.bfloat16)
        table.register_forward_hook(_to_float32)


def _to_float32(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output.float()
