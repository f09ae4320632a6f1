"""Builds the model of a stage from its plan: its parts with their weights, frozen as it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from unglossed.config import FieldError, field
from unglossed.errors import InputError
from unglossed.files import without_origin
from unglossed.media.two_streams import STREAMS
from unglossed.models import tuning
from unglossed.models.encoder import STREAMS_KIND
from unglossed.models.frozen_block import KEY
from unglossed.models.language_model import UNTIED, build_language_model
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.recogniser import Recogniser, RecogniserConfig
from unglossed.models.segmenter import Segmenter, SegmenterConfig
from unglossed.models.speech import WhisperFrontend, frontend_config_from
from unglossed.models.text_reader import TextReader, TextReaderConfig
from unglossed.models.token_alignment import FrozenReader, TokenAlignment
from unglossed.models.translator import PartModel, Translator, TranslatorConfig
from unglossed.models.tuning import is_lora, load_base_weights, train_lora_alone
from unglossed.models.visual import FRAME_WISE, MOTION, widened
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.parts import (
    KEPT,
    LanguageModelPlan,
    Origin,
    PartPlan,
    Parts,
    inherited,
    inherited_encoder,
    plan_language_model,
    published_config,
    shorten,
)
from unglossed.training.plan import StagePlan
from unglossed.training.settings import PartSettings
from unglossed.training.sources import (
    load,
    load_block,
    load_complete,
    load_language_model,
    load_trained,
)
from unglossed.training.two_streams import trained_streams

_MISFIT = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.+?)\) from checkpoint,"
    r" the shape in current model is torch\.Size\((.+?)\)"
)
"""How torch says that a weight does not fit: its name, and both shapes."""
_NAMES_OF_WHISPER = {r"^(model\.)?encoder\.": ""}
"""From its weights' names in a whole Whisper model to those in its encoder."""

Weights = dict[str, Mapping[str, Tensor]]
"""Weights of modules of a stage's model, by the module's name."""
Model = TypeVar("Model", bound=PartModel)
New = TypeVar("New", bound=nn.Module)


def build_translator(plan: StagePlan, earlier: Mapping[str, Path]) -> Translator:
    """Build a stage's translator with its inherited and pre-trained weights, frozen as it says.

    With a text encoder among its parts it is a `VisualLanguageModel`.

    Args:
        plan: of the stage.
        earlier: model folders of the stages that ran before, by name.

    Raises:
        InputError: weights cannot be loaded, or do not fit.
    """
    assert plan.adapter is not None and plan.language_model is not None
    with field(plan.where):
        with field("language_model"):
            writer = load_language_model_part(plan.language_model, earlier, plan.processor)
        encoder, weights = encoder_part(plan, earlier)
        adapter, more_weights = _adapter_part(plan.adapter, earlier)
        fields = {
            "encoder": encoder,
            "adapter": adapter,
            "language_model": writer.config,
            "prompt": writer.prompt,
            "lora": writer.lora,
        }
        if plan.text_encoder is None:
            model = _new_model(Translator, TranslatorConfig(**fields))
        else:
            with field("text_encoder"):
                reader = load_language_model_part(plan.text_encoder, earlier, plan.processor)
            config = VisualLanguageConfig(**fields, text_encoder=reader.config)
            model = _new_model(VisualLanguageModel, config)
            with _fitting("text_encoder", plan.text_encoder.settings):
                values = reader.encoder_weights()
            if values is not None:
                weights["text_encoder"] = values
        with _fitting("language_model", plan.language_model.settings):
            writer.load_into(model.language_model.model)
        _finish(model, weights | more_weights, plan)
        if plan.new_tokens:
            model.language_model.train_rows(plan.new_tokens)
    return model


def build_alignment(plan: StagePlan, earlier: Mapping[str, Path]) -> TokenAlignment:
    """Build the alignment of a stage's clips with texts; see `build_translator`."""
    settings, writer, reader = plan.settings.alignment, plan.language_model, plan.alignment
    assert settings is not None and writer is not None
    if reader is None:
        return TokenAlignment(writer.width, writer.width, settings.temperature)
    with field(f"{plan.where}.alignment"):
        part = load_language_model_part(reader, earlier, plan.processor)
        model: Any = build_language_model(part.config, lora=part.lora).model
        part.load_into(model)
    frozen = FrozenReader(model, contextual=settings.states, both_ways=settings.both_ways)
    return TokenAlignment(writer.width, reader.width, settings.temperature, frozen)


def build_text_model(plan: StagePlan, earlier: Mapping[str, Path]) -> PreTrainedModel:
    """Build the language model of a stage that trains on text alone, as a model of transformers.

    With LoRA only LoRA's matrices have gradients. A prompt and LoRA go into its configuration, so
    that later stages inherit them. See `build_translator` for arguments and errors.
    """
    part = plan.language_model
    assert part is not None
    with field(plan.where):
        with field("language_model"):
            writer = load_language_model_part(part, earlier, plan.processor)
            model = _new_model(
                lambda fields: build_language_model(fields, lora=writer.lora), writer.config
            )
        with _fitting("language_model", part.settings):
            writer.load_into(model.model)
    if writer.lora is not None:
        train_lora_alone(model.model)
    return alone(model.model, writer.prompt, writer.lora)


