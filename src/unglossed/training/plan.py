"""What every stage will train, worked out once, before the first stage and without weights.

A `StagePlan` says of each part where it comes from and what its configuration will be. Making one
is the check of a recipe's stages: what cannot be built or does not fit together is an error here.
`build.py` makes the models.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    PreTrainedConfig,
)

from unglossed.config import suggest
from unglossed.errors import FieldError, InputError, Mistakes, field
from unglossed.model_folders import without_origin
from unglossed.models import quantization
from unglossed.models.adapter import adapter_kind, build_adapter
from unglossed.models.encoder import build_encoder, encoder_kind
from unglossed.models.language_model import build_language_model, language_model_config
from unglossed.models.light_t import LIGHT_T_SIZES, LightTConfig, light_t_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.recogniser import GlossRecogniserConfig
from unglossed.models.speech import FRONTENDS, SAMPLE_RATE, SpeechEncoder, frontend_config_from
from unglossed.models.translator import TranslatorConfig
from unglossed.models.visual import FRAME_WISE, backbone_config_from
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import (
    NEW_TOKENS,
    LanguageModelSettings,
    PartSettings,
    PromptSettings,
    StageSettings,
)
from unglossed.training.sources import check_weights, load, load_trained, source_config

KEPT = "unglossed"
"""Key of a transformers configuration under which a model that was trained on text alone keeps the
prompt and the LoRA that a translator's configuration would keep."""

_WRONG = (KeyError, TypeError, ValueError, StrictDataclassError)
"""What transformers raises where a configuration's values are wrong."""
_CANNOT_BE_BUILT = (*_WRONG, RuntimeError, ZeroDivisionError, MemoryError)
_LARGEST_SIZE = 1_000_000
_ENCODER_DEFAULTS: dict[str, Any] = {
    "grid": 1,
    "temporal_dim": 512,
    "temporal_kernel": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
_MAP_BACKBONES = ("convnext", "convnextv2", "efficientnet", "regnet", "resnet")
"""Backbones whose last hidden state is a map (frames, dim, height, width)."""
_WITHOUT_SPEC_AUGMENT = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
"""Many a model's files lack the vector that SpecAugment puts where it hides a position."""


class Origin(Enum):
    """Where a part comes from."""

    NEW = "built from its config"
    STAGE = "a stage before"
    RUN = "a model that another run trained"
    PUBLISHED = "a folder, a name on the hub or a GGUF file"


@dataclass(frozen=True)
class Parts:
    """Configurations of the parts of a model, trained or yet to be trained.

    Attributes:
        prompt: Token ids, see `LanguageModel`.
        lora: See `LanguageModel`.
    """

    encoder: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None
    language_model: dict[str, Any] | None = None
    prompt: dict[str, list[int]] | None = None
    lora: dict[str, Any] | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Parts:
        """Those of a trained model, by its configuration."""
        if isinstance(config, TranslatorConfig):
            return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})
        if isinstance(config, GlossRecogniserConfig):
            return cls(encoder=config.encoder)
        fields = config.to_dict()
        kept = fields.pop(KEPT, {})
        return cls(language_model=fields, prompt=kept.get("prompt"), lora=kept.get("lora"))


@dataclass(frozen=True)
class PartPlan:
    """A part of a stage.

    Attributes:
        settings: Of the recipe.
        origin: Where it comes from.
        config: What it will be; of a published model as far as its files tell without weights.
    """

    settings: PartSettings
    origin: Origin
    config: dict[str, Any]


@dataclass(frozen=True)
class AdapterPlan(PartPlan):
    """An adapter; one that is taken over leads to `width`."""

    width: int | None = None


