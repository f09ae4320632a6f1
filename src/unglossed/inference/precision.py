"""Number formats in which a trained model translates: float32, bfloat16, or int8 on a processor.

For translating only: a model in another format than float32 is neither trained further nor saved.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from enum import StrEnum
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unglossed.errors import InputError
from unglossed.models.translator import Translator
from unglossed.models.tuning import is_lora

SMALLEST = 1e-30
"""Taken for the largest number of a row of zeros."""
X86_64 = ("x86_64", "amd64")
PACKED_ROWS = 8
"""Rows of the inputs for which weights are packed: the beams of a clip or two."""


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
    if name == Precision.INT8 and platform.machine().lower() not in X86_64:
        raise InputError(
            "precision: found int8, expected bfloat16 or float32: int8 needs an x86-64"
        )
    return Precision(name)


def lower_precision(model: Translator, precision: Precision) -> None:
    """Change the weights of adapter and language model, in place.

    bfloat16: all of them; on a CPU with instructions for it the language model's linear layers are
    `PackedLinear`. int8: those layers (`Int8Linear`), its table of words in bfloat16. The encoder's
    weights stay, since they are few and its normalisation needs the digits; see
    `encodes_in_bfloat16`.

    Args:
        model: in float32; on the CPU for int8.
        precision: of its language model.
    """
    if precision is Precision.BFLOAT16:
        model.adapter.to(torch.bfloat16)
        model.language_model.to(torch.bfloat16)
        if model.device.type == "cpu" and packs_bfloat16():
            replace_linear_layers(model.language_model.model, PackedLinear)
    if precision is Precision.INT8:
        quantize(model.language_model.model)


def encodes_in_bfloat16(precision: Precision) -> bool:
    """Whether the encoder computes in bfloat16: with int8 where the processor is fast at it."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return precision is Precision.BFLOAT16 or (precision is Precision.INT8 and fast)


def packs_bfloat16() -> bool:
    """Whether this CPU has a layout of bfloat16 weights of its own: an x86-64 with AVX-512."""
    is_x86 = platform.machine().lower() in X86_64
    return is_x86 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedLinear(nn.Module):
    """A linear layer in bfloat16 whose weight lies in memory in the order in which it is read.

    `nn.Linear` brings the weight into that order in each call. With a row for each beam, as in a
    search, that takes as long as the product. The numbers are those of `nn.Linear`.

    Args:
        linear: the layer whose place it takes, in bfloat16 and on a CPU for which `packs_bfloat16`.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), PACKED_ROWS)
        self.register_buffer("weight", weight, persistent=False)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), bfloat16."""
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs.reshape(-1, self.in_features), self.weight, self.bias, "none", [], ""
        )
        return outputs.reshape(*inputs.shape[:-1], self.out_features)


class Int8Linear(nn.Module):
    """A linear layer whose weight is held in 8 bits, and whose inputs are rounded to 8 bits.

    Each row of the weight and each row of the inputs has a scale of its own, its largest number.
    A row's result follows from the row alone to the last bit, whatever else is in the batch, on any
    processor: oneDNN, whose kernels change with the number of rows, is left nothing but the sums of
    whole numbers. Those are exact, and are rounded once, to float32. Scales, zero point and bias
    are applied by operations on single numbers, none of which can be joined with another.

    Args:
        linear: the layer whose place it takes.
    """

    weight: Tensor
    ones: Tensor
    zeros: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Processors without VNNI add products in pairs of 16 bits: halves of them fit.
        self.steps = 127 if torch.cpu._is_vnni_supported() else 63
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_(min=SMALLEST) / 127
        rounded = (weight / scale[:, None]).round_().to(torch.int8)
        buffers = {
            "weight": torch.ops.onednn.qlinear_prepack(rounded, None),
            "ones": torch.ones(self.out_features),
            "zeros": torch.zeros(self.out_features, dtype=torch.int32),
            # What the inputs' zero point, steps + 1, adds to every sum.
            "shift": (rounded.sum(1, dtype=torch.int64) * (self.steps + 1)).float(),
            "scale": scale / self.steps,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), float32."""
        rows = inputs.reshape(-1, self.in_features).float()
        largest = torch.linalg.vector_norm(rows, torch.inf, -1, keepdim=True).clamp_(min=SMALLEST)
        # Half a step more: the conversion to whole numbers cuts off.
        whole = rows.div(largest).mul_(self.steps).add_(self.steps + 1.5).to(torch.uint8)
        sums = torch.ops.onednn.qlinear_pointwise(
            *(whole, 1.0, 0, self.weight, self.ones, self.zeros, None),
            *(1.0, 0, torch.float32, "none", [], "none"),
        )
        outputs = sums.sub_(self.shift).mul_(self.scale).mul_(largest)
        if self.bias is not None:
            outputs = outputs.add_(self.bias)
        return outputs.reshape(*inputs.shape[:-1], self.out_features)


def quantize(
    model: PreTrainedModel, layer_kind: Callable[[nn.Linear], nn.Module] = Int8Linear
) -> None:
    """Replace all linear layers by 8-bit ones, in place, and hold the words in bfloat16.

    LoRA's small matrices stay: peft brings their inputs to their weights' number format.

    Args:
        model: a language model in float32.
        layer_kind: makes the 8-bit layer that takes the place of one.
    """
    words = model.get_input_embeddings()
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight is words.weight
    ]
    replace_linear_layers(model, layer_kind)
    for table in tables:
        table.to(torch.bfloat16)
        scale = getattr(table, "embed_scale", 1.0)  # mBART's; applied to float32, as in training
        if isinstance(scale, float) and scale != 1.0:
            vars(table)["embed_scale"] = 1.0
            table.register_forward_hook(partial(_to_float32, scale=scale))
        else:
            table.register_forward_hook(_to_float32)


def replace_linear_layers(
    model: PreTrainedModel, layer_kind: Callable[[nn.Linear], nn.Module]
) -> None:
    """Replace all linear layers but LoRA's, in place; a tied head gets a weight of its own."""
    layers = [
        (name, one)
        for name, one in model.named_modules()
        if type(one) is nn.Linear and not is_lora(f"{name}.")
    ]
    while layers:  # one after another, so that the weights of few are there twice
        name, layer = layers.pop()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer_kind(layer))


def _to_float32(
    module: nn.Module, inputs: object, output: Tensor, *, scale: float | None = None
) -> Tensor:
    return output.float() if scale is None else output.float() * scale
