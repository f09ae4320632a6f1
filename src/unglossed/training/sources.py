"""Where parts come from: hub, folder or GGUF file; and the refusal of settings nobody reads."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from unglossed.errors import InputError

GGUF = ".gguf"


def load(kind: Any, source: str, where: str) -> Any:
    """Load a model (in float32), configuration or tokenizer by one of transformers' Auto classes.

    Args:
        kind: the Auto class.
        source: hub name, folder, or GGUF file.
        where: field of the recipe, for errors.

    Raises:
        InputError: it cannot be loaded.
    """
    is_model = kind not in (AutoConfig, AutoTokenizer)
    settings: dict[str, Any] = {"dtype": torch.float32} if is_model else {}
    folder = source
    if source.endswith(GGUF):
        folder, settings["gguf_file"] = _find_gguf(source, where)
    try:
        return kind.from_pretrained(folder, **settings)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: {source} cannot be loaded: {reason}") from None


def load_language_model(source: str, where: str) -> PreTrainedModel:
    """Load a language model of either kind, as its configuration says.

    A GGUF file's quantised weights are unpacked to float32.

    Raises:
        InputError: it cannot be loaded, or is no model that writes text.
    """
    config: PreTrainedConfig = load(AutoConfig, source, where)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = load(kind, source, where)
    if source.endswith(GGUF):
        # As loaded, it refuses to be saved: its configuration calls it quantised, which it is not.
        fields = model.config.to_dict()
        fields.pop("quantization_config", None)
        plain = kind.from_config(type(model.config)(**fields))
        plain.load_state_dict(model.state_dict())
        return plain
    return model


def refuse_unknown(settings: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
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


def _find_gguf(source: str, where: str) -> tuple[str, str]:
    """Folder and name of a GGUF file, once it is sure that it is one and can be read."""
    path = Path(source)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{where}: {source} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise InputError(f"{where}: {source} begins with {magic!r}, expected a GGUF file")
    if find_spec("gguf") is None:
        raise InputError(f"{where}: {source} needs the package gguf: pip install 'unglossed[gguf]'")
    return str(path.parent), path.name