@dataclass(frozen=True)
class LanguageModelPlan(PartPlan):
    """A language model with its prompt and LoRA, own or inherited; see `LanguageModel`."""

    settings: LanguageModelSettings
    processor: TranslatorProcessor
    prompt: dict[str, list[int]] | None = None
    lora: dict[str, Any] | None = None

    @cached_property
    def transformers_config(self) -> PreTrainedConfig:
        """Its configuration as an object of transformers."""
        return language_model_config(self.config)

    @property
    def width(self) -> int:
        """Width of the embeddings that it reads."""
        return int(self.transformers_config.get_text_config().hidden_size)

    @property
    def max_positions(self) -> int | None:
        """Longest sequence; None where nothing limits it, as with relative positions."""
        text = self.transformers_config.get_text_config()
        return getattr(text, "max_position_embeddings", None)


@dataclass(frozen=True)
class StagePlan:
    """A stage: its settings, and each part that its objective has."""

    settings: StageSettings
    processor: TranslatorProcessor
    encoder: PartPlan | None = None
    adapter: AdapterPlan | None = None
    language_model: LanguageModelPlan | None = None
    text_encoder: LanguageModelPlan | None = None

    @property
    def where(self) -> str:
        """The stage's key in the recipe."""
        return f"stages.{self.settings.name}"

    @property
    def parts(self) -> Parts:
        """What later stages can take over."""
        configs = {
            name: None if (part := getattr(self, name)) is None else part.config
            for name in ("encoder", "adapter", "language_model")
        }
        writer = self.language_model
        if writer is None:
            return Parts(**configs)
        return Parts(**configs, prompt=writer.prompt, lora=writer.lora)

    @property
    def new_tokens(self) -> list[int]:
        """Ids of the tokens whose embeddings alone are trained in the language model, if any."""
        if NEW_TOKENS not in self.settings.learning_rates:
            return []
        names = list(self.processor.new_tokens)
        return list(self.processor.tokenizer.convert_tokens_to_ids(names))


def plan_stages(
    stages: Sequence[StageSettings],
    processor: TranslatorProcessor,
    trained: Mapping[str, Path] | None = None,
) -> dict[str, StagePlan]:
    """Plan the stages of a recipe.

    Args:
        stages: in their order.
        processor: gives vocabulary and special tokens, and says what is read of a clip.
        trained: model folders of stages that another run trained, by name: what these have, later
            stages take over.

    Raises:
        InputError: names the fields that are wrong, all of them.
    """
    plans: dict[str, StagePlan] = {}
    known: dict[str, Parts] = {}
    mistakes = Mistakes()
    for stage in stages:
        sources = {part.source for part in _settings_of(stage).values()}
        if sources & {one.name for one in stages} - known.keys():
            continue  # of a stage that is wrong itself
        with mistakes.collected():
            plan = plans[stage.name] = plan_stage(stage, known, processor)
            known[stage.name] = plan.parts
            if trained and stage.name in trained:
                known[stage.name] = trained_parts(trained[stage.name])
    mistakes.tell()
    return plans


def trained_parts(folder: Path) -> Parts:
    """Configurations of the parts of a model in a folder.

    Raises:
        InputError: it cannot be read.
    """
    return Parts.of(load(AutoConfig, str(folder)))


def plan_stage(
    stage: StageSettings, earlier: Mapping[str, Parts], processor: TranslatorProcessor
) -> StagePlan:
    """Plan one stage.

    Args:
        stage: its settings.
        earlier: parts of the stages before, by name.
        processor: see `plan_stages`.

    Raises:
        InputError: see `plan_stages`.
    """
    plan = StagePlan(stage, processor)
    if OBJECTIVES[stage.objective].masks_text and processor.tokenizer.mask_token_id is None:
        raise InputError(
            f"{plan.where}: the objective {stage.objective} needs a tokenizer with a mask token"
        )
    mistakes = Mistakes()
    parts: dict[str, Any] = {}
    for name, part in _settings_of(stage).items():
        with mistakes.collected(), field(plan.where):
            if name == "encoder":
                parts[name] = plan_encoder(stage, earlier)
            elif name == "adapter":
                parts[name] = _plan_adapter(part, earlier)
            else:
                with field(name):
                    parts[name] = plan_language_model(part, earlier, processor)
    mistakes.tell()
    plan = replace(plan, **parts)
    for check in (_check_text_models, _check_width, _check_prompt, _check_builds):
        with mistakes.collected():
            check(plan)
    mistakes.tell()
    return plan


