"""Builds a stage's translator: each part new, inherited from an earlier stage, or pre-trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, PreTrainedModel

from unglossed.errors import InputError
from unglossed.models.language_model import language_model_config, light_t_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import frontend_config_from
from unglossed.models.translator import PARTS, Translator, TranslatorConfig
from unglossed.models.visual import backbone_config_from
from unglossed.training.recipe import PartSettings, StageSettings

ENCODER_DEFAULTS = {
    "grid": 1,
    "temporal_dim": 512,
    "temporal_kernel": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
MAP_BACKBONES = ("convnext", "convnextv2", "efficientnet", "mobilenet_v2", "regnet", "resnet")
"""Backbones whose last hidden state is a map (frames, dim, height, width)."""
ADAPTER_DEFAULTS = {"hidden_dim": 512, "dropout": 0.0}


def check_new_parts(
    stage: StageSettings, stage_names: Sequence[str], processor: TranslatorProcessor
) -> None:
    """Check every part that a stage does not inherit, before any stage is trained.

    What is built must have a valid configuration, what is loaded must be there.

    Args:
        stage: its settings.
        stage_names: of the recipe, which a part may name as its source.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: names the field of the recipe that is wrong.
    """
    for name in PARTS:
        part: PartSettings | None = getattr(stage, name)
        where = f"stages.{stage.name}.{name}"
        if part is None or part.source in stage_names:
            continue
        if part.source != "build":
            _load(AutoConfig, part.source, f"{where}.source")
        elif name == "language_model":
            new_language_model_config(part.config, processor, where)
        elif name == "adapter":
            _refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
        elif isinstance(part.config.get("backbone"), str):
            _load(AutoConfig, part.config["backbone"], f"{where}.config.backbone")
        else:
            _new_encoder(part, where, {})


def build_translator(
    stage: StageSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> Translator:
    """Build a stage's translator with its inherited and pre-trained weights, frozen as it says.

    Args:
        stage: its settings.
        earlier: model folders of the stages that ran before, by name.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: a source is neither a stage nor a loadable model, or does not fit.
    """
    configs: dict[str, dict[str, Any]] = {}
    weights: dict[str, nn.Module] = {}
    for name in PARTS:
        part: PartSettings = getattr(stage, name)
        where = f"stages.{stage.name}.{name}"
        if part.source in earlier:
            configs[name], weights[name] = _inherited(name, earlier[part.source], where)
            _refuse_unknown(part.config, configs[name], f"{where}.config")
            configs[name] = {**configs[name], **part.config}
        elif name == "encoder":
            configs[name], backbone = _new_encoder(part, where, earlier)
            if backbone is not None:
                weights["encoder.backbone"] = backbone
        elif name == "adapter":
            _only_build(part, where, earlier)
            _refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
            configs[name] = {**ADAPTER_DEFAULTS, **part.config}
        elif part.source == "build":
            configs[name] = new_language_model_config(part.config, processor, where)
        else:
            pretrained = _load(AutoModelForSeq2SeqLM, part.source, f"{where}.source")
            _check_vocabulary(pretrained, processor, where)
            configs[name] = pretrained.config.to_dict()
            _refuse_unknown(part.config, configs[name], f"{where}.config")
            configs[name].update(part.config)
            configs[name]["decoder_start_token_id"] = processor.start_token_id
            weights["language_model.model"] = pretrained
    try:
        translator = Translator(TranslatorConfig(**configs))
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"stages.{stage.name}: cannot be built: {reason}") from None
    for name, source in weights.items():
        try:
            translator.get_submodule(name).load_state_dict(source.state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"stages.{stage.name}.{name}: weights do not fit: {reason}") from None
    translator.freeze(stage.frozen)
    return translator


def build_language_model(stage: StageSettings, processor: TranslatorProcessor) -> PreTrainedModel:
    """Build the language model of a stage that trains on text alone."""
    where = f"stages.{stage.name}.language_model"
    part = stage.language_model
    if processor.tokenizer.mask_token_id is None:
        raise InputError(f"stages.{stage.name}: denoising needs a tokenizer with a mask token")
    if part.source != "build":
        model = _load(AutoModelForSeq2SeqLM, part.source, f"{where}.source")
        _check_vocabulary(model, processor, where)
        return model
    config = new_language_model_config(part.config, processor, where)
    return AutoModelForSeq2SeqLM.from_config(language_model_config(config))


def new_language_model_config(
    settings: Mapping[str, Any], processor: TranslatorProcessor, where: str
) -> dict[str, Any]:
    """A new language model's full configuration.

    Args:
        settings: `light_t` (a size, or a dict of layers, heads, width, ffn_dim) or `model_type`
            (any encoder-decoder of transformers), with further fields of that configuration.
        processor: gives vocabulary and special tokens.
        where: field of the recipe, for errors.
    """
    tokenizer = processor.tokenizer
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "forced_eos_token_id": None,
        "decoder_start_token_id": processor.start_token_id,
    }
    fields = dict(settings)
    try:
        if "light_t" in fields:
            size = fields.pop("light_t")
            config = light_t_config(size, len(tokenizer), **{**special, **fields}).to_dict()
        else:
            fields.setdefault("vocab_size", len(tokenizer))
            config = language_model_config({**special, **fields}).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config: not a language model: {reason}") from None
    _refuse_unknown(fields, config, f"{where}.config")
    return config


def _inherited(name: str, folder: Path, where: str) -> tuple[dict[str, Any], nn.Module]:
    """Configuration and weights of one part out of an earlier stage's model folder."""
    config = AutoConfig.from_pretrained(folder)
    if isinstance(config, TranslatorConfig):
        translator = Translator.from_pretrained(folder)
        return getattr(translator.config, name), getattr(translator, name)
    if name != "language_model":
        raise InputError(f"{where}.source: that stage has no {name}")
    # The face adds one level of names around the transformers model.
    return config.to_dict(), nn.ModuleDict({"model": AutoModelForSeq2SeqLM.from_pretrained(folder)})


