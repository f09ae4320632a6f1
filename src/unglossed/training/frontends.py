"""Speech frontends of a stage: built from a configuration, or pre-trained, from hub or folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel

from unglossed.errors import InputError
from unglossed.model_folders import without_origin
from unglossed.models.encoder import build_encoder, encoder_kind
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import (
    FRONTENDS,
    SAMPLE_RATE,
    SpeechEncoder,
    WhisperFrontend,
    frontend_config_from,
)
from unglossed.training.settings import PartSettings
from unglossed.training.sources import (
    WRONG_CONFIGURATION,
    load,
    load_complete,
    refuse_unknown,
    source_config,
)

_WITHOUT_SPEC_AUGMENT = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
"""Many a model's files lack the vector that SpecAugment puts where it hides a position."""
_NAMES_OF_WHISPER = {r"^(model\.)?encoder\.": ""}
"""From its weights' names in a whole Whisper model to those in its encoder."""


def built_frontend(part: PartSettings, where: str) -> dict[str, Any]:
    """Configuration of a speech encoder to be built.

    Args:
        part: its settings.
        where: field of the recipe, for errors.

    Raises:
        InputError: it is not that of a speech encoder.
    """
    refuse_unknown(part.config, {"frontend": None, "normalise": None}, f"{where}.config")
    frontend = part.config["frontend"]
    if isinstance(frontend, str):
        raise InputError(
            f"{where}.config.frontend: found {frontend!r}, expected a configuration;"
            f" a pre-trained one is {where}.source={frontend}"
        )
    normalise = part.config.get("normalise", False)
    if not isinstance(normalise, bool):
        raise InputError(f"{where}.config.normalise: found {normalise!r}, expected true or false")
    try:
        config = frontend_config_from(frontend)
        of_mel = config.model_type == "whisper"
        built = {
            "normalise": not of_mel,
            "sample_rate": SAMPLE_RATE if of_mel else None,
            **part.config,
            "frontend": config.to_dict(),
        }
        with torch.device("meta"):
            SpeechEncoder(built)
    except (*WRONG_CONFIGURATION, RuntimeError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where}.config.frontend: not a speech model: {reason}") from None
    refuse_unknown(frontend, config.to_dict(), f"{where}.config.frontend")
    return built


def is_frontend(source: str, where: str) -> bool:
    """Whether a folder or hub name is that of a speech model, whatever its head or decoder."""
    return source_config(source, where).model_type in FRONTENDS


def pretrained_frontend(part: PartSettings, where: str) -> dict[str, Any]:
    """Configuration of a speech encoder that is to be loaded, without its weights.

    Args:
        part: its settings; `source` is a speech model.
        where: field of the recipe, for errors.

    Raises:
        InputError: the model does not say how its sound is prepared, or is none for us.
    """
    refuse_unknown(part.config, {"normalise": None}, f"{where}.config")
    source, field = part.source, f"{where}.source"
    try:
        told = without_origin(source_config(source, field).to_dict()) | _WITHOUT_SPEC_AUGMENT
        frontend = frontend_config_from(told)
    except WRONG_CONFIGURATION as error:
        raise InputError(f"{field}: {source}: {' '.join(str(error).split())[:300]}") from None
    try:
        extractor = load(AutoFeatureExtractor, source, field)
    except InputError as error:
        raise InputError(
            f"{field}: {source}: found no preprocessor_config.json that can be read, expected one:"
            f" it says at what rate and scale the model reads sound ({error})"
        ) from None
    return {
        "normalise": bool(getattr(extractor, "do_normalize", False)),
        "sample_rate": int(extractor.sampling_rate),
        **part.config,
        "frontend": frontend.to_dict(),
    }


def frontend_weights(config: dict[str, Any], source: str, where: str) -> Mapping[str, Tensor]:
    """Weights of a speech model's encoder; those of its head or decoder are left.

    Args:
        config: of the encoder, see `pretrained_frontend`.
        source: folder or hub name.
        where: field of the recipe, for errors.

    Raises:
        InputError: they cannot be loaded, or some are missing.
    """
    frontend = frontend_config_from(config["frontend"])
    if frontend.model_type == "whisper":
        model, _ = load_complete(
            WhisperFrontend, source, where, config=frontend, key_mapping=_NAMES_OF_WHISPER
        )
    else:
        model, _ = load_complete(AutoModel, source, where, config=frontend)
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def check_signal(config: dict[str, Any], processor: TranslatorProcessor, where: str) -> None:
    """Check that an encoder is given what it reads.

    Args:
        config: of the encoder.
        processor: says what is read of a clip.
        where: field of the recipe, for errors.

    Raises:
        InputError: it reads pictures, not sound, or the other way round; or sound at another rate,
            or less of it.
    """
    audio_rate, max_seconds = processor.audio_rate, processor.max_seconds
    while "encoder" in config:
        config = config["encoder"]
    if (encoder_kind(config).signal == "audio") != (audio_rate is not None):
        kinds = ["pictures", "sound"]
        found, expected = kinds if audio_rate is not None else reversed(kinds)
        no = "" if audio_rate is not None else "no "
        raise InputError(
            f"{where}: found an encoder of {found}, expected one of {expected}: the recipe has"
            f" {no}`audio`"
        )
    if audio_rate is None:
        return
    wanted = config.get("sample_rate") or audio_rate
    if wanted != audio_rate:
        raise InputError(
            f"audio.audio_rate: found {audio_rate}, expected {wanted}, at which the model of"
            f" {where} reads sound"
        )
    with torch.device("meta"):
        limit = build_encoder(config).input_limit(None)
    if limit is not None and max_seconds is not None and max_seconds * audio_rate > limit:
        raise InputError(
            f"audio.max_seconds: found {max_seconds:g}, expected at most {limit / audio_rate:.1f},"
            f" for which the model of {where} has room"
        )