def _settings_of(stage: StageSettings) -> dict[str, PartSettings]:
    return {name: getattr(stage, name) for name in OBJECTIVES[stage.objective].parts}


def _origin(part: PartSettings, earlier: Mapping[str, Parts]) -> Origin:
    """Where an encoder or adapter comes from; another run and a published model look alike."""
    if part.source == "build":
        return Origin.NEW
    if part.source in earlier:
        return Origin.STAGE
    if "/" in part.source:
        return Origin.RUN
    known = ["build", *earlier]
    raise FieldError("source", f"found {part.source!r}, expected one of {known}")


# Encoders


def plan_encoder(stage: StageSettings, earlier: Mapping[str, Parts]) -> PartPlan:
    """Plan a stage's encoder; see `plan_stage`."""
    part = stage.encoder
    assert part is not None
    with field("encoder"):
        origin = _origin(part, earlier)
        if origin is Origin.RUN:
            with field("source"):
                published = source_config(part.source)
                if published.model_type not in FRONTENDS:
                    parts = Parts.of(load_trained(part.source, ", or a speech model").config)
                else:
                    origin = Origin.PUBLISHED
        if origin is Origin.PUBLISHED:
            config = _published_frontend(part, published)
        elif origin is Origin.NEW:
            config = _new_encoder(part)
        elif origin is Origin.STAGE:
            parts = earlier[part.source]
    if origin in (Origin.NEW, Origin.PUBLISHED):
        return PartPlan(part, origin, _up_to_features(stage, config))
    return PartPlan(part, origin, inherited_encoder(stage, parts))


def inherited_encoder(stage: StageSettings, parts: Parts) -> dict[str, Any]:
    """Configuration of an encoder that is taken from a model with these parts.

    Raises:
        InputError: the model has no encoder, or not the features that the stage asks for.
    """
    part = stage.encoder
    assert part is not None
    config = _inherited("encoder", part, parts)
    if stage.features != "text_encoder" or "text_encoder" in config:
        return _up_to_features(stage, config)
    if parts.language_model is None:
        raise FieldError("features", f"the stage {part.source} has no text encoder")
    if not language_model_config(parts.language_model).is_encoder_decoder:
        raise FieldError("features", "found a decoder-only model, expected a text encoder")
    return {
        "encoder": config,
        "adapter": parts.adapter,
        "text_encoder": parts.language_model,
        "lora": parts.lora,
    }


def _inherited(name: str, part: PartSettings, parts: Parts) -> dict[str, Any]:
    """Configuration of an encoder or adapter with the recipe's changes."""
    config: dict[str, Any] | None = getattr(parts, name)
    if config is None:
        raise FieldError(f"{name}.source", f"{part.source} has no {name}")
    with field(f"{name}.config"):
        refuse_unknown(part.config, config)
    return {**config, **part.config}


