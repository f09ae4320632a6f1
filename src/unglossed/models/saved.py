"""Loads a saved translator and the processor beside it, and finds that they belong together.

What the two need of each other is in `processor_config.json` and the tokenizer's files. Without
them defaults would give other texts in silence, so that each has to be there and to fit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from transformers import AutoConfig

from unglossed import hub
from unglossed.config import check_settings, suggest
from unglossed.errors import InputError
from unglossed.files import CONFIG
from unglossed.media.array_settings import ArraySettings
from unglossed.media.two_streams import StreamsSettings
from unglossed.models.context import context_fault
from unglossed.models.language_model import language_model_config
from unglossed.models.processing import TranslatorProcessor, current_fields
from unglossed.models.recogniser import RecogniserConfig
from unglossed.models.segmenter import Segmenter, SegmenterConfig
from unglossed.models.translator import PARTS, Translator, TranslatorConfig
from unglossed.models.visual import VisualEncoder

FAR_LONGER = 1.5
"""A clip is far longer than training's from so many times the longest of these on."""
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_ADVICE = (
    "the text may leave out most of it; cut it into sentences, or let `translate -f srt` find them"
)


@dataclass(frozen=True, config={"strict": True})
class TrainedLengths:
    """Lengths of the clips of train, in seconds, and how many there are and were cut."""

    clips: int
    shortest: _Seconds
    median: _Seconds
    longest: _Seconds
    """Before it was cut."""
    limit: _Seconds
    """Where longer clips were cut."""
    cut: int

    @classmethod
    def of(cls, seconds: Sequence[float], limit: float) -> TrainedLengths | None:
        """Sum up the lengths of clips, NaN where one is not known; None: none is known."""
        known = [float(value) for value in seconds if math.isfinite(value)]
        if not known:
            return None
        return cls(
            clips=len(known),
            shortest=round(min(known), 2),
            median=round(float(np.median(known)), 2),
            longest=round(max(known), 2),
            limit=limit,
            cut=sum(value > limit for value in known),
        )

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainedLengths:
        """Read what `to_dict` gave.

        Raises:
            InputError: it is something else.
        """
        try:
            return cls(**content)
        except (TypeError, ValidationError):
            raise InputError(
                f"processor_config.json, trained_seconds: found {str(content)[:60]!r}, expected"
                " clips, shortest, median, longest, limit and cut, each a number"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """The attributes, for JSON."""
        return asdict(self)

    @property
    def far_longer(self) -> float:
        """Seconds from which on a clip is far longer than those of training."""
        far = FAR_LONGER * min(self.longest, self.limit)
        return min(far, self.limit) if self.cut else far

    def told(self, seconds: float) -> str | None:
        """A warning about a clip that is far longer than those of training; None: it is not."""
        if self.cut and seconds > self.limit:
            return (
                f"{seconds:.1f} seconds long, while training cut its clips at {self.limit:.1f}:"
                f" {_ADVICE}"
            )
        seen = min(self.longest, self.limit)
        if seconds > FAR_LONGER * seen:
            return (
                f"{seconds:.1f} seconds long, more than {FAR_LONGER:g} times the {seen:.1f} of the"
                f" longest clip of training (half have at most {self.median:.1f}): {_ADVICE}"
            )
        return None


PROCESSOR_CONFIG = "processor_config.json"
_Text = Annotated[str, Field(min_length=1)]
_Pixels = Annotated[int, Field(ge=1, le=10_000)]
_VALUES: Mapping[str, tuple[Any, str]] = {
    "language": (_Text, "a language's code"),
    "start_token": (_Text, "a token"),
    "frame_share": (Annotated[float, Field(ge=1e-6, le=1)], "a share above 0 and at most 1"),
    "resize": (_Pixels, "pixels from 1 to 10,000"),
    "crop": (_Pixels, "pixels from 1 to 10,000"),
    "audio_rate": (
        Annotated[int, Field(ge=1, le=1_000_000)] | None,
        "samples a second, or null",
    ),
    "max_seconds": (Annotated[float, Field(ge=1e-6, le=1e6)] | None, "seconds above 0, or null"),
    "max_tokens": (Annotated[int, Field(ge=1, le=10_000_000)], "a whole number above 0"),
    "new_tokens": (list[_Text], "tokens"),
    "signal": (_Text | None, "a kind of signal, or null"),
    "start_tokens": (dict[_Text, _Text], "a token for each language's code"),
    "array": (dict[str, Any] | None, "the settings of arrays, or null"),
    "streams": (dict[str, Any] | None, "the settings of two streams, or null"),
}
"""Settings of a processor: their type, and what an error says was expected."""
_ALWAYS = ("language", "start_token", "frame_share", "resize", "crop")
"""Settings that no version left out."""
_OTHERS = ("processor_class", "chat_template", "audio_tokenizer")


def load_processor(source: str | Path) -> TranslatorProcessor:
    """Load the processor that was saved beside a model, or of a run.

    Raises:
        InputError: the folder or hub name has no `processor_config.json`, or one with a wrong key
            or value; or its tokenizer cannot be loaded, or lacks the start token.
    """
    hub.verify(source)
    path = f"{source}/{PROCESSOR_CONFIG}"
    fields = hub.read_fields(source, PROCESSOR_CONFIG)
    if fields is None:
        raise InputError(
            f"{path}: missing: it says how the model reads clips and text, and belongs to it"
        )
    _check_fields(current_fields(fields), path)
    if fields.get("array") is not None:
        check_settings(ArraySettings, fields["array"], Path(f"{path}, array"))
    if fields.get("streams") is not None:
        check_settings(StreamsSettings, fields["streams"], Path(f"{path}, streams"))
        if fields.get("array") is None:
            raise InputError(f"{path}: array: is missing beside streams, which read one")
    processor: TranslatorProcessor = hub.load(
        TranslatorProcessor, source, f"{source}: cannot be loaded as a processor"
    )
    tokenizer = processor.tokenizer
    started = {"start_token": processor.start_token}
    started |= {f"start_tokens.{code}": one for code, one in processor.start_tokens.items()}
    for key, start in started.items():
        number = tokenizer.convert_tokens_to_ids(start)
        if number is None or (number == tokenizer.unk_token_id and start != tokenizer.unk_token):
            raise InputError(
                f"{path}: {key}: found {start!r}, which the tokenizer beside it does not have:"
                " one of the two is another model's"
            )
    if processor.start_tokens and processor.language not in processor.start_tokens:
        raise InputError(
            f"{path}: start_tokens: found {', '.join(processor.start_tokens)}, expected"
            f" {processor.language!r} among them, which the model usually writes"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"{source}/tokenizer_config.json: eos_token: is missing")
    return processor


def load_translator(source: str) -> tuple[Translator, TranslatorProcessor]:
    """Load a trained translator and its processor from a model folder or hub name.

    Raises:
        InputError: it is no translator, has not exactly the weights that its configuration asks
            for, has values that are NaN or infinite, or a processor that does not fit.
    """
    fault = f"{source}: cannot be loaded as a model"
    config = hub.load(AutoConfig, source, fault)
    if config.model_type != TranslatorConfig.model_type:
        what = f"a model of the type {config.model_type!r}"
        if isinstance(config, RecogniserConfig):
            what = "the recogniser of a CTC stage, which writes no sentences"
        if isinstance(config, SegmenterConfig):
            what = "a segmenter, which finds sentences and writes none (--segmenter)"
        raise InputError(f"{source}: found {what}, expected {TranslatorConfig.model_type!r}")
    for part in PARTS:
        if not isinstance(getattr(config, part), dict):
            raise InputError(f"{source}/{CONFIG}: {part}: is missing, expected its settings")
    if config.context is not None and (fault_of := context_fault(config.context)):
        raise InputError(f"{source}/{CONFIG}: context: {fault_of}")
    processor = load_processor(source)
    _check_vocabulary(config, processor, source)
    _check_languages(config, processor, source)
    translator, loaded = hub.load(
        Translator,
        source,
        fault,
        config=config,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    # A weight that does not come from the file is a random one: nonsense without a sign of it.
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loaded[kind]:
            first = sorted(str(key) for key in loaded[kind])[0]
            raise InputError(
                f"{source}: found {len(loaded[kind])} {kind.replace('_keys', '')} weights"
                f" ({first}, ...), expected exactly those that its {CONFIG} asks for"
            )
    return translator, processor


def load_segmenter(source: str | Path, beside: TranslatorProcessor) -> Segmenter:
    """Load a segmenter from a run or model folder, or a hub name.

    Args:
        source: where it is.
        beside: the processor of the translator whose frames it is to be given.

    Raises:
        InputError: it is no segmenter, its weights are not those of its configuration, its encoder
            is of another kind than a visual one, or it was trained on other frames.
    """
    name = hub.find_model(source)
    fault = f"{source}: cannot be loaded as a segmenter"
    config = hub.load(AutoConfig, name, fault)
    if not isinstance(config, SegmenterConfig):
        raise InputError(
            f"{source}: found a model of the type {config.model_type!r}, expected a segmenter,"
            " which the recipe segmenter trains"
        )
    processor = load_processor(name)
    for key in ("frame_share", "resize", "crop"):
        ours, theirs = getattr(beside, key), getattr(processor, key)
        if ours != theirs:
            raise InputError(
                f"{source}: found a segmenter trained with {key} {theirs}, expected {ours}, as the"
                " model has: train it with the model's video settings"
            )
    segmenter, loaded = hub.load(Segmenter, name, fault, config=config, output_loading_info=True)
    if wrong := [key for kind in ("missing_keys", "unexpected_keys") for key in loaded[kind]]:
        raise InputError(
            f"{source}: found {len(wrong)} weights missing or too many ({sorted(wrong)[0]}, ...),"
            f" expected exactly those that its {CONFIG} asks for"
        )
    if not isinstance(segmenter.encoder, VisualEncoder):
        raise InputError(f"{source}: found an encoder of another kind, expected a visual one")
    found: Segmenter = segmenter.eval()
    return found


def _check_fields(fields: Mapping[str, Any], path: str) -> None:
    """Refuse a processor's settings with a key that is missing or unknown, or a wrong value."""
    known = {*inspect.signature(TranslatorProcessor.__init__).parameters, *_OTHERS}
    known -= {"self", "kwargs", "tokenizer"}
    for key in _ALWAYS:
        if key not in fields:
            raise InputError(f"{path}: {key}: is missing, expected {_VALUES[key][1]}")
    for key, value in fields.items():
        if key == "auto_map":
            raise InputError(f"{path}: {key}: names code of the model's own, which never runs here")
        if key not in known:
            raise InputError(f"{path}: {key}: no such key{suggest(key, known)}")
        kind, expected = _VALUES.get(key, (Any, ""))
        try:
            TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError:
            raise InputError(f"{path}: {key}: found {value!r}, expected {expected}") from None
    if fields["crop"] > fields["resize"]:
        raise InputError(
            f"{path}: crop: found {fields['crop']}, expected at most {fields['resize']}, to which"
            " resize brings the frames"
        )
    kind = fields.get("processor_class", TranslatorProcessor.__name__)
    if kind != TranslatorProcessor.__name__:
        raise InputError(
            f"{path}: processor_class: found {kind!r}, expected {TranslatorProcessor.__name__!r}"
        )


def _check_languages(config: Any, processor: TranslatorProcessor, source: str) -> None:
    """Refuse a processor with other languages than the model's prompt has."""
    prompt = config.prompt if isinstance(config.prompt, Mapping) else {}
    prompts = prompt.get("languages") or {}
    if set(prompts) != set(processor.start_tokens):
        found, expected = (
            ", ".join(sorted(codes)) or "none" for codes in (prompts, processor.start_tokens)
        )
        raise InputError(
            f"{source}/{CONFIG}: prompt.languages: found {found}, expected {expected}, as"
            f" {PROCESSOR_CONFIG} has them: one of the two is another model's"
        )


def _check_vocabulary(config: Any, processor: TranslatorProcessor, source: str) -> None:
    """Refuse a tokenizer with more tokens than the model has."""
    try:
        rows = int(language_model_config(config.language_model).get_text_config().vocab_size)
    except Exception:  # a configuration that is wrong: building the model says in what
        return
    if len(processor.tokenizer) > rows:
        raise InputError(
            f"{source}/tokenizer.json: found {len(processor.tokenizer)} tokens, expected at most"
            f" {rows}, which the model has: it is another model's"
        )
