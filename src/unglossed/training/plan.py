"""What every stage will train, worked out once, before the first stage and without weights.

Making a `StagePlan` is the check of a stage: what cannot be built or does not fit together is an
error here. `parts.py` finds out about each part, `build.py` makes the models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from unglossed.config import FieldError, field
from unglossed.errors import InputError, Mistakes
from unglossed.models.adapter import build_adapter
from unglossed.models.context import DRAFT, RETRIEVED, lead_ids, most_positions
from unglossed.models.encoder import build_encoder
from unglossed.models.language_model import LightTConfig, build_language_model
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.added_settings import ContextSettings
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.parts import (
    CANNOT_BE_BUILT,
    LanguageModelPlan,
    Origin,
    PartPlan,
    Parts,
    plan_adapter,
    plan_encoder,
    plan_language_model,
    shorten,
)
from unglossed.training.prompts import check_languages
from unglossed.training.settings import (
    NEW_TOKENS,
    LanguageModelSettings,
    PartSettings,
    StageSettings,
)
from unglossed.training.sources import load


@dataclass(frozen=True)
class StagePlan:
    """A stage: its settings, and each part that its objective has.

    Attributes:
        where: The stage's key in the recipe.
        alignment: The model whose view of the texts the clips are aligned with, if not their own.
        new_tokens: Ids of the tokens whose embeddings alone are trained in the language model.
    """

    settings: StageSettings
    processor: TranslatorProcessor
    where: str
    new_tokens: Sequence[int] = ()
    encoder: PartPlan | None = None
    adapter: PartPlan | None = None
    language_model: LanguageModelPlan | None = None
    text_encoder: LanguageModelPlan | None = None
    alignment: LanguageModelPlan | None = None

    @property
    def parts(self) -> Parts:
        """What later stages can take over."""
        found = {
            name: part.config
            for name in ("encoder", "adapter", "language_model")
            if (part := getattr(self, name)) is not None
        }
        writer = self.language_model
        tuning = {} if writer is None else {"prompt": writer.prompt, "lora": writer.lora}
        return Parts(**found, **tuning)


def plan_stages(
    stages: Sequence[StageSettings],
    processor: TranslatorProcessor,
    trained: Mapping[str, Path] | None = None,
) -> dict[str, StagePlan]:
    """Plan the stages of a recipe, by name.

    Args:
        stages: in their order.
        processor: gives vocabulary and special tokens, and says what is read of a clip.
        trained: model folders of stages that another run trained: what these have, later stages
            take over.

    Raises:
        InputError: names the fields that are wrong, all of them.
    """
    plans: dict[str, StagePlan] = {}
    known: dict[str, Parts] = {}
    mistakes = Mistakes()
    for stage in stages:
        wrong = {one.name for one in stages} - known.keys()
        with mistakes.collected():
            parts = _plan_parts(stage, known, processor, wrong)
            if parts.keys() != _settings_of(stage).keys():
                continue
            plan = plans[stage.name] = _checked(_plan(stage, processor, parts))
            known[stage.name] = plan.parts
            if trained and stage.name in trained:
                known[stage.name] = trained_parts(trained[stage.name])
    mistakes.tell()
    return plans


def trained_parts(folder: Path) -> Parts:
    """Configurations of the parts of a model in a folder."""
    return Parts.of(load(AutoConfig, str(folder)))


def plan_stage(
    stage: StageSettings, earlier: Mapping[str, Parts], processor: TranslatorProcessor
) -> StagePlan:
    """Plan one stage, given the parts of earlier stages by name; see `plan_stages`."""
    return _checked(_plan(stage, processor, _plan_parts(stage, earlier, processor)))


def _plan(
    stage: StageSettings, processor: TranslatorProcessor, parts: Mapping[str, Any]
) -> StagePlan:
    new: Sequence[int] = ()
    if NEW_TOKENS in stage.learning_rates:
        new = processor.tokenizer.convert_tokens_to_ids(list(processor.new_tokens))
    return StagePlan(stage, processor, f"stages.{stage.name}", new, **parts)


def _plan_parts(
    stage: StageSettings,
    earlier: Mapping[str, Parts],
    processor: TranslatorProcessor,
    wrong: Collection[str] = (),
) -> dict[str, Any]:
    """Plan the parts of a stage but for those of a stage that is wrong itself."""
    where = f"stages.{stage.name}"
    if OBJECTIVES[stage.objective].masks_text and processor.tokenizer.mask_token_id is None:
        raise InputError(
            f"{where}: the objective {stage.objective} needs a tokenizer with a mask token"
        )
    mistakes = Mistakes()
    parts: dict[str, Any] = {}
    for name, part in _settings_of(stage).items():
        if part.source in wrong:
            continue
        with mistakes.collected(), field(where):
            if name == "encoder":
                parts[name] = plan_encoder(stage, earlier, processor)
            elif name == "adapter":
                parts[name] = plan_adapter(part, earlier)
            else:
                with field(name):
                    parts[name] = plan_language_model(part, earlier, processor)
    mistakes.tell()
    return parts


def _checked(plan: StagePlan) -> StagePlan:
    """A plan whose parts can be built and fit together."""
    mistakes = Mistakes()
    for check in (
        _check_masked_text,
        _check_width,
        _check_prompt,
        _check_languages,
        _check_context,
        _check_aligned_texts,
        _check_masked_features,
        _check_builds,
    ):
        with mistakes.collected():
            check(plan)
    mistakes.tell()
    return plan


def _settings_of(stage: StageSettings) -> dict[str, PartSettings]:
    parts = {name: getattr(stage, name) for name in OBJECTIVES[stage.objective].parts}
    aligned = stage.alignment
    if aligned is not None and aligned.source is not None:
        parts["alignment"] = LanguageModelSettings(source=aligned.source)
    return parts


def _check_masked_text(plan: StagePlan) -> None:
    """Refuse what cannot read or restore the masked text of a stage."""
    objective = plan.settings.objective
    if not OBJECTIVES[objective].masks_text:
        return
    for name in ("language_model", "text_encoder"):
        part: LanguageModelPlan | None = getattr(plan, name)
        if part is None:
            continue
        config = part.transformers_config
        reads_words = name == "text_encoder" or plan.text_encoder is None
        if not config.is_encoder_decoder:
            found = f"a decoder-only model of the type {config.model_type!r}"
        elif reads_words and isinstance(config, LightTConfig):
            found = "a Light-T, whose encoder reads features but no words"
        else:
            continue
        raise FieldError(
            f"{plan.where}.{name}",
            f"found {found}, expected an encoder-decoder, such as mbart, for the objective"
            f" {objective}",
        )


def _check_width(plan: StagePlan) -> None:
    """Refuse a trained adapter that leads to another width than the language model has."""
    adapter, writer = plan.adapter, plan.language_model
    if adapter is None or writer is None or adapter.leads_to in (None, writer.width):
        return
    raise FieldError(
        f"{plan.where}.adapter.source",
        f"the adapter of {adapter.settings.source} leads to width {adapter.leads_to}, but the"
        f" language model {writer.settings.source} has {writer.width}: build a new adapter",
    )


def _check_prompt(plan: StagePlan) -> None:
    """Refuse to train new tokens that the prompt does not have."""
    writer, tokens = plan.language_model, plan.new_tokens
    if writer is None or not tokens:
        return
    prompt = writer.prompt or {}
    if set(tokens).isdisjoint([*prompt.get("before", ()), *prompt.get("after", ())]):
        raise FieldError(
            f"{plan.where}.learning_rates.new_tokens",
            "found none of tokenizer.new_tokens in the prompt, expected them there to be trained",
        )


def _check_languages(plan: StagePlan) -> None:
    """Refuse a language model that is not told which of several languages to write."""
    if plan.language_model is not None:
        with field(f"{plan.where}.language_model"):
            check_languages(plan.language_model.prompt)


def leads_of(settings: ContextSettings) -> dict[str, str]:
    """Words in front of the texts of a context, by their kind."""
    asked = ((DRAFT, settings.draft), (RETRIEVED, settings.retrieved))
    return {kind: one.lead for kind, one in asked if one is not None}


def context_tokens(settings: ContextSettings, processor: TranslatorProcessor) -> dict[str, int]:
    """Most tokens of a text of a context and the words in front of it, by its kind."""
    return {
        kind: len(lead_ids(processor, lead, 1.0)) + processor.max_tokens
        for kind, lead in leads_of(settings).items()
    }


def _check_context(plan: StagePlan) -> None:
    """Refuse texts beside the features that leave these no position."""
    settings, writer = plan.settings.context, plan.language_model
    if settings is None or writer is None or writer.max_positions is None:
        return
    number = settings.retrieved.number if settings.retrieved else 0
    asked = most_positions(context_tokens(settings, plan.processor), number)
    sides = writer.prompt or {}
    taken = sum(len(sides.get(side, ())) for side in ("before", "after"))
    if not writer.transformers_config.is_encoder_decoder:
        taken += plan.processor.max_tokens
    if asked + taken >= writer.max_positions:
        raise FieldError(
            f"{plan.where}.context",
            f"found up to {asked} tokens beside the features, expected at most"
            f" {max(0, writer.max_positions - taken - 1)}: the language model has"
            f" {writer.max_positions} positions, and prompt and text may take {taken}",
        )


def _check_aligned_texts(plan: StagePlan) -> None:
    """Refuse to align clips with states where there are none of words, or in no such way."""
    reader, settings = plan.alignment, plan.settings.alignment
    if reader is None or settings is None or not settings.states:
        return
    config = reader.transformers_config
    if isinstance(config, LightTConfig):
        raise FieldError(
            f"{plan.where}.alignment.source",
            f"found a model of the type {config.model_type!r}, expected an encoder-decoder whose"
            " encoder reads words, such as mbart, a decoder-only model, or states: false",
        )
    if settings.both_ways and config.is_encoder_decoder:
        raise FieldError(
            f"{plan.where}.alignment.both_ways",
            f"found a source of the type {config.model_type!r}, expected a decoder-only one: an"
            " encoder reads both ways in any case",
        )


def _check_masked_features(plan: StagePlan) -> None:
    """Refuse to hide features from a model whose states of them are not its own."""
    writer = plan.language_model
    if writer is None or plan.settings.masked_features is None:
        return
    config = writer.transformers_config
    if config.is_encoder_decoder:
        raise FieldError(
            f"{plan.where}.masked_features",
            f"found a language model of the type {config.model_type!r}, expected a decoder-only"
            " one, such as llama, or no masked_features",
        )


def _check_builds(plan: StagePlan) -> None:
    """Build the parts without weights; modules in `frozen` have to be in them."""
    built: Any = nn.Module()
    mistakes = Mistakes()
    encoder, adapter = plan.encoder, plan.adapter
    writer, reader = plan.language_model, plan.text_encoder

    def build(name: str, key: str, make: Callable[[], nn.Module], device: str = "meta") -> None:
        with mistakes.collected(), field(f"{plan.where}.{key}"):
            setattr(built, name, _build(make, device))

    if writer is not None:
        make = partial(build_language_model, writer.config, lora=writer.lora)
        build("language_model", "language_model", make)
    if reader is not None:
        make = partial(build_language_model, reader.config, lora=reader.lora)
        build("text_encoder", "text_encoder", lambda: make().model.get_encoder())
    if encoder is not None:
        # One of another package may need weights to be built.
        device = "cpu" if "kind" in encoder.config else "meta"
        build("encoder", "encoder.config", partial(build_encoder, encoder.config), device)
    if hasattr(built, "encoder") and encoder is not None:
        if adapter is not None and writer is not None:
            widths = built.encoder.output_dim, writer.width
            build("adapter", "adapter.config", partial(build_adapter, *widths, adapter.config))
        if encoder.origin is not Origin.STAGE:
            with mistakes.collected():
                _check_signal(built.encoder, encoder.config, plan)
    for name in plan.settings.frozen:
        if hasattr(built, name.partition(".")[0]):
            with mistakes.collected(), field(f"{plan.where}.frozen"):
                try:
                    built.get_submodule(name)
                except AttributeError as error:
                    raise InputError(f"found {name!r}: {error}") from None
    mistakes.tell()


def _build(make: Callable[[], nn.Module], device: str) -> nn.Module:
    try:
        with torch.device(device):
            built = make()
    except InputError:
        raise
    except CANNOT_BE_BUILT as error:
        raise InputError(f"cannot be built: {shorten(error)}") from None
    num_weights = sum(weight.numel() for weight in built.parameters())
    room = _memory()
    if room is not None and 4 * num_weights > room:
        raise InputError(
            f"found a model of {num_weights:,} weights, {4 * num_weights / 1e9:,.0f} GB in float32,"
            f" expected at most the {room / 1e9:,.0f} GB of this machine's memory"
        )
    return built


def _check_signal(encoder: Any, config: Mapping[str, Any], plan: StagePlan) -> None:
    """Refuse an encoder that reads something else of a clip than the recipe gives it."""
    audio_rate, max_seconds = plan.processor.audio_rate, plan.processor.max_seconds
    where = f"{plan.where}.encoder"
    while "encoder" in config:
        encoder, config = encoder.encoder, config["encoder"]
    reads_both = encoder.signal == "streams"
    if reads_both != (plan.processor.streams is not None):
        found, no = ("streams", "no ") if reads_both else (encoder.signal, "")
        expected = "one signal" if reads_both else "both, of the kind streams"
        told = f"found an encoder of {found}, expected one of {expected}"
        raise FieldError(where, f"{told}: the recipe has {no}`streams`")
    reads_array = encoder.signal in ("array", "streams")
    if reads_array != (plan.processor.array is not None):
        found, no = ("array", "no ") if reads_array else (encoder.signal, "")
        expected = "another signal" if reads_array else "array, of the kind features or graph"
        told = f"found an encoder of {found}, expected one of {expected}"
        raise FieldError(where, f"{told}: the recipe has {no}`array`")
    if reads_array:
        if misfit := encoder.misfit(plan.processor):
            raise FieldError(where, f"the encoder {misfit}")
        return
    reads_audio = encoder.signal == "audio"
    if reads_audio != (audio_rate is not None):
        found, expected = ("audio", "video") if reads_audio else ("video", "audio")
        no = "no " if reads_audio else ""
        told = f"found an encoder of {found}, expected one of {expected}"
        raise FieldError(where, f"{told}: the recipe has {no}`audio`")
    if audio_rate is None:
        return
    wanted = config.get("sample_rate") or audio_rate
    if wanted != audio_rate:
        told = f"found {audio_rate}, expected {wanted}, at which the model of {where} reads audio"
        raise FieldError("audio.audio_rate", told)
    limit = encoder.input_limit(None)
    if limit is not None and max_seconds is not None and max_seconds * audio_rate > limit:
        told = f"found {max_seconds:g}, expected at most {limit / audio_rate:.1f}, for which the"
        raise FieldError("audio.max_seconds", f"{told} model of {where} has room")


def _memory() -> int | None:
    """Bytes of memory of this machine; None: it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
