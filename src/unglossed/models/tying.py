"""Which matrices of a language model are one: what its file holds decides, not its configuration.

transformers calls the whole T5 family tied, though mT5, T5 v1.1 and their kin are published with an
output head of their own. What is not tied is kept in the configuration, under `UNTIED`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

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