def _up_to_features(stage: StageSettings, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an encoder that gives the features that the stage asks for."""
    kinds = ("text_encoder", "frontend", "backbone")
    kind = next((key for key in kinds if key in config), config.get("kind"))
    found = config.get("features", "sign_wise") if kind == "backbone" else kind
    if stage.features in (None, found):
        return config
    if (stage.features, found) != (FRAME_WISE, "sign_wise"):
        other = " or frame_wise" if found == "sign_wise" else ""
        told = f"found {stage.features}, expected what the encoder has: {found}{other}"
        raise FieldError("features", told)
    return {**config, "features": FRAME_WISE}


def _new_encoder(part: PartSettings) -> dict[str, Any]:
    """Configuration of an encoder that is built; a backbone may be named, to be loaded."""
    if "kind" in part.config:
        return {**getattr(encoder_kind(part.config), "defaults", {}), **part.config}
    if "frontend" in part.config:
        return _new_frontend(part.config)
    config = {**_ENCODER_DEFAULTS, **part.config}
    if "backbone" not in config:
        raise FieldError(
            "config.backbone",
            "is missing: a hub name, folder or configuration (or frontend, for speech)",
        )
    with field("config"):
        refuse_unknown(part.config, {**_ENCODER_DEFAULTS, "backbone": None})
        _refuse_no_sizes(part.config, _ENCODER_DEFAULTS)
        with field("backbone"):
            config["backbone"] = _backbone(config["backbone"])
    kind = config["backbone"]["model_type"]
    if config["grid"] > 1 and kind not in _MAP_BACKBONES:
        raise FieldError(
            "config.grid",
            f"found {config['grid']}, expected 1, or a backbone with a feature map:"
            f" {', '.join(_MAP_BACKBONES)}",
        )
    return config


def _backbone(backbone: Any) -> dict[str, Any]:
    """Full configuration of an image model, given its name or its configuration."""
    is_name = isinstance(backbone, str)
    try:
        built = load(AutoConfig, backbone) if is_name else backbone_config_from(backbone)
    except InputError:
        raise
    except _WRONG as error:
        raise InputError(f"not an image model: {_reason(error)}") from None
    kind = MODEL_MAPPING.get(type(built), None)
    if getattr(kind, "main_input_name", None) != "pixel_values":
        raise InputError(
            f"found {f'{backbone}, ' if is_name else ''}a model of the type {built.model_type!r},"
            " expected an image model, such as resnet"
        )
    config: dict[str, Any] = built.to_dict()
    if is_name:
        return without_origin(config) | {"dtype": "float32"}
    refuse_unknown(backbone, config)
    return config


def _new_frontend(config: dict[str, Any]) -> dict[str, Any]:
    """Full configuration of a speech encoder that is built."""
    frontend, normalise = config["frontend"], config.get("normalise", False)
    with field("config"):
        refuse_unknown(config, {"frontend": None, "normalise": None})
        if not isinstance(normalise, bool):
            raise FieldError("normalise", f"found {normalise!r}, expected true or false")
        with field("frontend"):
            if isinstance(frontend, str):
                raise InputError(
                    f"found {frontend!r}, expected a configuration; a pre-trained one is"
                    f" encoder.source={frontend}"
                )
            try:
                built = frontend_config_from(frontend)
                of_mel = built.model_type == "whisper"
                whole = {
                    "normalise": not of_mel,
                    "sample_rate": SAMPLE_RATE if of_mel else None,
                    **config,
                    "frontend": built.to_dict(),
                }
                with torch.device("meta"):
                    SpeechEncoder(whole)
            except _CANNOT_BE_BUILT as error:
                raise InputError(f"not a speech model: {_reason(error)}") from None
            refuse_unknown(frontend, whole["frontend"])
    return whole


def _published_frontend(part: PartSettings, published: PreTrainedConfig) -> dict[str, Any]:
    """Configuration of a speech encoder whose weights are a published model's."""
    with field("config"):
        refuse_unknown(part.config, {"normalise": None})
    source = part.source
    with field("source"):
        try:
            told = without_origin(published.to_dict()) | _WITHOUT_SPEC_AUGMENT
            frontend = frontend_config_from(told)
        except _WRONG as error:
            raise InputError(f"{source}: {_reason(error)}") from None
        try:
            extractor = load(AutoFeatureExtractor, source)
        except InputError as error:
            raise InputError(
                f"{source}: found no preprocessor_config.json that can be read, expected one: it"
                f" says at what rate and scale the model reads audio ({error})"
            ) from None
    return {
        "normalise": bool(getattr(extractor, "do_normalize", False)),
        "sample_rate": int(extractor.sampling_rate),
        **part.config,
        "frontend": frontend.to_dict(),
    }


# Adapters


def _plan_adapter(part: PartSettings, earlier: Mapping[str, Parts]) -> AdapterPlan:
    with field("adapter"):
        origin = _origin(part, earlier)
        if origin is Origin.NEW:
            defaults = adapter_kind(part.config).defaults
            with field("config"):
                refuse_unknown(part.config, defaults)
                _refuse_no_sizes(part.config, defaults)
            return AdapterPlan(part, origin, {**defaults, **part.config})
        if origin is Origin.STAGE:
            parts = earlier[part.source]
        else:
            with field("source"):
                parts = Parts.of(load_trained(part.source).config)
    config = inherited_adapter(part, parts)
    assert parts.language_model is not None
    text = language_model_config(parts.language_model).get_text_config()
    return AdapterPlan(part, origin, config, int(text.hidden_size))


def inherited_adapter(part: PartSettings, parts: Parts) -> dict[str, Any]:
    """Configuration of an adapter that is taken from a model with these parts.

    Raises:
        InputError: the model has no adapter, or no such key of it.
    """
    return _inherited("adapter", part, parts)


# Language models


def plan_language_model(
    part: PartSettings, earlier: Mapping[str, Parts], processor: TranslatorProcessor
) -> LanguageModelPlan:
    """Plan a language model, or the one whose encoder is a text encoder; see `plan_stage`."""
    if not isinstance(part, LanguageModelSettings):
        part = LanguageModelSettings(source=part.source, config=part.config)
    if part.quantization is not None and find_spec(quantization.PACKAGE) is None:
        raise FieldError(
            "quantization",
            f"needs the package {quantization.PACKAGE}: pip install 'unglossed[quantization]'",
        )
    prompt = prompt_ids(part.prompt, processor) if part.prompt else None
    lora = part.lora.model_dump() if part.lora else None
    if part.source in earlier:
        parts = earlier[part.source]
        assert parts.language_model is not None
        return LanguageModelPlan(
            part,
            Origin.STAGE,
            _changed(parts.language_model, part.config),
            processor,
            parts.prompt if prompt is None else prompt,
            parts.lora if lora is None else lora,
        )
    if part.source == "build":
        origin, config = Origin.NEW, new_language_model_config(part.config, processor)
    else:
        with field("source"):
            fields = _published_language_model(part.source, processor).to_dict()
        origin, config = Origin.PUBLISHED, published_config(fields, part, processor)
    prompt = prompt or default_prompt(config, processor)
    return LanguageModelPlan(part, origin, config, processor, prompt, lora)


def new_language_model_config(
    settings: Mapping[str, Any], processor: TranslatorProcessor
) -> dict[str, Any]:
    """A new language model's full configuration.

    Args:
        settings: `light_t` (a size, or a dict of layers, heads, width, ffn_dim) or `model_type`
            (any text model of transformers), with further fields of that configuration.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: a field of `config` is wrong.
    """
    tokenizer = processor.tokenizer
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "pad_token_id")}
    special["eos_token_id"] = tokenizer.eos_token_id
    fields = dict(settings)
    with field("config"):
        if "light_t" in fields:
            _check_size(fields["light_t"])
        try:
            if "light_t" in fields or language_model_config(fields).is_encoder_decoder:
                special |= _text_ends(processor)
            if "light_t" in fields:
                size = fields.pop("light_t")
                config = light_t_config(size, len(tokenizer), **{**special, **fields}).to_dict()
            else:
                fields.setdefault("vocab_size", len(tokenizer))
                config = language_model_config({**special, **fields}).to_dict()
        except _WRONG as error:
            raise InputError(f"not a language model: {_reason(error)}") from None
        refuse_unknown(fields, config)
    return config


