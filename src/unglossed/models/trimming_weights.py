"""Cuts the vocabulary out of a model's weights and configurations; used by `trimming` alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from unglossed.errors import InputError
from unglossed.models.vocabulary import Selection

_ID_FIELDS = ("_token_id", "_token_ids", "bad_words_ids", "suppress_tokens")
"""Ends of the names of those fields of a configuration that hold ids of tokens."""


def num_rows_of(model: PreTrainedModel) -> int:
    """Tokens for which a model has an embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


def config_ids_of(model: PreTrainedModel) -> set[int]:
    """Ids of all tokens that the model's configurations name."""
    found: set[int] = set()

    def note(token_id: int) -> int:
        found.add(token_id)
        return token_id

    for settings in _configurations(model):
        _change_ids(settings.to_dict(), note)
    return found


def cut_weights(model: PreTrainedModel, selection: Selection, name: str | Path) -> None:
    """Renumber the configurations' tokens and cut the others out of all weights.

    A weight's side belongs to the vocabulary when it is another one in an empty model of the same
    configuration with the new vocabulary: embeddings, heads, and biases such as mBART's.
    """
    kept = torch.tensor(selection.ids)
    for settings in _configurations(model):
        for key, value in settings.to_dict().items():
            changed = _change_ids(value, selection.new_ids.__getitem__, key)
            if changed != value:
                setattr(settings, key, changed)
    model.config.vocab_size = len(kept)
    with torch.device("meta"):
        empty = type(model)(model.config)
    if num_rows_of(empty) != len(kept):
        raise InputError(f"{name}: {type(model).__name__} cannot be trimmed")
    shapes = {
        key: weight.shape
        for key, weight in chain(
            empty.named_parameters(remove_duplicate=False),
            empty.named_buffers(remove_duplicate=False),
        )
    }
    for key, weight in chain(model.named_parameters(), model.named_buffers()):
        for side, (old, new) in enumerate(zip(weight.shape, shapes[key], strict=True)):
            if old != new:
                weight.data = weight.data.index_select(side, kept)


def size_of(model: PreTrainedModel) -> tuple[int, float]:
    """Number of parameters, and what they take in units of 10**6 bytes."""
    weights = list(model.parameters())
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    return sum(weight.numel() for weight in weights), num_bytes / 1e6


def _configurations(model: PreTrainedModel) -> list[Any]:
    return [one for one in (model.config, model.generation_config) if one is not None]


def _change_ids(value: Any, change: Callable[[int], int], name: str = "") -> Any:
    """A configuration's value with each id of a token changed; a negative number is none."""
    if isinstance(value, dict):
        return {key: _change_ids(one, change, str(key)) for key, one in value.items()}
    if not name.endswith(_ID_FIELDS):
        return value
    if isinstance(value, list):
        return [_change_ids(one, change, name) for one in value]
    return change(value) if isinstance(value, int) and value >= 0 else value