def alone(model: PreTrainedModel, prompt: Any, lora: Any) -> PreTrainedModel:
    """A language model with what later stages inherit beside its weights, in its configuration."""
    if lora or prompt:
        setattr(model.config, KEPT, {"prompt": prompt, "lora": lora})
    return model


def build_text_reader(
    plan: StagePlan, earlier: Mapping[str, Path], *, both_ways: bool
) -> TextReader:
    """Build a stage's reader of sentences; see `build_translator` for the rest.

    Args:
        plan: of the stage.
        earlier: model folders by name.
        both_ways: let a token of a decoder-only model see those behind it.
    """
    part = plan.language_model
    assert part is not None
    with field(plan.where):
        with field("language_model"):
            writer = load_language_model_part(part, earlier, plan.processor)
        fields = {"language_model": writer.config, "lora": writer.lora, "both_ways": both_ways}
        model = _new_model(TextReader, TextReaderConfig(**fields))
        with _fitting("language_model", part.settings):
            writer.load_into(model.language_model.model)
    model.freeze(())
    return model


def build_recogniser(
    plan: StagePlan, earlier: Mapping[str, Path], symbols: Sequence[str]
) -> Recogniser:
    """Build a stage's recogniser: its encoder and a new head over the symbols.

    See `build_translator` for arguments and errors.
    """
    with field(plan.where):
        encoder, weights = encoder_part(plan, earlier)
        config = RecogniserConfig(encoder=encoder, symbols=list(symbols))
        return _finish(_new_model(Recogniser, config), weights, plan)


def build_segmenter(plan: StagePlan, earlier: Mapping[str, Path]) -> Segmenter:
    """Build a stage's segmenter: its encoder and a new head; see `build_translator`."""
    with field(plan.where):
        encoder, weights = encoder_part(plan, earlier)
        return _finish(_new_model(Segmenter, SegmenterConfig(encoder=encoder)), weights, plan)


def encoder_part(plan: StagePlan, earlier: Mapping[str, Path]) -> tuple[dict[str, Any], Weights]:
    """Configuration and weights of a stage's encoder; see `build_translator`."""
    part, stage = plan.encoder, plan.settings
    assert part is not None
    source, config = part.settings.source, part.config
    weights: Weights = {}
    if part.origin is Origin.NEW:
        config, weights = _new_encoder(part.settings.config, config)
    elif part.origin is Origin.PUBLISHED:
        with field("encoder.source"):
            weights = {"encoder.frontend": _frontend_weights(config, source)}
    else:
        model = _source_model("encoder", part, earlier)
        parts = Parts.of(model.config)
        config, weights = inherited_encoder(stage, parts), {"encoder": model.encoder.state_dict()}
        if "text_encoder" in config and "text_encoder" not in (parts.encoder or {}):
            weights = {
                "encoder.encoder": model.encoder.state_dict(),
                "encoder.adapter": model.adapter.state_dict(),
                "encoder.text_encoder": model.language_model.model.get_encoder().state_dict(),
            }
    if config.get("features") == FRAME_WISE:
        weights = {
            module: {
                name: value
                for name, value in values.items()
                if not name.startswith(("temporal.", f"{KEY}."))
            }
            for module, values in weights.items()
            if module != f"encoder.{KEY}.model"
        }
    return config, weights


def _new_encoder(
    given: Mapping[str, Any], config: dict[str, Any], key: str = "", module: str = "encoder"
) -> tuple[dict[str, Any], Weights]:
    """Configuration of a new encoder and its pre-trained weights, of either stream if it has two.

    Args:
        given: the recipe's configuration.
        config: the complete one of the plan.
        key: of the stream in the recipe's, with a dot.
        module: where it is in the model.
    """
    weights: Weights = {}
    if given.get("kind") == STREAMS_KIND:
        config = dict(config)
        for name, model in trained_streams(given):
            config[name] = model.config.encoder
            weights[f"{module}.{name}"] = model.encoder.state_dict()
        for name in STREAMS:
            if f"{module}.{name}" not in weights:
                inner = given[name], config[name], f"{name}.", f"{module}.{name}"
                config[name], more = _new_encoder(*inner)
                weights |= more
        return config, weights
    if isinstance(given.get("backbone"), str):
        with field(f"encoder.config.{key}backbone"):
            model = load(AutoModel, given["backbone"])
        config = {**config, "backbone": without_origin(model.config.to_dict())}
        state = model.state_dict()
        weights[f"{module}.backbone"] = widened(state) if config.get(MOTION) else state
    if block := given.get(KEY):
        with field(f"encoder.config.{key}{KEY}"):
            weights[f"{module}.{KEY}.model"] = load_block(block)
    return config, weights