def published_config(
    fields: Mapping[str, Any], part: LanguageModelSettings, processor: TranslatorProcessor
) -> dict[str, Any]:
    """Configuration of a published language model in a stage.

    Args:
        fields: as its files, or the loaded model, have it.
        part: whose `config` changes it.
        processor: has the tokens that the model will read and write.

    Raises:
        InputError: a changed key is not there, or the values do not go together.
    """
    config = _changed(without_origin(dict(fields)), part.config)
    config.pop(KEPT, None)
    config["pad_token_id"] = processor.tokenizer.pad_token_id
    config["eos_token_id"] = processor.tokenizer.eos_token_id
    return config | _text_ends(processor) if config["is_encoder_decoder"] else config


def _published_language_model(source: str, processor: TranslatorProcessor) -> PreTrainedConfig:
    """Configuration of a published language model, whose weights are looked at but not loaded."""
    config: PreTrainedConfig = load(AutoConfig, source)
    known_kinds = MODEL_FOR_CAUSAL_LM_MAPPING
    if config.is_encoder_decoder:
        known_kinds = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if type(config) not in known_kinds:
        raise InputError(
            f"found {source}, a model of the type {config.model_type!r}, expected a language model,"
            " such as mbart or llama"
        )
    if getattr(config, KEPT, {}).get("lora"):
        raise InputError(
            f"found {source}, a language model with LoRA, which only later stages of its own run"
            " can take over, expected one without"
        )
    check_weights(source)
    text = config.get_text_config()
    needed = len(processor.tokenizer) - len(processor.new_tokens)
    if needed > text.vocab_size:
        raise InputError(
            f"found a model of {text.vocab_size} tokens, expected at least the tokenizer's"
            f" {needed}: name the model's own in tokenizer.pretrained"
        )
    return config


