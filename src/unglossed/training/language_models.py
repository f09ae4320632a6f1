"""Builds a stage's language model: new, inherited or pre-trained; its prompt, LoRA, new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from unglossed.errors import InputError
from unglossed.model_folders import without_origin
from unglossed.models import tuning
from unglossed.models.language_model import UNTIED, build_language_model, language_model_config
from unglossed.models.light_t import LIGHT_T_SIZES, light_t_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.tuning import is_lora, load_base_weights
from unglossed.training.settings import (
    LanguageModelSettings,
    PartSettings,
    PromptSettings,
    StageSettings,
)
from unglossed.training.sources import (
    WRONG_CONFIGURATION,
    find_folder,
    load,
    load_complete,
    load_language_model,
    refuse_unknown,
)

KEPT = "unglossed"
"""Key of a transformers configuration under which a model that was trained on text alone keeps the
prompt and the LoRA that a translator's configuration would keep."""


@dataclass(frozen=True)
class LanguageModelPart:
    """What a stage's model needs to know of a language model.

    Attributes:
        config: of transformers, as dict.
        prompt: see `LanguageModel`.
        lora: see `LanguageModel`.
        weights: by name within the transformers model; None leaves them random.
        quantized: hold those that are not trained in 4 bits.
    """

    config: dict[str, Any]
    prompt: dict[str, list[int]] | None
    lora: dict[str, Any] | None
    weights: Mapping[str, Tensor] | None
    quantized: bool = False

    def load_into(self, model: PreTrainedModel) -> None:
        """Give a model of transformers these weights, and quantise it if that is asked for.

        Raises:
            RuntimeError: they do not fit.
        """
        if self.weights is not None:
            load_base_weights(model, self.weights)
        if self.quantized:
            tuning.quantize_linear_layers(model)

    def encoder_weights(self) -> Mapping[str, Tensor] | None:
        """Weights of the encoder alone, LoRA added to them, by name within it; None: random ones.

        Raises:
            RuntimeError: the weights do not fit the configuration.
        """
        if self.weights is None:
            return None
        model: Any = build_language_model(self.config, lora=self.lora).model
        self.load_into(model)
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.merge()
        own = {k: v for k, v in model.get_encoder().state_dict().items() if not is_lora(k)}
        return {name.replace(".base_layer.", "."): weight for name, weight in own.items()}


def language_model_part(
    part: LanguageModelSettings,
    earlier: Mapping[str, Path],
    processor: TranslatorProcessor,
    where: str,
) -> LanguageModelPart:
    """Find configuration, prompt, LoRA and weights of a stage's language model.

    Args:
        part: its settings.
        earlier: model folders of the stages that ran before, by name.
        processor: gives vocabulary and special tokens.
        where: field of the recipe, for errors.

    Raises:
        InputError: its source is not there, or its settings do not fit.
    """
    check_quantization(part, where)
    quantized = part.quantization is not None
    prompt = prompt_ids(part.prompt, processor) if part.prompt else None
    lora = part.lora.model_dump() if part.lora else None
    if part.source in earlier:
        inherited = _inherited(earlier[part.source], f"{where}.source")
        return LanguageModelPart(
            _changed_config(inherited.config, part.config, where),
            inherited.prompt if prompt is None else prompt,
            inherited.lora if lora is None else lora,
            None if part.random_init else inherited.weights,
            quantized,
        )
    if part.source == "build":
        config = new_language_model_config(part.config, processor, where)
        start = default_prompt(config, processor)
        return LanguageModelPart(config, prompt or start, lora, None, quantized)
    model = load_language_model(part.source, f"{where}.source")
    fit_vocabulary(model, processor)
    told = without_origin(model.config.to_dict())
    config = _changed_config(told, part.config, where)
    config.pop(KEPT, None)
    config["pad_token_id"] = processor.tokenizer.pad_token_id
    config["eos_token_id"] = processor.tokenizer.eos_token_id
    if config["is_encoder_decoder"]:
        config |= _text_ends(processor)
    return LanguageModelPart(
        config,
        prompt or default_prompt(config, processor),
        lora,
        None if part.random_init else model.state_dict(),
        quantized,
    )


def check_source(source: str, processor: TranslatorProcessor, where: str) -> None:
    """Check that a hub name, folder or GGUF file is that of a language model, of either kind.

    Its weights are looked at, but not loaded.

    Args:
        source: the name.
        processor: has the tokenizer that the model will read.
        where: field of the recipe, for errors.

    Raises:
        InputError: it is not there or cut, is a model of another kind, such as a translator, or
            does not know all tokens but those that the recipe adds.
    """
    config: PreTrainedConfig = load(AutoConfig, source, where)
    if config.is_encoder_decoder:
        is_language_model = type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    else:
        is_language_model = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not is_language_model:
        raise InputError(
            f"{where}: found {source}, a model of the type {config.model_type!r}, expected a"
            " language model, such as mbart or llama"
        )
    if getattr(config, KEPT, {}).get("lora"):
        raise InputError(
            f"{where}: found {source}, a language model with LoRA, which only later stages of its"
            " own run can take over, expected one without"
        )
    if Path(source).is_dir():
        _check_weights(Path(find_folder(source, where)), where)
    known = int(config.get_text_config().vocab_size)
    needed = len(processor.tokenizer) - len(processor.new_tokens)
    if needed > known:
        raise InputError(
            f"{where}: found a model of {known} tokens, expected at least the tokenizer's {needed}:"
            " name the model's own in tokenizer.pretrained"
        )


def _check_weights(folder: Path, where: str) -> None:
    """Check that a model folder has weights, and that none of their files is cut."""
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise InputError(f"{where}: {folder} has no weights, expected model.safetensors")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise InputError(f"{where}: {path}: cannot be read: {error}") from None


