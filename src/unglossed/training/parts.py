"""The parts of a stage: where each comes from and its configuration, found without its weights.

Errors name the keys within the part, such as `config.dropout`; `plan.py` puts the stage in front.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from importlib.util import find_spec
from typing import Any, NoReturn

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from unglossed.config import FieldError, field, suggest
from unglossed.errors import InputError
from unglossed.files import without_origin
from unglossed.models import tuning
from unglossed.models.adapter import adapter_kind
from unglossed.models.encoder import KINDS, OURS, STREAMS_KIND, encoder_kind
from unglossed.models.frozen_block import KEY
from unglossed.models.language_model import LIGHT_T_SIZES, language_model_config, light_t_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.recogniser import RecogniserConfig
from unglossed.models.segmenter import SegmenterConfig
from unglossed.models.speech import FRONTENDS, SAMPLE_RATE, SpeechEncoder, frontend_config_from
from unglossed.models.temporal import POOL_KEYS
from unglossed.models.translator import TranslatorConfig
from unglossed.models.visual import FRAME_WISE, MOTION, backbone_config_from, check_grid
from unglossed.training.prompts import plan_prompt
from unglossed.training.settings import (
    LanguageModelSettings,
    PartSettings,
    StageSettings,
)
from unglossed.training.sources import (
    check_weights,
    check_writes,
    load,
    load_trained,
    plan_block,
    source_config,
)
from unglossed.training.two_streams import plan_streams

KEPT = "unglossed"
"""Key of a transformers configuration under which a model that was trained on text alone keeps the
prompt and the LoRA that a translator's configuration would keep."""
CANNOT_BE_BUILT = (
    *(KeyError, TypeError, ValueError, StrictDataclassError),
    *(RuntimeError, ZeroDivisionError, MemoryError),
)
"""What torch and transformers raise where a configuration's values are wrong."""
_WRONG = CANNOT_BE_BUILT[:4]
_LARGEST_SIZE = 1_000_000
_ENCODER_DEFAULTS: dict[str, Any] = {
    "grid": 1,
    "temporal_dim": 512,
    "temporal_kernel": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
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
    """Configurations of the parts of a model, trained or yet to be; see `TranslatorConfig`."""

    encoder: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None
    language_model: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Parts:
        """Those of a trained model, by its configuration."""
        if isinstance(config, TranslatorConfig):
            return cls(**{one.name: getattr(config, one.name) for one in fields(cls)})
        if isinstance(config, (RecogniserConfig, SegmenterConfig)):
            return cls(encoder=config.encoder)
        values = config.to_dict()
        kept = values.pop(KEPT, {})
        return cls(language_model=values, prompt=kept.get("prompt"), lora=kept.get("lora"))


@dataclass(frozen=True)
class PartPlan:
    """An encoder or adapter and the configuration that it will have."""

    settings: PartSettings
    origin: Origin
    config: dict[str, Any]
    leads_to: int | None = None
    """Width of the language model that a trained adapter was trained with."""


@dataclass(frozen=True)
class LanguageModelPlan:
    """A language model with its prompt and LoRA, its own or inherited; see `LanguageModel`."""

    settings: LanguageModelSettings
    origin: Origin
    config: dict[str, Any]
    """What it will be; of a published one as far as its files tell without weights."""
    prompt: dict[str, Any] | None
    lora: dict[str, Any] | None

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


def _origin(part: PartSettings, earlier: Mapping[str, Parts]) -> Origin:
    """Where an encoder or adapter comes from; a published model looks like another run."""
    if part.source in earlier:
        return Origin.STAGE
    if part.source == "build" or "/" in part.source:
        return Origin.NEW if part.source == "build" else Origin.RUN
    raise FieldError("source", f"found {part.source!r}, expected one of {['build', *earlier]}")


def inherited(name: str, part: PartSettings, parts: Parts) -> dict[str, Any]:
    """Configuration of an encoder or adapter of a model with these parts, as the recipe has it."""
    config: dict[str, Any] | None = getattr(parts, name)
    if config is None:
        raise FieldError(f"{name}.source", f"{part.source} has no {name}")
    with field(f"{name}.config"):
        refuse_unknown(part.config, config)
    return {**config, **part.config}


def plan_encoder(
    stage: StageSettings, earlier: Mapping[str, Parts], processor: TranslatorProcessor
) -> PartPlan:
    """Plan a stage's encoder, given earlier stages' parts by name; the processor tells its clips.

    Raises InputError where its source is not there, or its configuration is wrong.
    """
    part = stage.encoder
    assert part is not None
    with field("encoder"):
        origin = _origin(part, earlier)
        if origin is Origin.NEW:
            source_key = f"stages.{stage.name}.encoder.source"
            with field("config"):
                config = _new_encoder(part.config, source_key, processor)
        elif origin is Origin.STAGE:
            parts = earlier[part.source]
        else:
            with field("source"):
                published = source_config(part.source)
                if published.model_type not in FRONTENDS:
                    parts = Parts.of(load_trained(part.source, ", or a speech model").config)
            if published.model_type in FRONTENDS:
                origin, config = Origin.PUBLISHED, _published_frontend(part, published)
    if origin in (Origin.STAGE, Origin.RUN):
        return PartPlan(part, origin, inherited_encoder(stage, parts))
    return PartPlan(part, origin, _up_to_features(stage, config))


def inherited_encoder(stage: StageSettings, parts: Parts) -> dict[str, Any]:
    """Configuration of an encoder of a model with these parts, with the features of the stage."""
    part = stage.encoder
    assert part is not None
    config = inherited("encoder", part, parts)
    if stage.features != "text_encoder" or "text_encoder" in config:
        return _up_to_features(stage, config)
    if parts.language_model is None:
        raise FieldError("features", f"the stage {part.source} has no text encoder")
    if not language_model_config(parts.language_model).is_encoder_decoder:
        raise FieldError("features", "found a decoder-only model, expected a text encoder")
    others = {"text_encoder": parts.language_model, "lora": parts.lora}
    return {"encoder": config, "adapter": parts.adapter, **others}


def _up_to_features(stage: StageSettings, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an encoder that gives the features that the stage asks for."""
    kind = next((key for key in KINDS if key in config), config.get("kind"))
    found = config.get("features", "sign_wise") if kind == "backbone" else kind
    if stage.features in (None, found):
        return config
    if (stage.features, found) != (FRAME_WISE, "sign_wise"):
        known = found if found != "sign_wise" else "sign_wise or frame_wise"
        raise FieldError("features", f"found {stage.features}, expected the encoder's: {known}")
    return {**config, "features": FRAME_WISE}


def _new_encoder(
    given: dict[str, Any], source_key: str, processor: TranslatorProcessor
) -> dict[str, Any]:
    if given.get("kind") == STREAMS_KIND:
        return plan_streams(given, lambda inner: _new_encoder(inner, source_key, processor))
    if "kind" in given:
        kind = encoder_kind(given)
        if given["kind"] in OURS:  # one of another package checks its values itself
            _refuse_no_sizes(given, kind.defaults, kind.may_be_zero)
        return kind.complete(given, processor)
    if "frontend" in given:
        return _new_frontend(given, source_key)
    config = {**_ENCODER_DEFAULTS, **given}
    if "backbone" not in config:
        raise FieldError("backbone", "is missing: a hub name, folder or configuration, or frontend")
    refuse_unknown(given, _ENCODER_DEFAULTS | dict.fromkeys((*POOL_KEYS, KEY, MOTION, "backbone")))
    _refuse_no_sizes(given, _ENCODER_DEFAULTS)
    with field("backbone"):
        config["backbone"] = _backbone(config["backbone"])
    with field(KEY):
        config |= {KEY: plan_block(given[KEY])} if given.get(KEY) else {}
    check_grid(config["grid"], config["backbone"]["model_type"])
    return config


def _backbone(backbone: Any) -> dict[str, Any]:
    """Full configuration of an image model, given its name or its configuration."""
    if is_name := isinstance(backbone, str):
        built = load(AutoConfig, backbone)
    else:
        try:
            built = backbone_config_from(backbone)
        except _WRONG as error:
            raise InputError(f"not an image model: {shorten(error)}") from None
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


def _new_frontend(config: dict[str, Any], source_key: str) -> dict[str, Any]:
    frontend, normalise = config["frontend"], config.get("normalise", False)
    refuse_unknown(config, {"frontend": None, "normalise": None})
    if not isinstance(normalise, bool):
        raise FieldError("normalise", f"found {normalise!r}, expected true or false")
    with field("frontend"):
        if isinstance(frontend, str):
            raise InputError(
                f"found {frontend!r}, expected a configuration; a pre-trained one is"
                f" {source_key}={frontend}"
            )
        try:
            built = frontend_config_from(frontend)
            of_mel = built.model_type == "whisper"
            told = {"normalise": not of_mel, "sample_rate": SAMPLE_RATE if of_mel else None}
            whole = {**told, **config, "frontend": built.to_dict()}
            with torch.device("meta"):
                SpeechEncoder(whole)
        except CANNOT_BE_BUILT as error:
            raise InputError(f"not a speech model: {shorten(error)}") from None
        refuse_unknown(frontend, whole["frontend"])
    return whole


def _published_frontend(part: PartSettings, published: PreTrainedConfig) -> dict[str, Any]:
    """Configuration of a speech encoder whose weights are a published model's."""
    with field("config"):
        refuse_unknown(part.config, {"normalise": None})
    with field("source"):
        try:
            told = without_origin(published.to_dict()) | _WITHOUT_SPEC_AUGMENT
            frontend = frontend_config_from(told)
        except _WRONG as error:
            raise InputError(f"{part.source}: {shorten(error)}") from None
        try:
            extractor = load(AutoFeatureExtractor, part.source)
        except InputError as error:
            raise InputError(
                f"{part.source}: found no preprocessor_config.json that can be read, expected one:"
                f" it says at what rate and scale the model reads audio ({error})"
            ) from None
    return {
        "normalise": bool(getattr(extractor, "do_normalize", False)),
        "sample_rate": int(extractor.sampling_rate),
        **part.config,
        "frontend": frontend.to_dict(),
    }


def plan_adapter(part: PartSettings, earlier: Mapping[str, Parts]) -> PartPlan:
    """Plan an adapter; see `plan_encoder`."""
    with field("adapter"):
        origin = _origin(part, earlier)
        if origin is Origin.NEW:
            defaults = adapter_kind(part.config).defaults
            with field("config"):
                refuse_unknown(part.config, defaults)
                _refuse_no_sizes(part.config, defaults)
            return PartPlan(part, origin, {**defaults, **part.config})
        with field("source"):
            parts = earlier.get(part.source) or Parts.of(load_trained(part.source).config)
    config = inherited("adapter", part, parts)
    assert parts.language_model is not None
    text = language_model_config(parts.language_model).get_text_config()
    return PartPlan(part, origin, config, int(text.hidden_size))


def plan_language_model(
    part: PartSettings, earlier: Mapping[str, Parts], processor: TranslatorProcessor
) -> LanguageModelPlan:
    """Plan a language model, also the one whose encoder is a text encoder; see `plan_encoder`."""
    if not isinstance(part, LanguageModelSettings):
        part = LanguageModelSettings(source=part.source, config=part.config)
    if part.quantization is not None and find_spec(tuning.PACKAGE) is None:
        told = f"needs the package {tuning.PACKAGE}: pip install 'unglossed[quantization]'"
        raise FieldError("quantization", told)
    lora = part.lora.model_dump() if part.lora else None
    if part.source in earlier:
        parts = earlier[part.source]
        assert parts.language_model is not None
        config = _changed(parts.language_model, part.config)
        prompt = plan_prompt(part.prompt, parts.prompt, config, processor)
        lora = parts.lora if lora is None else lora
        return LanguageModelPlan(part, Origin.STAGE, config, prompt, lora)
    if part.source == "build":
        origin, config = Origin.NEW, new_language_model_config(part.config, processor)
    else:
        with field("source"):
            found = _published_language_model(part.source, processor)
        origin, config = Origin.PUBLISHED, published_config(found, part, processor)
    prompt = plan_prompt(part.prompt, None, config, processor)
    return LanguageModelPlan(part, origin, config, prompt, lora)


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
    tokenizer, values = processor.tokenizer, dict(settings)
    names = ("bos_token_id", "pad_token_id", "eos_token_id")
    special = {name: getattr(tokenizer, name) for name in names}
    with field("config"):
        if "light_t" in values:
            _check_size(values["light_t"])
        try:
            if "light_t" in values or language_model_config(values).is_encoder_decoder:
                special |= _text_ends(processor)
            if "light_t" in values:
                size = values.pop("light_t")
                config = light_t_config(size, len(tokenizer), **{**special, **values}).to_dict()
            else:
                values.setdefault("vocab_size", len(tokenizer))
                config = language_model_config({**special, **values}).to_dict()
        except _WRONG as error:
            raise InputError(f"not a language model: {shorten(error)}") from None
        refuse_unknown(values, config)
    return config


def published_config(
    found: PreTrainedConfig, part: LanguageModelSettings, processor: TranslatorProcessor
) -> dict[str, Any]:
    """Configuration of a published language model in a stage; `found` is that of its files."""
    config = _changed(without_origin(found.to_dict()), part.config)
    config.pop(KEPT, None)
    config["pad_token_id"] = processor.tokenizer.pad_token_id
    config["eos_token_id"] = processor.tokenizer.eos_token_id
    return config | _text_ends(processor) if config["is_encoder_decoder"] else config


def _published_language_model(source: str, processor: TranslatorProcessor) -> PreTrainedConfig:
    """Configuration of a published language model, whose weights are looked at but not loaded."""
    config: PreTrainedConfig = load(AutoConfig, source)
    check_writes(config, source)
    if getattr(config, KEPT, {}).get("lora"):
        raise InputError(
            f"found {source}, a language model with LoRA, which only later stages of its own run"
            " can take over, expected one without"
        )
    check_weights(source)
    known = config.get_text_config().vocab_size
    needed = len(processor.tokenizer) - len(processor.new_tokens)
    if needed > known:
        _refuse_tokens_above(processor.tokenizer, known, needed)
    return config


def _refuse_tokens_above(tokenizer: PreTrainedTokenizerBase, known: int, needed: int) -> NoReturn:
    """Refuse a tokenizer with more tokens than a model has rows.

    Gemma 3's text models are published so: the last, added token is for images.

    Raises:
        InputError: always; what to do depends on whether the tokens were added to the pieces.
    """
    found = f"found a model of {known} tokens, expected at least the tokenizer's {needed}"
    if all(number in tokenizer.added_tokens_decoder for number in range(known, needed)):
        first = tokenizer.convert_ids_to_tokens(known)
        raise InputError(
            f"{found}, of which {first!r} was added and has no row: if both are of one model, make"
            " both anew by `unglossed trim`, which leaves out such tokens; else name the model's"
            " own in tokenizer.pretrained"
        )
    raise InputError(f"{found}: name the model's own in tokenizer.pretrained")


def _check_size(size: Any) -> None:
    keys = list(LIGHT_T_SIZES["tiny"])
    is_known = size in LIGHT_T_SIZES if isinstance(size, str) else isinstance(size, dict)
    if not is_known or (isinstance(size, dict) and set(size) != set(keys)):
        names = f"{', '.join(LIGHT_T_SIZES)}, or a mapping with {', '.join(keys)}"
        raise FieldError("light_t", f"found {size!r}, expected one of {names}")


def _text_ends(processor: TranslatorProcessor) -> dict[str, Any]:
    """How an encoder-decoder's texts begin; and a long one is cut, not ended by mBART's force."""
    return {"decoder_start_token_id": processor.start_token_id, "forced_eos_token_id": None}


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A language model's configuration with the recipe's changes."""
    changed = {**config, **changes}
    with field("config"):
        refuse_unknown(changes, config)
        try:
            language_model_config(changed)
        except _WRONG as error:
            raise InputError(f"not a language model: {shorten(error)}") from None
    return changed


def _refuse_no_sizes(
    config: Mapping[str, Any], defaults: Mapping[str, Any], may_be_zero: Collection[str] = ()
) -> None:
    """Refuse values that are no sizes, for keys whose defaults are whole numbers."""
    for key, value in config.items():
        least = 0 if key in may_be_zero else 1
        is_size = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if isinstance(defaults.get(key), int) and not (is_size and value <= _LARGEST_SIZE):
            most = f" and at most {_LARGEST_SIZE:,}" if is_size else ""
            told = f"expected a whole number {'above 0' if least else 'from 0'}{most}"
            raise FieldError(key, f"found {value!r}, {told}")


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


def shorten(error: Exception) -> str:
    """A library's message in one line that ends with a word."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__
