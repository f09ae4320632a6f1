"""Loads what a recipe names as a source: hub name, model folder, run folder or GGUF file.

Errors do not say which field named it: a block of `config.field` around the call does.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
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
from unglossed.models.frozen_block import block_config, block_weights
from unglossed.models.language_model import UNTIED, untie, untied_in
from unglossed.models.processing import restore_rules
from unglossed.models.recogniser import RecogniserConfig
from unglossed.models.segmenter import SegmenterConfig
from unglossed.models.speech import FRONTENDS
from unglossed.models.translator import PartModel, TranslatorConfig

GGUF = ".gguf"


def load(kind: Any, source: str, **settings: Any) -> Any:
    """Load a model (in float32), configuration, tokenizer or feature extractor of transformers.

    Args:
        kind: its class, or one of the Auto classes.
        source: hub name, model folder, run folder of `unglossed train`, or GGUF file.
        settings: further ones of `from_pretrained`.

    Raises:
        InputError: it cannot be loaded.
    """
    if kind not in (AutoConfig, AutoFeatureExtractor, AutoTokenizer):
        settings["dtype"] = torch.float32
    shown: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if source.endswith(GGUF):
        folder, settings["gguf_file"] = _find_gguf(source)
        shown = contextlib.redirect_stderr(io.StringIO())  # its progress bar knows no other way
    elif "/" in source and not Path(source).exists() and not may_be_on_hub(source):
        raise InputError(f"{source}: no such folder, expected a model folder or a hub name")
    else:
        folder = find_folder(source)
    with shown:
        loaded = hub.load(kind, folder, f"{source} cannot be loaded", **settings)
    if kind is AutoTokenizer and "gguf_file" not in settings:
        restore_rules(loaded, folder)
    return loaded


def find_folder(source: str) -> str:
    """The model folder of a finished run's folder, else the source as it is."""
    return find_model(source) if (Path(source) / RUN_FILE).is_file() else source


def check_writes(config: PreTrainedConfig, source: str) -> None:
    """Check that a model is a language model, and one that writes texts after features.

    Features are given as embeddings. After those, transformers does not generate with each: not
    with a multimodal Gemma 3.

    Raises:
        InputError: it is another kind of model.
    """
    writers = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING
    known = writers[not config.is_encoder_decoder]
    found = f"found {source}, a model of the type {config.model_type!r}"
    if type(config) not in known:
        raise InputError(f"{found}, expected a language model, such as mbart or llama")
    reads = signature(known[type(config)].prepare_inputs_for_generation).parameters
    if not config.is_encoder_decoder and "inputs_embeds" not in reads:
        raise InputError(
            f"{found}, which writes no text after features, expected one of text alone, such as"
            " gemma3_text"
        )


def check_weights(source: str) -> None:
    """Check that a model folder has weights and that none of their files is cut; loads none.

    Raises:
        InputError: names the folder or the file.
    """
    if not Path(source).is_dir():
        return
    folder = Path(find_folder(source))
    if not hub.weight_files(folder):
        raise InputError(f"{folder} has no weights, expected model.safetensors")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be read: {error}") from None


def load_complete(kind: Any, source: str, **settings: Any) -> tuple[Any, Mapping[str, Any]]:
    """Load a model, all of whose weights are in its files; see `load`.

    Returns:
        The model; and what transformers tells of its files, such as `unexpected_keys`.

    Raises:
        InputError: it cannot be loaded, or lacks weights.
    """
    settings |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with _without_warnings():
        model, found = load(kind, source, **settings)
    # Those that are not there, or have another shape, are random.
    misfits = sorted(name for name, *_ in found["mismatched_keys"])
    for names, fault in ((sorted(found["missing_keys"]), "lacks"), (misfits, "has misshapen")):
        if names:
            raise InputError(f"{source} {fault} weights: {len(names)}, as {names[0]}")
    return model, found


def load_language_model(source: str) -> PreTrainedModel:
    """Load a language model of either kind, as its configuration says.

    A GGUF file's quantised weights are unpacked to float32.

    Raises:
        InputError: it cannot be loaded, lacks weights, or is no model that writes text.
    """
    config: PreTrainedConfig = load(AutoConfig, source)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    # With its configuration at hand, a GGUF file is read once less: seconds.
    model, _ = load_complete(kind, source, config=config)
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


def plan_block(wanted: Any) -> dict[str, Any]:
    """Configuration of a `FrozenBlock`, given `source` and `layer` (the last one by default).

    Raises:
        InputError: a key or a value is wrong, or the source is no decoder-only language model.
    """
    source, layer = _read_block(wanted)
    config: PreTrainedConfig = load(AutoConfig, source)
    check_weights(source)
    try:
        return {"model": block_config(config, layer)}
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def load_block(wanted: Any) -> Mapping[str, torch.Tensor]:
    """Weights of what `plan_block` plans."""
    source, layer = _read_block(wanted)
    return block_weights(load_language_model(source), layer)


def _read_block(wanted: Any) -> tuple[str, int]:
    if not isinstance(wanted, Mapping) or not isinstance(wanted.get("source"), str):
        raise InputError(f"found {wanted!r}, expected {{source: FOLDER or hub name, layer: -1}}")
    if unknown := sorted(wanted.keys() - {"source", "layer"}):
        raise InputError(f"{unknown[0]}: no such key{suggest(unknown[0], ('source', 'layer'))}")
    layer = wanted.get("layer", -1)
    if type(layer) is not int:
        raise InputError(f"layer: found {layer!r}, expected a whole number")
    return wanted["source"], layer


def unpack_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer as a model folder, which loads quickly.

    `folder` appears whole or not at all.

    Raises:
        InputError: it cannot be loaded.
    """
    tokenizer = load(AutoTokenizer, str(source))
    model = load_language_model(str(source))
    with whole_folder(folder) as partial:
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)


def is_frontend(source: str) -> bool:
    """Whether a folder or hub name is that of a speech model, whatever its head or decoder."""
    return source_config(source).model_type in FRONTENDS


def source_config(source: str) -> PreTrainedConfig:
    """Configuration of a model of any kind: run or model folder, or hub name."""
    config: PreTrainedConfig = load(AutoConfig, find_model(source))
    return config


def load_trained(source: str, otherwise: str = "") -> PartModel:
    """Load a model that another run trained, of any objective, to take over a part of it.

    Args:
        source: a run or model folder, or a hub name.
        otherwise: what else could have been there, for errors.

    Raises:
        InputError: it is a model of another kind, or its weights are not exactly those of its
            configuration.
    """
    config = source_config(source)
    if not isinstance(config, (RecogniserConfig, SegmenterConfig, TranslatorConfig)):
        raise InputError(
            f"{source}: found a model of the type {config.model_type!r}, expected one that"
            f" `unglossed train` made{otherwise}"
        )
    model, found = load_complete(AutoModel, find_model(source), config=config)
    if unknown := sorted(found["unexpected_keys"]):
        raise InputError(f"{source} has further weights: {len(unknown)}, as {unknown[0]}")
    trained: PartModel = model
    return trained


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence transformers' report of what it did not find, which becomes an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _find_gguf(source: str) -> tuple[str, str]:
    """Folder and place of a GGUF file, once it is sure that it is one and can be read."""
    path = Path(source)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise InputError(f"{source} begins with {magic!r}, expected a GGUF file")
    if find_spec("gguf") is None:
        raise InputError(f"{source} needs the package gguf: pip install 'unglossed[gguf]'")
    # Absolute: of a bare name, transformers would take a file in the working directory.
    return str(path.parent), str(path.resolve())
