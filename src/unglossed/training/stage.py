"""Builds a stage's model: each part new, inherited from an earlier stage, or pre-trained."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedModel

from unglossed.errors import InputError, Mistakes
from unglossed.models.adapter import adapter_kind
from unglossed.models.language_model import build_language_model, language_model_config
from unglossed.models.light_t import LightTConfig
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.recogniser import Recogniser, RecogniserConfig
from unglossed.models.translator import PartModel, Translator, TranslatorConfig
from unglossed.models.tuning import train_lora_alone
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.encoders import Weights, check_encoder, encoder_part, source_model
from unglossed.training.language_models import (
    KEPT,
    LanguageModelPart,
    check_quantization,
    check_source,
    language_model_part,
    new_language_model_config,
    planned_config,
)
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import (
    NEW_TOKENS,
    LanguageModelSettings,
    PartSettings,
    StageSettings,
)
from unglossed.training.sources import refuse_no_sizes, refuse_unknown, trained_config

_MISFIT = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.+?)\) from checkpoint,"
    r" the shape in current model is torch\.Size\((.+?)\)"
)
"""How torch says that a weight does not fit: its name, and both shapes."""

Model = TypeVar("Model", bound=PartModel)
New = TypeVar("New", bound=nn.Module)


def check_new_parts(
    stage: StageSettings, stage_names: Sequence[str], processor: TranslatorProcessor
) -> None:
    """Check every part that a stage does not inherit, before any stage is trained.

    What is built must have a valid configuration, what is loaded must be there.

    Args:
        stage: its settings.
        stage_names: of the recipe, which a part may name as its source.
        processor: gives vocabulary and special tokens, and says what is read of a clip.

    Raises:
        InputError: names the field of the recipe that is wrong.
    """
    if OBJECTIVES[stage.objective].masks_text and processor.tokenizer.mask_token_id is None:
        raise InputError(
            f"stages.{stage.name}: the objective {stage.objective} needs a tokenizer with a mask"
            " token"
        )
    mistakes = Mistakes()
    for name in OBJECTIVES[stage.objective].parts:
        with mistakes.collected():
            _check_new_part(name, stage, stage_names, processor)
    mistakes.tell()


def _check_new_part(
    name: str, stage: StageSettings, stage_names: Sequence[str], processor: TranslatorProcessor
) -> None:
    part: PartSettings = getattr(stage, name)
    where = f"stages.{stage.name}.{name}"
    reads_text = name in ("language_model", "text_encoder")
    if isinstance(part, LanguageModelSettings):
        check_quantization(part, where)
    if part.source in stage_names:
        return
    if part.source != "build" and reads_text:
        check_source(part.source, processor, f"{where}.source")
    elif name == "encoder":
        check_encoder(part, processor, where)
    elif part.source != "build":
        source_model(name, part.source, {}, where)
    elif reads_text:
        new_language_model_config(part.config, processor, where)
    else:
        _new_adapter(part, where)


def check_widths(stages: Sequence[StageSettings], processor: TranslatorProcessor) -> None:
    """Check that language models are of the kind and the width that their stages need.

    An adapter which is not built leads to a width; masked text is restored by encoder-decoders.

    Args:
        stages: of a recipe, whose parts `check_new_parts` has found to be there.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: names the stage, what was found and expected.
    """
    named = {stage.name: stage for stage in stages}
    for stage in stages:
        if OBJECTIVES[stage.objective].masks_text:
            _check_encoder_decoders(stage, named, processor)

    def read_by(stage: StageSettings) -> int:
        assert stage.language_model is not None
        where = f"stages.{stage.name}.language_model"
        config = planned_config(stage.language_model, named, processor, where)
        return int(config.get_text_config().hidden_size)

    def led_to(stage: StageSettings) -> int:
        assert stage.adapter is not None
        source = stage.adapter.source
        if source == "build":
            return read_by(stage)
        if source in named:
            return led_to(named[source])
        fields = trained_config(source, f"stages.{stage.name}.adapter.source").language_model
        return int(language_model_config(fields).get_text_config().hidden_size)

    for stage in stages:
        if stage.adapter is None or stage.adapter.source == "build":
            continue
        found, expected = led_to(stage), read_by(stage)
        if found != expected:
            assert stage.language_model is not None
            raise InputError(
                f"stages.{stage.name}.adapter.source: the adapter of {stage.adapter.source} leads"
                f" to width {found}, but the language model {stage.language_model.source} has"
                f" {expected}: build a new adapter"
            )


def _check_encoder_decoders(
    stage: StageSettings, named: Mapping[str, StageSettings], processor: TranslatorProcessor
) -> None:
    """Refuse what cannot read or restore the masked text of a stage."""
    for name in ("language_model", "text_encoder"):
        part: PartSettings | None = getattr(stage, name)
        if part is None:
            continue
        where = f"stages.{stage.name}.{name}"
        config = planned_config(part, named, processor, where)
        reads_words = name == "text_encoder" or stage.text_encoder is None
        if not config.is_encoder_decoder:
            found = f"a decoder-only model of the type {config.model_type!r}"
        elif reads_words and isinstance(config, LightTConfig):
            found = "a Light-T, whose encoder reads features but no words"
        else:
            continue
        raise InputError(
            f"{where}: found {found}, expected an encoder-decoder, such as mbart, for the objective"
            f" {stage.objective}"
        )


def build_translator(
    stage: StageSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> Translator:
    """Build a stage's translator with its inherited and pre-trained weights, frozen as it says.

    With a text encoder among its parts it is a `VisualLanguageModel`.

    Args:
        stage: its settings.
        earlier: model folders of the stages that ran before, by name.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: a source is neither a stage nor a loadable model, or does not fit.
    """
    where = f"stages.{stage.name}"
    assert stage.language_model is not None
    writer = language_model_part(
        stage.language_model, earlier, processor, f"{where}.language_model"
    )
    encoder, weights = encoder_part(stage, earlier)
    adapter, more_weights = _adapter_part(stage, earlier)
    fields = {
        "encoder": encoder,
        "adapter": adapter,
        "language_model": writer.config,
        "prompt": writer.prompt,
        "lora": writer.lora,
    }
    if stage.text_encoder is None:
        model = _new_model(Translator, TranslatorConfig(**fields), where)
    else:
        reader = _reader(stage.text_encoder, earlier, processor, f"{where}.text_encoder")
        config = VisualLanguageConfig(**fields, text_encoder=reader.config)
        model = _new_model(VisualLanguageModel, config, where)
        with _fitting(f"{where}.text_encoder", stage.text_encoder):
            values = reader.encoder_weights()
        if values is not None:
            weights["text_encoder"] = values
    with _fitting(f"{where}.language_model", stage.language_model):
        writer.load_into(model.language_model.model)
    _finish(model, weights | more_weights, stage)
    if NEW_TOKENS in stage.learning_rates:
        tokens = processor.tokenizer.convert_tokens_to_ids(list(processor.new_tokens))
        face = model.language_model
        if set(tokens).isdisjoint([*face.before, *face.after]):
            raise InputError(
                f"{where}.learning_rates.new_tokens: found none of tokenizer.new_tokens in the"
                " prompt, expected them there to be trained"
            )
        face.train_rows(tokens)
    return model


def build_text_model(
    stage: StageSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> PreTrainedModel:
    """Build the language model of a stage that trains on text alone, as a model of transformers.

    With LoRA only LoRA's matrices have gradients. A prompt and LoRA go into its configuration, so
    that later stages inherit them.

    Args:
        stage: its settings.
        earlier: model folders of the stages that ran before, by name.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: the source is neither a stage nor a loadable model, or does not fit.
    """
    where = f"stages.{stage.name}.language_model"
    assert stage.language_model is not None
    writer = language_model_part(stage.language_model, earlier, processor, where)
    model = _new_model(
        lambda fields: build_language_model(fields, lora=writer.lora), writer.config, where
    )
    alone: PreTrainedModel = model.model
    with _fitting(where, stage.language_model):
        writer.load_into(alone)
    if writer.lora is not None:
        train_lora_alone(alone)
    if writer.lora or writer.prompt:
        setattr(alone.config, KEPT, {"prompt": writer.prompt, "lora": writer.lora})
    return alone


def build_recogniser(
    stage: StageSettings, earlier: Mapping[str, Path], glosses: Sequence[str]
) -> Recogniser:
    """Build a stage's gloss recogniser: its encoder and a new head over the glosses.

    Raises:
        InputError: the encoder's source is not there, or does not fit.
    """
    encoder, weights = encoder_part(stage, earlier)
    config = RecogniserConfig(encoder=encoder, symbols=list(glosses))
    model = _new_model(Recogniser, config, f"stages.{stage.name}")
    return _finish(model, weights, stage)


def _new_model(kind: Callable[[Any], New], config: Any, where: str) -> New:
    """A model with random weights."""
    try:
        return kind(config)
    except ValueError as error:
        raise InputError(f"{where}: cannot be built: {_shorten(error)}") from None


def _finish(model: Model, weights: Weights, stage: StageSettings) -> Model:
    """Give a model's modules their weights, all of them, and freeze what is to be frozen."""
    for name, values in weights.items():
        part = getattr(stage, name.partition(".")[0])
        with _fitting(f"stages.{stage.name}.{name}", part):
            model.get_submodule(name).load_state_dict(dict(values))
    try:
        model.freeze(stage.frozen)
    except AttributeError as error:
        raise InputError(f"stages.{stage.name}.frozen: {error}") from None
    return model


