"""Where parts come from: hub, folder or GGUF file; and the refusal of settings nobody reads."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from unglossed import hub
from unglossed.config import suggest
from unglossed.errors import InputError
from unglossed.files import RUN_FILE, may_be_on_hub, whole_folder
from unglossed.hub import find_model
from unglossed.models.language_model import UNTIED, untie, untied_in
from unglossed.models.processing import restore_rules
from unglossed.models.recogniser import RecogniserConfig
from unglossed.models.translator import PartModel, TranslatorConfig

GGUF = ".gguf"
WRONG_CONFIGURATION = (KeyError, TypeError, ValueError, StrictDataclassError)
"""What transformers raises where a configuration's values are wrong."""
_LARGEST_SIZE = 1_000_000


def load(kind: Any, source: str, where: str, **settings: Any) -> Any:
    """Load a model (in float32), configuration, tokenizer or feature extractor of transformers.

    Args:
        kind: its class, or one of the Auto classes.
        source: hub name, model folder, run folder of `unglossed train`, or GGUF file.
        where: field of the recipe, for errors.
        settings: further ones of `from_pretrained`.

    Raises:
        InputError: it cannot be loaded.
    """
    if kind not in (AutoConfig, AutoFeatureExtractor, AutoTokenizer):
        settings["dtype"] = torch.float32
    folder = source
    shown: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if source.endswith(GGUF):
        folder, settings["gguf_file"] = _find_gguf(source, where)
        shown = contextlib.redirect_stderr(io.StringIO())  # its progress bar knows no other way
    elif "/" in source and not Path(source).exists() and not may_be_on_hub(source):
        raise InputError(
            f"{where}: {source}: no such folder, expected a model folder or a hub name"
        )
    else:
        folder = find_folder(source, where)
    with shown:
        loaded = hub.load(kind, folder, f"{where}: {source} cannot be loaded", **settings)
    if kind is AutoTokenizer and "gguf_file" not in settings:
        restore_rules(loaded, folder)
    return loaded


def find_folder(source: str, where: str) -> str:
    """The model folder of a run folder, else the source as it is.

    Raises:
        InputError: the run is not finished.
    """
    return _find_model(source, where) if (Path(source) / RUN_FILE).is_file() else source


def load_complete(
    kind: Any, source: str, where: str, **settings: Any
) -> tuple[Any, Mapping[str, Any]]:
    """Load a model, all of whose weights are in its files.

    Args:
        kind: see `load`.
        source: likewise.
        where: likewise.
        settings: likewise.

    Returns:
        The model; and what transformers tells of its files, such as `unexpected_keys`.

    Raises:
        InputError: it cannot be loaded, or lacks weights.
    """
    settings |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with _without_warnings():
        model, found = load(kind, source, where, **settings)
    # Those that are not there, or have another shape, are random.
    misfits = sorted(name for name, *_ in found["mismatched_keys"])
    for names, fault in ((sorted(found["missing_keys"]), "lacks"), (misfits, "has misshapen")):
        if names:
            raise InputError(f"{where}: {source} {fault} weights: {len(names)}, as {names[0]}")
    return model, found


def load_language_model(source: str, where: str) -> PreTrainedModel:
    """Load a language model of either kind, as its configuration says.

    A GGUF file's quantised weights are unpacked to float32.

    Raises:
        InputError: it cannot be loaded, lacks weights, or is no model that writes text.
    """
    config: PreTrainedConfig = load(AutoConfig, source, where)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    # With its configuration at hand, a GGUF file is read once less: seconds.
    model, _ = load_complete(kind, source, where, config=config)
    untie(model, untied_in(model))
    if source.endswith(GGUF):
        # As loaded, it refuses to be saved: its configuration calls it quantised, which it is not.
        fields = model.config.to_dict()
        fields.pop("quantization_config", None)
        plain: PreTrainedModel = hub.build(kind, type(model.config)(**fields))
        untie(plain, fields.get(UNTIED, ()))
        plain.load_state_dict(model.state_dict())
        return plain
    return model


def unpack_gguf(source: Path, folder: Path, where: str) -> None:
    """Write a GGUF file's model and tokenizer as a model folder, which is loaded in no time.

    Args:
        source: the file.
        folder: appears whole or not at all.
        where: what asked for the file, for errors.

    Raises:
        InputError: it cannot be loaded.
    """
    tokenizer = load(AutoTokenizer, str(source), where)
    model = load_language_model(str(source), where)
    with whole_folder(folder) as partial:
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)


def source_config(source: str, where: str) -> PreTrainedConfig:
    """Configuration of a model of any kind.

    Args:
        source: a run or model folder, or a hub name.
        where: field of the recipe, for errors.

    Raises:
        InputError: it is none of these.
    """
    config: PreTrainedConfig = load(AutoConfig, _find_model(source, where), where)
    return config


def trained_config(source: str, where: str, otherwise: str = "") -> PreTrainedConfig:
    """Configuration of a model that another run trained, of any objective.

    Args:
        source: see `source_config`.
        where: likewise.
        otherwise: what else could have been there, for errors.

    Raises:
        InputError: see `source_config`; or it is of a model of another kind.
    """
    config = source_config(source, where)
    if not isinstance(config, (RecogniserConfig, TranslatorConfig)):
        raise InputError(
            f"{where}: {source}: found a model of the type {config.model_type!r}, expected one that"
            f" `unglossed train` made{otherwise}"
        )
    return config


def load_trained(source: str, where: str, otherwise: str = "") -> PartModel:
    """Load a model that another run trained, for a part of it to be taken over.

    Args:
        source: see `trained_config`.
        where: likewise.
        otherwise: likewise.

    Raises:
        InputError: see `trained_config`; or its weights are not exactly those of its configuration.
    """
    config = trained_config(source, where, otherwise)
    model, found = load_complete(AutoModel, find_model(source), where, config=config)
    if unknown := sorted(found["unexpected_keys"]):
        raise InputError(f"{where}: {source} has further weights: {len(unknown)}, as {unknown[0]}")
    trained: PartModel = model
    return trained


def refuse_no_sizes(config: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Refuse values that are no sizes, for keys whose defaults are whole numbers.

    Args:
        config: the recipe's part.
        defaults: what it changes.
        where: field of the recipe, for errors.

    Raises:
        InputError: names the first key, what was found and expected.
    """
    for key, value in config.items():
        is_size = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if isinstance(defaults.get(key), int) and not (is_size and value <= _LARGEST_SIZE):
            raise InputError(
                f"{where}.{key}: found {value!r}, expected a whole number above 0"
                + (f" and at most {_LARGEST_SIZE:,}" if is_size else "")
            )


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
            raise InputError(f"{where}.{key}: no such key{suggest(key, names)}")


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence transformers' report of what it did not find, which becomes an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _find_model(source: str, where: str) -> str:
    """See `find_model`; errors name the field."""
    try:
        return find_model(source)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _find_gguf(source: str, where: str) -> tuple[str, str]:
    """Folder and place of a GGUF file, once it is sure that it is one and can be read."""
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
    # Absolute: of a bare name, transformers would take a file in the working directory.
    return str(path.parent), str(path.resolve())