def _new_encoder(
    part: PartSettings, where: str, earlier: Mapping[str, Path]
) -> tuple[dict[str, Any], nn.Module | None]:
    _only_build(part, where, earlier)
    if "frontend" in part.config:
        return _new_speech_encoder(part, where)
    config = {**ENCODER_DEFAULTS, **part.config}
    if "backbone" not in config:
        raise InputError(
            f"{where}.config.backbone: is missing: a hub name, folder or configuration"
            " (or frontend, for speech)"
        )
    backbone = config["backbone"]
    _refuse_unknown(part.config, {**ENCODER_DEFAULTS, "backbone": None}, f"{where}.config")
    if isinstance(backbone, str):
        model = _load(AutoModel, backbone, f"{where}.config.backbone")
        config["backbone"] = model.config.to_dict()
        return config, model
    try:
        config["backbone"] = backbone_config_from(backbone).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.backbone: not an image model: {reason}") from None
    _refuse_unknown(backbone, config["backbone"], f"{where}.config.backbone")
    if config["grid"] > 1 and backbone_config_from(backbone).model_type not in MAP_BACKBONES:
        raise InputError(
            f"{where}.config.grid: found {config['grid']}, expected 1, or a backbone with a feature"
            f" map: {', '.join(MAP_BACKBONES)}"
        )
    return config, None


def _new_speech_encoder(part: PartSettings, where: str) -> tuple[dict[str, Any], nn.Module | None]:
    _refuse_unknown(part.config, {"frontend": None}, f"{where}.config")
    frontend = part.config["frontend"]
    try:
        config = frontend_config_from(frontend).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.frontend: not a speech model: {reason}") from None
    _refuse_unknown(frontend, config, f"{where}.config.frontend")
    return {"frontend": config}, None


def _refuse_unknown(settings: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Refuse keys that the part's class would silently ignore.

    A transformers configuration takes any key for its own, so it is compared with a default one.
    """
    names = set(known)
    if "model_type" in known:
        default = AutoConfig.for_model(known["model_type"])
        names = {key for key in {*known, *settings} if hasattr(default, key)}
    for key in settings:
        if key not in names:
            raise InputError(f"{where}.{key}: no such key")


def _check_vocabulary(model: PreTrainedModel, processor: TranslatorProcessor, where: str) -> None:
    known, needed = int(model.config.vocab_size), len(processor.tokenizer)
    if needed > known:
        raise InputError(
            f"{where}.source: found a model of {known} tokens, expected at least the tokenizer's"
            f" {needed}: name the model's own in tokenizer.pretrained"
        )


def _only_build(part: PartSettings, where: str, earlier: Mapping[str, Path]) -> None:
    if part.source != "build":
        known = ["build", *earlier]
        raise InputError(f"{where}.source: found {part.source!r}, expected one of {known}")


def _load(kind: Any, source: str, where: str) -> Any:
    settings = {} if kind is AutoConfig else {"dtype": torch.float32}
    try:
        return kind.from_pretrained(source, **settings)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{where}: {source} cannot be loaded: {reason}") from None
