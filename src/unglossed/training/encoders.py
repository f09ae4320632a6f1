"""Where a stage's encoder comes from, and up to which of its features it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig

from unglossed.errors import InputError
from unglossed.model_folders import without_origin
from unglossed.models.encoder import build_encoder, encoder_kind
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import PartModel, Translator
from unglossed.models.visual import FRAME_WISE, backbone_config_from
from unglossed.training.frontends import (
    built_frontend,
    check_signal,
    frontend_weights,
    is_frontend,
    pretrained_frontend,
)
from unglossed.training.settings import PartSettings, StageSettings
from unglossed.training.sources import (
    WRONG_CONFIGURATION,
    load,
    load_complete,
    load_trained,
    refuse_no_sizes,
    refuse_unknown,
)

ENCODER_DEFAULTS: dict[str, Any] = {
    "grid": 1,
    "temporal_dim": 512,
    "temporal_kernel": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
MAP_BACKBONES = ("convnext", "convnextv2", "efficientnet", "regnet", "resnet")
"""Backbones whose last hidden state is a map (frames, dim, height, width)."""

Weights = dict[str, Mapping[str, Tensor]]
"""Weights of modules of a stage's model, by the module's name."""


def encoder_part(
    stage: StageSettings, earlier: Mapping[str, Path]
) -> tuple[dict[str, Any], Weights]:
    """Configuration and weights of a stage's encoder: new, inherited, of another run, or speech's.

    Args:
        stage: its settings.
        earlier: model folders of the stages that ran before, by name.

    Raises:
        InputError: the source is not there, or has no such features.
    """
    part = stage.encoder
    assert part is not None
    where = f"stages.{stage.name}"
    if part.source == "build":
        config, weights = new_encoder(part, f"{where}.encoder")
        return _up_to_features(stage, config, weights)
    if _is_frontend(part, earlier, f"{where}.encoder"):
        config = pretrained_frontend(part, f"{where}.encoder")
        loaded = frontend_weights(config, part.source, f"{where}.encoder.source")
        return _up_to_features(stage, config, {"encoder.frontend": loaded})
    model = source_model("encoder", part.source, earlier, f"{where}.encoder")
    config = model.config.encoder
    refuse_unknown(part.config, config, f"{where}.encoder.config")
    config = {**config, **part.config}
    if stage.features == "text_encoder" and "text_encoder" not in config:
        if not (isinstance(model, Translator) and model.config.language_model is not None):
            raise InputError(f"{where}.features: the stage {part.source} has no text encoder")
        return _with_text_encoder(model, config, where)
    return _up_to_features(stage, config, {"encoder": model.encoder.state_dict()})


def source_model(name: str, source: str, earlier: Mapping[str, Path], where: str) -> PartModel:
    """The model that a part is taken from: an earlier stage's, or another run's.

    Args:
        name: of the part.
        source: a stage, or a folder or hub name with a slash.
        earlier: model folders of the stages that ran before, by name.
        where: field of the recipe, for errors.

    Raises:
        InputError: it is not there, or has no such part.
    """
    if source in earlier:
        model: nn.Module = load_complete(AutoModel, str(earlier[source]), f"{where}.source")[0]
    elif "/" in source:
        otherwise = ", or a speech model" if name == "encoder" else ""
        model = load_trained(source, f"{where}.source", otherwise)
    else:
        known = ["build", *earlier]
        raise InputError(f"{where}.source: found {source!r}, expected one of {known}")
    if not (isinstance(model, PartModel) and name in model.parts):
        raise InputError(f"{where}.source: {source} has no {name}")
    return model


def new_encoder(part: PartSettings, where: str) -> tuple[dict[str, Any], Weights]:
    """Configuration of an encoder to be built, and the weights of its backbone if it has any.

    Args:
        part: its settings.
        where: field of the recipe, for errors.

    Raises:
        InputError: the configuration is not that of an encoder.
    """
    if "frontend" in part.config:
        return built_frontend(part, where), {}
    if "kind" in part.config:
        return _encoder_of_a_package(part, where), {}
    config = {**ENCODER_DEFAULTS, **part.config}
    if "backbone" not in config:
        raise InputError(
            f"{where}.config.backbone: is missing: a hub name, folder or configuration"
            " (or frontend, for speech)"
        )
    backbone = config["backbone"]
    refuse_unknown(part.config, {**ENCODER_DEFAULTS, "backbone": None}, f"{where}.config")
    refuse_no_sizes(part.config, ENCODER_DEFAULTS, f"{where}.config")
    if isinstance(backbone, str):
        _check_image_model(load(AutoConfig, backbone, f"{where}.config.backbone"), where, backbone)
        model = load(AutoModel, backbone, f"{where}.config.backbone")
        config["backbone"] = without_origin(model.config.to_dict())
        return config, {"encoder.backbone": model.state_dict()}
    try:
        config["backbone"] = backbone_config_from(backbone).to_dict()
    except WRONG_CONFIGURATION as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.backbone: not an image model: {reason}") from None
    _check_image_model(backbone_config_from(backbone), where)
    refuse_unknown(backbone, config["backbone"], f"{where}.config.backbone")
    if config["grid"] > 1 and backbone_config_from(backbone).model_type not in MAP_BACKBONES:
        raise InputError(
            f"{where}.config.grid: found {config['grid']}, expected 1, or a backbone with a feature"
            f" map: {', '.join(MAP_BACKBONES)}"
        )
    return config, {}


def _encoder_of_a_package(part: PartSettings, where: str) -> dict[str, Any]:
    """Configuration of an encoder that another package offers, see `models.encoder.Encoder`."""
    try:
        config = {**encoder_kind(part.config).defaults, **part.config}
        build_encoder(config)
    except InputError as error:
        raise InputError(f"{where}.config: {error}") from None
    return config


def check_encoder(part: PartSettings, processor: TranslatorProcessor, where: str) -> None:
    """Check an encoder that is not inherited, before any stage is trained.

    The weights of pre-trained backbones and frontends are not loaded.

    Args:
        part: its settings.
        processor: says what is read of a clip.
        where: field of the recipe, for errors.

    Raises:
        InputError: its configuration is wrong, it is not there, or reads something else.
    """
    backbone = part.config.get("backbone")
    if part.source == "build" and isinstance(backbone, str):
        _check_image_model(load(AutoConfig, backbone, f"{where}.config.backbone"), where, backbone)
        config = part.config
    elif part.source == "build":
        config, _ = new_encoder(part, where)
    elif _is_frontend(part, {}, where):
        config = pretrained_frontend(part, where)
    else:
        config = source_model("encoder", part.source, {}, where).config.encoder
    check_signal(config, processor, where)


def _is_frontend(part: PartSettings, earlier: Mapping[str, Path], where: str) -> bool:
    """Whether an encoder is to be loaded from a speech model."""
    elsewhere = "/" in part.source and part.source not in earlier
    return elsewhere and is_frontend(part.source, f"{where}.source")


def _check_image_model(config: PreTrainedConfig, where: str, source: str = "") -> None:
    """Refuse a backbone whose model does not read pictures, before its weights are loaded."""
    kind = MODEL_MAPPING.get(type(config), None)
    if getattr(kind, "main_input_name", None) != "pixel_values":
        raise InputError(
            f"{where}.config.backbone: found {f'{source}, ' if source else ''}a model of the type"
            f" {config.model_type!r}, expected an image model, such as resnet"
        )


def _up_to_features(
    stage: StageSettings, config: dict[str, Any], weights: Weights
) -> tuple[dict[str, Any], Weights]:
    """An encoder that hands on the features that the stage asks for."""
    kinds = ("text_encoder", "frontend", "backbone")
    kind = next((key for key in kinds if key in config), config.get("kind"))
    found = config.get("features", "sign_wise") if kind == "backbone" else kind
    if stage.features in (None, found):
        return config, weights
    if (stage.features, found) != (FRAME_WISE, "sign_wise"):
        raise InputError(
            f"stages.{stage.name}.features: found {stage.features}, expected what the encoder"
            f" has: {found}" + (" or frame_wise" if found == "sign_wise" else "")
        )
    kept: Weights = {
        module: {name: value for name, value in values.items() if not name.startswith("temporal.")}
        for module, values in weights.items()
    }
    return {**config, "features": FRAME_WISE}, kept


def _with_text_encoder(
    model: Translator, config: dict[str, Any], where: str
) -> tuple[dict[str, Any], Weights]:
    """A translator's encoder, adapter and its language model's encoder as one encoder."""
    writer = model.language_model.model
    if not writer.config.is_encoder_decoder:
        raise InputError(f"{where}.features: found a decoder-only model, expected a text encoder")
    whole = {
        "encoder": config,
        "adapter": model.config.adapter,
        "text_encoder": model.config.language_model,
        "lora": model.config.lora,
    }
    return whole, {
        "encoder.encoder": model.encoder.state_dict(),
        "encoder.adapter": model.adapter.state_dict(),
        "encoder.text_encoder": writer.get_encoder().state_dict(),
    }
