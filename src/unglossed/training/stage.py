"""Builds a stage's translator: each part new, inherited from an earlier stage, or pre-trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModel

from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import frontend_config_from
from unglossed.models.translator import PARTS, Translator, TranslatorConfig
from unglossed.models.visual import backbone_config_from
from unglossed.training.language_models import language_model_part, new_language_model_config
from unglossed.training.recipe import PartSettings, StageSettings
from unglossed.training.sources import load, refuse_unknown

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
            load(AutoConfig, part.source, f"{where}.source")
        elif name == "language_model":
            new_language_model_config(part.config, processor, where)
        elif name == "adapter":
            refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
        elif isinstance(part.config.get("backbone"), str):
            load(AutoConfig, part.config["backbone"], f"{where}.config.backbone")
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
    for name in ("encoder", "adapter"):
        part: PartSettings = getattr(stage, name)
        where = f"stages.{stage.name}.{name}"
        if part.source in earlier:
            configs[name], weights[name] = _inherited(name, earlier[part.source], where)
            refuse_unknown(part.config, configs[name], f"{where}.config")
            configs[name] = {**configs[name], **part.config}
        elif name == "encoder":
            configs[name], backbone = _new_encoder(part, where, earlier)
            if backbone is not None:
                weights["encoder.backbone"] = backbone
        else:
            _only_build(part, where, earlier)
            refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
            configs[name] = {**ADAPTER_DEFAULTS, **part.config}
    where = f"stages.{stage.name}.language_model"
    writer = language_model_part(stage.language_model, earlier, processor, where)
    try:
        translator = Translator(
            TranslatorConfig(
                **configs, language_model=writer.config, prompt=writer.prompt, lora=writer.lora
            )
        )
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"stages.{stage.name}: cannot be built: {reason}") from None
    for name in (*weights, "language_model"):
        try:
            if name == "language_model":
                writer.load_into(translator)
            else:
                translator.get_submodule(name).load_state_dict(weights[name].state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"stages.{stage.name}.{name}: weights do not fit: {reason}") from None
    translator.freeze(stage.frozen)
    return translator


def _inherited(name: str, folder: Path, where: str) -> tuple[dict[str, Any], nn.Module]:
    """Configuration and weights of one part out of an earlier stage's model folder."""
    config = AutoConfig.from_pretrained(folder)
    if not isinstance(config, TranslatorConfig):
        raise InputError(f"{where}.source: that stage has no {name}")
    translator = Translator.from_pretrained(folder)
    return getattr(translator.config, name), getattr(translator, name)


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
    refuse_unknown(part.config, {**ENCODER_DEFAULTS, "backbone": None}, f"{where}.config")
    if isinstance(backbone, str):
        model = load(AutoModel, backbone, f"{where}.config.backbone")
        config["backbone"] = model.config.to_dict()
        return config, model
    try:
        config["backbone"] = backbone_config_from(backbone).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.backbone: not an image model: {reason}") from None
    refuse_unknown(backbone, config["backbone"], f"{where}.config.backbone")
    if config["grid"] > 1 and backbone_config_from(backbone).model_type not in MAP_BACKBONES:
        raise InputError(
            f"{where}.config.grid: found {config['grid']}, expected 1, or a backbone with a feature"
            f" map: {', '.join(MAP_BACKBONES)}"
        )
    return config, None


def _new_speech_encoder(part: PartSettings, where: str) -> tuple[dict[str, Any], nn.Module | None]:
    refuse_unknown(part.config, {"frontend": None}, f"{where}.config")
    frontend = part.config["frontend"]
    try:
        config = frontend_config_from(frontend).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.frontend: not a speech model: {reason}") from None
    refuse_unknown(frontend, config, f"{where}.config.frontend")
    return {"frontend": config}, None


def _only_build(part: PartSettings, where: str, earlier: Mapping[str, Path]) -> None:
    if part.source != "build":
        known = ["build", *earlier]
        raise InputError(f"{where}.source: found {part.source!r}, expected one of {known}")
