"""How long signals and texts can be, and which clips are translated together.

A language model has so many positions: for prompt, features and texts beside them, and where it
only decodes for the answer too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from torch import Tensor

from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.models.language_model import DecoderOnly
from unglossed.models.translator import Translator


def signal_limit(model: Translator, num_tokens: int = 1) -> int | None:
    """Most features that a signal can have; positions that a text shares are left for it.

    Args:
        model: the translator.
        num_tokens: of the text, the end token among them.
    """
    limits: list[int | None] = []
    if (room := _room(model)) is not None:
        if isinstance(model.language_model, DecoderOnly):
            room -= num_tokens
        limits.append(model.adapter.input_limit(room))
    drafter: Any = model.context
    if drafter is not None and drafter.language_model is not None:
        limits.append(signal_limit(drafter, num_tokens))
    return min((limit for limit in limits if limit is not None), default=None)


def text_limit(model: Translator, num_features: int) -> int | None:
    """Most tokens that a text behind so many features can have."""
    writer = model.language_model
    room = _room(model)
    if isinstance(writer, DecoderOnly):
        return None if room is None else room - model.adapter.output_lengths(num_features)
    return (
        None if writer.max_positions is None else writer.max_positions - max(len(writer.start), 1)
    )


def _room(model: Translator) -> int | None:
    """Positions for adapted features, and a text that shares them."""
    writer = model.language_model
    if writer.max_positions is None:
        return None
    return writer.max_positions - writer.prompt_length - model.context_positions


def alike_batches(
    model: Translator,
    features: Sequence[Tensor],
    names: Sequence[str],
    decoding: DecodingSettings,
    batch_size: int,
) -> list[tuple[list[int], DecodingSettings]]:
    """Numbers of clips that are translated together, and how texts are searched for there.

    Clips of similar length share a batch; a text gets no longer than there are positions for.

    Args:
        model: the translator.
        features: for each clip (time, dim).
        names: of the clips.
        decoding: how texts are searched for.
        batch_size: clips that are translated at a time.

    Raises:
        InputError: a clip leaves the language model no position for a word.
    """
    limits = []
    for name, row in zip(names, features, strict=True):
        room = text_limit(model, len(row))
        if room is not None and room < 1:
            raise InputError(
                f"{name}: found {len(row)} positions of signal, expected at most"
                f" {signal_limit(model)}, for which the language model has room"
            )
        limits.append(min(room or decoding.max_new_tokens, decoding.max_new_tokens))
    order = sorted(range(len(features)), key=lambda index: -len(features[index]))
    batches = []
    for limit, group in groupby(order, lambda index: limits[index]):  # a clip has its own, alone
        alike, settings = list(group), decoding.change(max_new_tokens=limit)
        starts = range(0, len(alike), batch_size)
        batches += [(alike[start : start + batch_size], settings) for start in starts]
    return batches
