"""LoRA: small trained matrices beside a language model's frozen ones (peft; arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

UNTIED = "untied"
"""Key of a transformers configuration: the matrices which it calls tied and which are not."""


def untied_in(model: PreTrainedModel) -> list[str]:
    """Names of matrices that a model's configuration calls tied, and that are others all the same.

    Args:
        model: as transformers loaded it: two matrices of a file that differ are not tied.
    """
    ties = model.get_expanded_tied_weights_keys(all_submodels=True)
    return sorted(
        target
        for target, source in ties.items()
        if model.get_parameter(target) is not model.get_parameter(source)
    )


def untie(model: PreTrainedModel, names: Collection[str]) -> None:
    """Make each of these matrices one of its own, in place, and have the configuration say so.

    It stays so whatever ties the model again: another vocabulary size, loading, saving.

    Args:
        model: a model of transformers.
        names: of parameters, as `untied_in` gives them.
    """
    if not names:
        return
    for name in names:
        parent, _, last = name.rpartition(".")
        weight = model.get_parameter(name)
        own = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        setattr(model.get_submodule(parent), last, own)
    for prefix, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and module._tied_weights_keys:
            start = f"{prefix}." if prefix else ""
            ties = module.get_expanded_tied_weights_keys()
            kept = {key: source for key, source in ties.items() if start + key not in names}
            if len(kept) < len(ties):
                module._tied_weights_keys = kept
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    setattr(model.config, UNTIED, sorted(names))


def check_tied(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that weights which a model holds once are the same, so that none is overwritten.

    Args:
        model: takes the weights.
        weights: by name.

    Raises:
        RuntimeError: two of them are one matrix in the model, and differ.
    """
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name not in weights:
            continue
        other = first.setdefault(id(parameter), name)
        mine, theirs = weights[name], weights[other]
        if mine.data_ptr() != theirs.data_ptr() and not mine.equal(theirs):
            raise RuntimeError(f"{name} and {other} differ in the source and are one in the recipe")


ALL_LINEAR = "all-linear"
"""Targets: every linear layer of the architecture but the output head."""


def add_lora(model: nn.Module, settings: Mapping[str, Any]) -> None:
    """Put LoRA matrices beside a model's linear layers, in place.

    Args:
        model: a transformers model.
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
            # peft starts LoRA as nothing; transformers, told of no such thing, would draw it anew.
            module._is_hf_initialized = True


def _refuse_tied(model: nn.Module, targets: Iterable[str]) -> None:
    """Refuse layers whose weight is also another's: LoRA would part them, and no file holds that.

    Raises:
        ValueError: names the target and the layers that share the weight.
    """
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
    """Load a model's weights, whether or not LoRA wraps its layers; LoRA's own stay if not given.

    Args:
        model: takes the weights, all of them.
        weights: of a model with LoRA or without, by name.

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
    check_tied(model, renamed)
    model.load_state_dict({**kept, **renamed})
