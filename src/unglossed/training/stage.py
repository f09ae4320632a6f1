"""Builds a stage's model: each part new, inherited from an earlier stage, or pre-trained."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoConfig

from unglossed.errors import InputError
from unglossed.models.gloss import GlossRecogniser, GlossRecogniserConfig
from unglossed.models.language_model import language_model_config
from unglossed.models.parts import PartModel
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.encoders import Weights, check_new_encoder, encoder_part, source_model
from unglossed.training.language_models import (
    LanguageModelPart,
    check_quantization,
    language_model_part,
    new_language_model_config,
    planned_config,
)
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.recipe import LanguageModelSettings, PartSettings, StageSettings
from unglossed.training.sources import load, refuse_unknown, trained_config

ADAPTER_DEFAULTS = {"hidden_dim": 512, "dropout": 0.0}
_MISFIT = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.+?)\) from checkpoint,"
    r" the shape in current model is torch\.Size\((.+?)\)"
)
"""How torch says that a weight does not fit: its name, and both shapes."""

Model = TypeVar("Model", bound=PartModel)


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
    if OBJECTIVES[stage.objective].masks_text and processor.tokenizer.mask_token_id is None:
        raise InputError(
            f"stages.{stage.name}: the objective {stage.objective} needs a tokenizer with a mask"
            " token"
        )
    for name in OBJECTIVES[stage.objective].parts:
        part: PartSettings = getattr(stage, name)
        where = f"stages.{stage.name}.{name}"
        reads_text = name in ("language_model", "text_encoder")
        if isinstance(part, LanguageModelSettings):
            check_quantization(part, where)
        if part.source in stage_names:
            continue
        if part.source != "build" and reads_text:
            load(AutoConfig, part.source, f"{where}.source")
        elif part.source != "build":
            source_model(name, part.source, {}, where)
        elif reads_text:
            new_language_model_config(part.config, processor, where)
        elif name == "adapter":
            refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
        else:
            check_new_encoder(part, where)


def check_widths(stages: Sequence[StageSettings], processor: TranslatorProcessor) -> None:
    """Check that an adapter which is not built leads to the width of its stage's language model.

    Args:
        stages: of a recipe, whose parts `check_new_parts` has found to be there.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: names the stage, both widths and both sources.
    """
    named = {stage.name: stage for stage in stages}

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
    return _finish(model, weights | more_weights, stage)


def build_recogniser(
    stage: StageSettings, earlier: Mapping[str, Path], glosses: Sequence[str]
) -> GlossRecogniser:
    """Build a stage's gloss recogniser: its encoder and a new head over the glosses.

    Raises:
        InputError: the encoder's source is not there, or does not fit.
    """
    encoder, weights = encoder_part(stage, earlier)
    config = GlossRecogniserConfig(encoder=encoder, glosses=list(glosses))
    model = _new_model(GlossRecogniser, config, f"stages.{stage.name}")
    return _finish(model, weights, stage)


def _new_model(kind: type[Model], config: Any, where: str) -> Model:
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
        refuse_unknown(part.config, ADAPTER_DEFAULTS, f"{where}.config")
        return {**ADAPTER_DEFAULTS, **part.config}, {}
    model: Any = source_model("adapter", part.source, earlier, where)
    config = model.config.adapter
    refuse_unknown(part.config, config, f"{where}.config")
    return {**config, **part.config}, {"adapter": model.adapter.state_dict()}
