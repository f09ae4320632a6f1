"""What trains of a language model whose own weights stay: LoRA, and new tokens (LST, stage 1).

LoRA: small trained matrices beside frozen ones (peft; arXiv 2106.09685). NormalFloat4 by
bitsandbytes (QLoRA, arXiv 2305.14314) holds the frozen ones while a model trains; what is saved are
the numbers that they stand for, so that a saved model is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
"""Targets: every linear layer of the architecture but the output head."""
PACKAGE = "bitsandbytes"
BLOCK = 64
"""Numbers of 4 bits that share a scale."""


def add_lora(model: nn.Module, settings: Mapping[str, Any]) -> None:
    """Put LoRA matrices beside the linear layers of a transformers model, in place.

    Args:
        model: changed.
        settings: `r`, `alpha`, `dropout` and `targets` (`ALL_LINEAR`, or names of layers).

    Raises:
        ValueError: no layer has one of the names, or one that has shares its weight with another.
    """
    from peft import LoraConfig, inject_adapter_in_model  # slow to import, and seldom needed

    targets = settings["targets"]
    if targets != ALL_LINEAR:
        _refuse_tied(model, targets)
    config = LoraConfig(
        r=settings["r"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=targets if targets == ALL_LINEAR else list(targets),
    )
    inject_adapter_in_model(config, model)
    for name, module in model.named_modules():
        if is_lora(f"{name}.") and not any(weight.is_meta for weight in module.parameters()):
            # peft starts LoRA as nothing; transformers does not know, and would draw it anew.
            module._is_hf_initialized = True


def _refuse_tied(model: nn.Module, targets: Iterable[str]) -> None:
    """Refuse layers that share a weight: LoRA would part them, and no file holds that."""
    sharing: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        sharing.setdefault(id(weight), []).append(name.rpartition(".")[0])
    for names in sharing.values():
        for target in targets:
            found = [name for name in names if f".{name}".endswith(f".{target}")]
            if len(names) > 1 and found:
                others = ", ".join(name for name in names if name != found[0])
                raise ValueError(
                    f"lora.targets: found {target!r}, whose weight ({found[0]}) is also that of"
                    f" {others}, expected layers with weights of their own, or {ALL_LINEAR}"
                )


def is_lora(name: str) -> bool:
    """Whether a parameter of this name is LoRA's and not the model's own."""
    return ".lora_" in name


def train_lora_alone(model: nn.Module) -> None:
    """Give gradients to LoRA's matrices, and take them from the model's own weights."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_lora(name))


def load_base_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load all weights of a model, saved with LoRA or without; LoRA's own stay if not given.

    Raises:
        RuntimeError: a name or a shape does not fit; or two that differ are one in the model.
    """
    own = model.state_dict()
    renamed = {}
    for name, value in weights.items():
        stem, _, last = name.rpartition(".")
        wrapped = f"{stem}.base_layer.{last}"
        renamed[wrapped if wrapped in own else name] = value
    kept = {name: value for name, value in own.items() if is_lora(name) and name not in renamed}
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name not in renamed:
            continue
        other = first.setdefault(id(parameter), name)
        mine, theirs = renamed[name], renamed[other]
        if mine.data_ptr() != theirs.data_ptr() and not mine.equal(theirs):
            raise RuntimeError(f"{name} and {other} differ in the source and are one in the recipe")
    model.load_state_dict({**kept, **renamed})


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is held in 4 bits and a bit, and is not trained.

    Its state is that of `nn.Linear`: `weight` in float32, on the CPU. To quantise a weight that was
    quantised before changes nothing, so that saving and loading do not either.
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

    Layers whose inputs are not a multiple of `BLOCK` stay as they are: blocks would lie across
    rows, which bitsandbytes 0.50 mixes up on a CPU.

    Raises:
        ImportError: bitsandbytes is not installed.
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


class NewTokens(nn.Module):
    """Rows of a word embedding as a parameter of their own, through which alone gradients flow.

    The rows lie over the table's own numbers, so that there is nothing to write back, nor are they
    saved. The table gets no gradient, which would be as large as the table. Where the output head
    is tied to the embeddings, its rows are these.

    Args:
        model: a model of transformers, on the device on which it trains.
        ids: of the tokens, which no text has.
    """

    def __init__(self, model: PreTrainedModel, ids: range) -> None:
        super().__init__()
        self.ids = ids
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        table = embeddings.weight.requires_grad_(False)
        self.rows = nn.Parameter(table.data[ids.start : ids.stop])
        self.scale: Any = getattr(embeddings, "embed_scale", 1.0)  # mBART, Gemma 3 multiply by it
        if head.weight is table:
            head.register_forward_hook(self._let_learn_from_logits)

    def forward(self, ids: Tensor, embedded: Tensor) -> Tensor:
        """Embeddings of token ids as they are, through which the rows get their gradient."""
        if not torch.is_grad_enabled():
            return embedded
        place = ids - self.ids.start
        is_new = (place >= 0) & (place < len(self.ids))
        row = self.rows[place.clamp(0, len(self.ids) - 1)]
        return embedded + is_new[..., None] * self.scale * (row - row.detach())

    def _let_learn_from_logits(self, _: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        """The logits as they are, through whose columns the rows get their gradient."""
        if torch.is_grad_enabled():
            column = nn.functional.linear(inputs[0].detach(), self.rows)
            columns = logits[..., self.ids.start : self.ids.stop]
            columns += column - column.detach()
        return logits

    def _save_to_state_dict(self, *_: Any) -> None:
        """Save nothing: the rows lie in the table."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Load nothing, for the same reason."""
