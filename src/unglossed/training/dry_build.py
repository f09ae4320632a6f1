"""Builds what stages will train without weights, so that what cannot be built is told at once."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from unglossed.errors import InputError, Mistakes
from unglossed.models.encoder import build_encoder
from unglossed.models.language_model import build_language_model
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.encoders import new_encoder
from unglossed.training.language_models import planned_config
from unglossed.training.settings import StageSettings
from unglossed.training.sources import WRONG_CONFIGURATION


def check_builds(stages: Sequence[StageSettings], processor: TranslatorProcessor) -> None:
    """Build every stage's language model with its LoRA, and every new encoder, without weights.

    Args:
        stages: of a recipe, whose parts `check_new_parts` has found to be there.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: one cannot be built, or has no module of a name in `frozen`.
    """
    named = {stage.name: stage for stage in stages}
    encoders: dict[str, nn.Module] = {}
    mistakes = Mistakes()
    for stage in stages:
        where, built = f"stages.{stage.name}", nn.Module()
        if stage.language_model is not None:
            with mistakes.collected():
                field = f"{where}.language_model"
                config = planned_config(stage.language_model, named, processor, field).to_dict()
                face = partial(build_language_model, config, lora=_lora_of(stage, named))
                built.language_model = _build(face, field)
        with mistakes.collected():
            encoder = _encoder_of(stage, encoders)
            if encoder is not None:
                encoders[stage.name] = built.encoder = encoder
        for name in stage.frozen:
            if not hasattr(built, name.partition(".")[0]):
                continue  # an inherited part: known when the stage begins
            with mistakes.collected():
                _check_frozen(built, name, where)
    mistakes.tell()


def _check_frozen(built: nn.Module, name: str, where: str) -> None:
    try:
        built.get_submodule(name)
    except AttributeError as error:
        raise InputError(f"{where}.frozen: found {name!r}: {error}") from None


def _lora_of(stage: StageSettings, named: Mapping[str, StageSettings]) -> dict[str, Any] | None:
    """Settings of a stage's LoRA, its own or inherited."""
    part = stage.language_model
    while part is not None:
        if part.lora is not None:
            return part.lora.model_dump()
        part = named[part.source].language_model if part.source in named else None
    return None


def _encoder_of(stage: StageSettings, earlier: Mapping[str, nn.Module]) -> nn.Module | None:
    """A stage's encoder where the recipe tells all of it; else None."""
    part = stage.encoder
    if part is None or stage.features is not None or isinstance(part.config.get("backbone"), str):
        return None
    if part.source != "build":
        return None if part.config else earlier.get(part.source)
    where = f"stages.{stage.name}.encoder"
    config, _ = new_encoder(part, where)
    return _build(partial(build_encoder, config), f"{where}.config")


def _build(build: Callable[[], nn.Module], where: str) -> nn.Module:
    try:
        with torch.device("meta"):
            built = build()
    except (*WRONG_CONFIGURATION, RuntimeError, ZeroDivisionError, MemoryError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__
        raise InputError(f"{where}: cannot be built: {reason}") from None
    num_weights = sum(weight.numel() for weight in built.parameters())
    room = _memory()
    if room is not None and 4 * num_weights > room:
        raise InputError(
            f"{where}: found a model of {num_weights:,} weights, {4 * num_weights / 1e9:,.0f} GB in"
            f" float32, expected at most the {room / 1e9:,.0f} GB of this machine's memory"
        )
    return built


def _memory() -> int | None:
    """Bytes of memory of this machine; None: it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