def check_quantization(part: LanguageModelSettings, where: str) -> None:
    """Check that what quantises a language model is there, if it is to be quantised.

    Raises:
        InputError: the package is not installed.
    """
    if part.quantization is not None and find_spec(tuning.PACKAGE) is None:
        raise InputError(
            f"{where}.quantization: needs the package {tuning.PACKAGE}: pip install"
            " 'unglossed[quantization]'"
        )


def planned_config(
    part: PartSettings,
    stages: Mapping[str, StageSettings],
    processor: TranslatorProcessor,
    where: str,
) -> PreTrainedConfig:
    """The configuration that a stage's language model will have, before any stage is trained.

    Args:
        part: its settings, or those of a text encoder.
        stages: of the recipe by name, whose language model a part may inherit.
        processor: gives vocabulary and special tokens.
        where: field of the recipe, for errors.

    Raises:
        InputError: its source is not there, or its configuration is wrong.
    """
    if part.source == "build":
        return language_model_config(new_language_model_config(part.config, processor, where))
    if part.source in stages:
        earlier = stages[part.source].language_model
        assert earlier is not None
        origin = f"stages.{part.source}.language_model"
        config = planned_config(earlier, stages, processor, origin)
    else:
        config = load(AutoConfig, part.source, f"{where}.source")
    return language_model_config(_changed_config(config.to_dict(), part.config, where))


def new_language_model_config(
    settings: Mapping[str, Any], processor: TranslatorProcessor, where: str
) -> dict[str, Any]:
    """A new language model's full configuration.

    Args:
        settings: `light_t` (a size, or a dict of layers, heads, width, ffn_dim) or `model_type`
            (any text model of transformers), with further fields of that configuration.
        processor: gives vocabulary and special tokens.
        where: field of the recipe, for errors.
    """
    tokenizer = processor.tokenizer
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    fields = dict(settings)
    if "light_t" in fields:
        _check_size(fields["light_t"], f"{where}.config.light_t")
    try:
        if "light_t" in fields or language_model_config(fields).is_encoder_decoder:
            special |= _text_ends(processor)
        if "light_t" in fields:
            size = fields.pop("light_t")
            config = light_t_config(size, len(tokenizer), **{**special, **fields}).to_dict()
        else:
            fields.setdefault("vocab_size", len(tokenizer))
            config = language_model_config({**special, **fields}).to_dict()
    except WRONG_CONFIGURATION as error:
        raise _wrong_config(where, error) from None
    refuse_unknown(fields, config, f"{where}.config")
    return config


def _check_size(size: Any, where: str) -> None:
    keys = list(LIGHT_T_SIZES["tiny"])
    if isinstance(size, str) and size in LIGHT_T_SIZES:
        return
    if not (isinstance(size, Mapping) and set(size) == set(keys)):
        raise InputError(
            f"{where}: found {size!r}, expected one of {', '.join(LIGHT_T_SIZES)}, or a mapping"
            f" with {', '.join(keys)}"
        )


def _text_ends(processor: TranslatorProcessor) -> dict[str, Any]:
    """How an encoder-decoder's texts begin; and a long one is cut, not ended by mBART's force."""
    return {"decoder_start_token_id": processor.start_token_id, "forced_eos_token_id": None}


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


def fit_vocabulary(model: PreTrainedModel, processor: TranslatorProcessor) -> None:
    """Make room for the tokens that the recipe added; each starts as the mean embedding (LST).

    Raises:
        InputError: the model has several word embeddings.
    """
    tokenizer = processor.tokenizer
    new = tokenizer.convert_tokens_to_ids(list(processor.new_tokens))
    if not new:
        return
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        own = [name for name in getattr(model.config, UNTIED, ()) if "embed_tokens" in name]
        if own:  # transformers would put the lengthened one in their place
            raise InputError(
                f"tokenizer.new_tokens: found a language model with several word embeddings"
                f" ({', '.join(own)}), expected one, to which tokens can be added"
            )
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tables = {
        id(table.weight): table.weight
        for table in (model.get_input_embeddings(), model.get_output_embeddings())
        if table is not None
    }
    with torch.no_grad():
        for table in tables.values():
            table[new] = table[: min(new)].mean(0)


def _changed_config(
    config: dict[str, Any], changes: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """A language model's configuration with the recipe's changes.

    Raises:
        InputError: there is no such key, or the values do not go together.
    """
    refuse_unknown(changes, config, f"{where}.config")
    changed = {**config, **changes}
    try:
        language_model_config(changed)
    except WRONG_CONFIGURATION as error:
        raise _wrong_config(where, error) from None
    return changed


def _wrong_config(where: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(f"{where}.config: not a language model: {reason}")


def _inherited(folder: Path, where: str) -> LanguageModelPart:
    """Language model of an earlier stage, out of its model folder."""
    source = str(folder)
    config = load(AutoConfig, source, where)
    if isinstance(config, TranslatorConfig):
        translator: Translator = load_complete(AutoModel, source, where, config=config)[0]
        assert config.language_model is not None
        weights = translator.language_model.model.state_dict()
        return LanguageModelPart(config.language_model, config.prompt, config.lora, weights)
    fields = config.to_dict()
    kept = fields.pop(KEPT, {})
    if lora := kept.get("lora"):
        model = build_language_model(fields, lora=lora).model
        load_model(model, folder / "model.safetensors")
    else:
        model, _ = load_complete(AutoModelForSeq2SeqLM, source, where, config=config)
    return LanguageModelPart(fields, kept.get("prompt"), lora, model.state_dict())