@dataclass(frozen=True)
class LanguageModelPart:
    """A language model as a stage's model needs it; see `LanguageModel`."""

    config: dict[str, Any]
    prompt: dict[str, Any] | None
    lora: dict[str, Any] | None
    weights: Mapping[str, Tensor] | None
    """By name within the transformers model; None leaves them random."""
    quantized: bool = False
    """Hold those that are not trained in 4 bits."""

    def load_into(self, model: PreTrainedModel) -> None:
        """Give a model these weights (RuntimeError: they do not fit), and quantise it if asked."""
        if self.weights is not None:
            load_base_weights(model, self.weights)
        if self.quantized:
            tuning.quantize_linear_layers(model)

    def encoder_weights(self) -> Mapping[str, Tensor] | None:
        """Weights of the encoder alone, LoRA added to them, by name within it; None: random."""
        if self.weights is None:
            return None
        model: Any = build_language_model(self.config, lora=self.lora).model
        self.load_into(model)
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.merge()
        own = {k: v for k, v in model.get_encoder().state_dict().items() if not is_lora(k)}
        return {name.replace(".base_layer.", "."): weight for name, weight in own.items()}


def load_language_model_part(
    plan: LanguageModelPlan, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> LanguageModelPart:
    """Load a planned language model; see `build_translator`."""
    part, weights = plan.settings, None
    config = plan.config
    if plan.origin is Origin.STAGE:
        with field("source"):
            parts, weights = _load_inherited(earlier[part.source])
        plan = plan_language_model(part, {part.source: parts}, processor)  # as it was trained
        config = plan.config
    elif plan.origin is Origin.PUBLISHED:
        with field("source"):
            model = load_language_model(part.source)
        fit_vocabulary(model, processor)
        config = published_config(model.config, part, processor)
        weights = model.state_dict()
    return LanguageModelPart(
        config,
        plan.prompt,
        plan.lora,
        None if part.random_init else weights,
        part.quantization is not None,
    )


def _load_inherited(folder: Path) -> tuple[Parts, Mapping[str, Tensor]]:
    """What a stage has trained, and the weights of its language model."""
    source = str(folder)
    config = load(AutoConfig, source)
    parts = Parts.of(config)
    if isinstance(config, TranslatorConfig):
        translator: Translator = load_complete(AutoModel, source, config=config)[0]
        return parts, translator.language_model.model.state_dict()
    assert parts.language_model is not None
    if parts.lora:
        model: Any = build_language_model(parts.language_model, lora=parts.lora).model
        load_model(model, folder / "model.safetensors")
    else:
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, _ = load_complete(kind, source, config=config)
    return parts, model.state_dict()


def fit_vocabulary(model: PreTrainedModel, processor: TranslatorProcessor) -> None:
    """Make room for the tokens that the recipe added; each starts as the mean embedding (LST)."""
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


def _adapter_part(part: PartPlan, earlier: Mapping[str, Path]) -> tuple[dict[str, Any], Weights]:
    if part.origin is Origin.NEW:
        return part.config, {}
    model = _source_model("adapter", part, earlier)
    config = inherited("adapter", part.settings, Parts.of(model.config))
    return config, {"adapter": model.adapter.state_dict()}


def _source_model(name: str, part: PartPlan, earlier: Mapping[str, Path]) -> Any:
    """The trained model that a part is taken from."""
    source = part.settings.source
    with field(f"{name}.source"):
        if part.origin is Origin.STAGE:
            return load_complete(AutoModel, str(earlier[source]))[0]
        return load_trained(source)


def _frontend_weights(config: dict[str, Any], source: str) -> Mapping[str, Tensor]:
    """Weights of a speech model's encoder; those of its head or decoder are left."""
    frontend = frontend_config_from(config["frontend"])
    kind, settings = AutoModel, {}
    if frontend.model_type == "whisper":
        kind, settings = WhisperFrontend, {"key_mapping": _NAMES_OF_WHISPER}
    model, _ = load_complete(kind, source, config=frontend, **settings)
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def _new_model(kind: Callable[[Any], New], config: Any) -> New:
    """A model with random weights."""
    try:
        return kind(config)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"cannot be built: {shorten(error)}") from None


def _finish(model: Model, weights: Weights, plan: StagePlan) -> Model:
    """Give a model's modules their weights, and freeze what is to be frozen."""
    load_weights(model, weights, plan)
    model.freeze(plan.settings.frozen)
    return model


def load_weights(model: nn.Module, weights: Weights, plan: StagePlan) -> None:
    """Give modules of a model their weights, all of them."""
    for name, values in weights.items():
        part: PartPlan = getattr(plan, name.partition(".")[0])
        with _fitting(name, part.settings):
            model.get_submodule(name).load_state_dict(dict(values))


@contextmanager
def _fitting(name: str, part: PartSettings) -> Iterator[None]:
    """Says where it is that weights do not fit: first what the recipe changes there."""
    try:
        yield
    except RuntimeError as error:
        if part.source != "build" and part.config:
            name = f"{name}.config ({', '.join(part.config)})"
        misfits = _MISFIT.findall(str(error))
        reason = shorten(error)
        if misfits:
            weight, theirs, ours = misfits[0]
            rest = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
            reason = f"{weight} is {theirs} in the source, {ours} in the recipe{rest}"
        raise FieldError(name, f"weights do not fit: {reason}") from None