@contextmanager
def _fitting(where: str, part: PartSettings) -> Iterator[None]:
    """Says where it is that weights do not fit: first what the recipe changes there."""
    try:
        yield
    except RuntimeError as error:
        if part.source != "build" and part.config:
            where = f"{where}.config ({', '.join(part.config)})"
        misfits = _MISFIT.findall(str(error))
        reason = _shorten(error)
        if misfits:
            name, theirs, ours = misfits[0]
            rest = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
            reason = f"{name} is {theirs} in the source, {ours} in the recipe{rest}"
        raise InputError(f"{where}: weights do not fit: {reason}") from None


def _shorten(error: Exception) -> str:
    """A library's message in one line that ends with a word."""
    return textwrap.shorten(str(error), 300, placeholder=" ...")


def _reader(
    part: PartSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor, where: str
) -> LanguageModelPart:
    """The language model whose encoder is a stage's text encoder."""
    settings = LanguageModelSettings(source=part.source, config=part.config)
    return language_model_part(settings, earlier, processor, where)


def _adapter_part(
    stage: StageSettings, earlier: Mapping[str, Path]
) -> tuple[dict[str, Any], Weights]:
    """Configuration and weights of a stage's adapter."""
    part = stage.adapter
    assert part is not None
    where = f"stages.{stage.name}.adapter"
    if part.source == "build":
        return _new_adapter(part, where), {}
    model: Any = source_model("adapter", part.source, earlier, where)
    config = model.config.adapter
    refuse_unknown(part.config, config, f"{where}.config")
    return {**config, **part.config}, {"adapter": model.adapter.state_dict()}


def _new_adapter(part: PartSettings, where: str) -> dict[str, Any]:
    """Configuration of an adapter to be built.

    Raises:
        InputError: a key is unknown, or a size is none.
    """
    defaults = adapter_kind(part.config).defaults
    refuse_unknown(part.config, defaults, f"{where}.config")
    refuse_no_sizes(part.config, defaults, f"{where}.config")
    return {**defaults, **part.config}