def prompt_ids(prompt: PromptSettings, processor: TranslatorProcessor) -> dict[str, list[int]]:
    """Token ids of a prompt; names of special tokens in it count as those tokens."""
    tokenizer = processor.tokenizer
    return {
        side: list(tokenizer(text, add_special_tokens=False)["input_ids"])
        for side, text in (("before", prompt.before), ("after", prompt.after))
    }


def default_prompt(
    config: Mapping[str, Any], processor: TranslatorProcessor
) -> dict[str, list[int]] | None:
    """A decoder-only model reads its begin token first, if it has one; others have no prompt."""
    begin = processor.tokenizer.bos_token_id
    if language_model_config(dict(config)).is_encoder_decoder or begin is None:
        return None
    return {"before": [begin], "after": []}


def _check_size(size: Any) -> None:
    keys = list(LIGHT_T_SIZES["tiny"])
    if isinstance(size, str) and size in LIGHT_T_SIZES:
        return
    if not (isinstance(size, Mapping) and set(size) == set(keys)):
        raise FieldError(
            "light_t",
            f"found {size!r}, expected one of {', '.join(LIGHT_T_SIZES)}, or a mapping with"
            f" {', '.join(keys)}",
        )


def _text_ends(processor: TranslatorProcessor) -> dict[str, Any]:
    """How an encoder-decoder's texts begin; and a long one is cut, not ended by mBART's force."""
    return {"decoder_start_token_id": processor.start_token_id, "forced_eos_token_id": None}


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A language model's configuration with the recipe's changes."""
    with field("config"):
        refuse_unknown(changes, config)
        changed = {**config, **changes}
        try:
            language_model_config(changed)
        except _WRONG as error:
            raise InputError(f"not a language model: {_reason(error)}") from None
    return changed


# What fits together


def _check_text_models(plan: StagePlan) -> None:
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
    """Refuse an adapter that leads to another width than its language model has."""
    adapter, writer = plan.adapter, plan.language_model
    if adapter is None or writer is None or adapter.width in (None, writer.width):
        return
    raise FieldError(
        f"{plan.where}.adapter.source",
        f"the adapter of {adapter.settings.source} leads to width {adapter.width}, but the language"
        f" model {writer.settings.source} has {writer.width}: build a new adapter",
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


def _check_builds(plan: StagePlan) -> None:
    """Build encoder and language model without weights; names in `frozen` have to be in them."""
    built, mistakes = nn.Module(), Mistakes()
    writer, encoder = plan.language_model, plan.encoder
    if writer is not None:
        with mistakes.collected(), field(plan.where), field("language_model"):
            built.language_model = _without_weights(
                lambda: build_language_model(writer.config, lora=writer.lora)
            )
    if encoder is not None:
        # One of another package may be unable to do without weights.
        device = "cpu" if "kind" in encoder.config else "meta"
        with mistakes.collected(), field(plan.where), field("encoder.config"):
            built.encoder = _without_weights(lambda: build_encoder(encoder.config), device)
    if encoder is not None and writer is not None and hasattr(built, "encoder"):
        assert plan.adapter is not None
        width, adapter = built.encoder.output_dim, plan.adapter.config
        with mistakes.collected(), field(plan.where), field("adapter.config"):
            built.adapter = _without_weights(lambda: build_adapter(width, writer.width, adapter))
    if encoder is not None and encoder.origin is not Origin.STAGE and hasattr(built, "encoder"):
        with mistakes.collected():
            _check_signal(built.encoder, encoder.config, plan)
    for name in plan.settings.frozen:
        if not hasattr(built, name.partition(".")[0]):
            continue
        with mistakes.collected():
            try:
                built.get_submodule(name)
            except AttributeError as error:
                raise FieldError(f"{plan.where}.frozen", f"found {name!r}: {error}") from None
    mistakes.tell()


def _without_weights(build: Callable[[], nn.Module], device: str = "meta") -> nn.Module:
    try:
        with torch.device(device):
            built = build()
    except InputError:
        raise
    except _CANNOT_BE_BUILT as error:
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
    """Refuse an encoder that reads something else than the recipe gives: pictures, sound, rate."""
    audio_rate, max_seconds = plan.processor.audio_rate, plan.processor.max_seconds
    where = f"{plan.where}.encoder"
    while "encoder" in config:
        encoder, config = encoder.encoder, config["encoder"]
    reads_audio = isinstance(encoder, SpeechEncoder) or getattr(encoder, "signal", "") == "audio"
    if reads_audio != (audio_rate is not None):
        kinds = ["pictures", "sound"]
        found, expected = kinds if audio_rate is not None else reversed(kinds)
        no = "" if audio_rate is not None else "no "
        raise FieldError(
            where,
            f"found an encoder of {found}, expected one of {expected}: the recipe has {no}`audio`",
        )
    if audio_rate is None:
        return
    wanted = config.get("sample_rate") or audio_rate
    if wanted != audio_rate:
        raise FieldError(
            "audio.audio_rate",
            f"found {audio_rate}, expected {wanted}, at which the model of {where} reads sound",
        )
    limit = encoder.input_limit(None)
    if limit is not None and max_seconds is not None and max_seconds * audio_rate > limit:
        raise FieldError(
            "audio.max_seconds",
            f"found {max_seconds:g}, expected at most {limit / audio_rate:.1f}, for which the model"
            f" of {where} has room",
        )


def _refuse_no_sizes(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse values that are no sizes, for keys whose defaults are whole numbers."""
    for key, value in config.items():
        is_size = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if isinstance(defaults.get(key), int) and not (is_size and value <= _LARGEST_SIZE):
            most = f" and at most {_LARGEST_SIZE:,}" if is_size else ""
            raise FieldError(key, f"found {value!r}, expected a whole number above 0{most}")


def refuse_unknown(settings: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse keys that the part's class would silently ignore.

    A transformers configuration takes any key for its own, so it is compared with a default one.
    """
    names = set(known)
    if "model_type" in known:
        default = AutoConfig.for_model(known["model_type"])
        names = {key for key in {*known, *settings} if hasattr(default, key)}
    for key in settings:
        if key not in names:
            raise FieldError(key, f"no such key{suggest(key, names)}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def shorten(error: Exception) -> str:
    """A library's message in one line that ends with a word."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__


def _memory() -> int | None:
    """Bytes of memory of this machine; None: it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
