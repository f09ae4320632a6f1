"""A peer's checkpoint to a model folder: `unglossed import`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCardData
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.activations import ACT2FN

from unglossed import __version__, hub
from unglossed.config import DecodingSettings, write_settings
from unglossed.corpora.languages import base_language, check_language, language_of
from unglossed.errors import InputError, note
from unglossed.files import CONFIG, bind_folder, check_new_folder, whole_folder
from unglossed.inference.search import DECODING_FILE
from unglossed.models.language_model import LightTConfig
from unglossed.models.processing import TranslatorProcessor, restore_rules
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.peers.layout import Shape, check_fit, read_shape, rename
from unglossed.torch_files import read_torch
from unglossed.training.card import CARD, LIMITS, UNKNOWN

LIGHT_LAYERS = 3
"""Layers on each side of the peers' light model, whose heads and activation are known."""
_DEFAULTS: Mapping[str, Any] = {
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "activation_function": "relu",
    "scale_embedding": True,
}
_SIZES = ("d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim")
_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")
_FOR_TRAINING_ALONE = ("model_txt.", "logit_scale")
"""C2RL's text encoder and temperature, of the contrast that it is trained with."""
_DECODING = DecodingSettings(beams=4, max_new_tokens=150)
"""The peers' own."""
_PIXELS = {"resize": 256, "input_size": 224}


class Peer(StrEnum):
    """Public code whose checkpoints are read."""

    SLTBASELINES = "sltbaselines"
    GFSLT = "gfslt"


_ABOUT = {
    Peer.SLTBASELINES: "sltbaselines (github.com/ozgemercanoglu/sltbaselines)",
    Peer.GFSLT: "GFSLT-VLP (github.com/zhoubenjia/GFSLT-VLP)",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made; prints itself."""

    output: Path
    parameters: int
    adapter: str
    """Kind of normalisation of the adapter: layer or batch."""
    heads: tuple[int, int]
    """Of the language model's encoder and decoder."""
    activation: str
    scale: bool
    """Whether embeddings of words are multiplied by the root of their width."""
    told_by: str
    """Where heads, activation and scale come from."""
    start_token: str

    def __str__(self) -> str:
        """A line for the model and one for what its weights do not tell."""
        heads = " and ".join(map(str, dict.fromkeys(self.heads)))
        scale = "scaled" if self.scale else "plain"
        return (
            f"{self.output}: {self.parameters / 1e6:.1f} M parameters, {self.adapter}"
            f" normalisation in the adapter, texts start with {self.start_token}\n"
            f"not told by the weights: {heads} heads, {self.activation}, {scale} embeddings,"
            f" from {self.told_by}"
        )


def import_checkpoint(
    checkpoint: str | Path,
    peer: str,
    output: str | Path,
    *,
    tokenizer: str | Path | None = None,
    language: str | None = None,
    start_token: str | None = None,
    heads: int | None = None,
    activation: str | None = None,
    scale: bool | None = None,
    scale_features: bool = False,
) -> Imported:
    """Turn a peer's checkpoint into a model folder; nothing in the file runs.

    Args:
        checkpoint: file of the peer's training, such as `best_checkpoint.pth`.
        peer: a `Peer`.
        output: folder to write to, new or empty.
        tokenizer: folder of the tokenizer and of `config.json`, if there is one; the checkpoint's
            when not given.
        language: of the texts, a code such as "de"; GFSLT-VLP's is German, and sltbaselines' file
            names the corpus.
        start_token: with which every text starts; the tokenizer's code of the language.
        heads: of the attention, on both sides. Like activation and scale it is not in the
            checkpoint: from `config.json`, or that of the peers' light model, when not given.
        activation: of the feed-forward layers: "relu", "gelu", ...
        scale: multiply embeddings of words by the root of their width.
        scale_features: multiply what the adapter gives by it, as `training.scale_embedding: true`
            of a peer's YAML.

    Raises:
        InputError: there is something in the folder; the checkpoint cannot be read, holds anything
            but tensors and plain values, or has weights that do not fit; the tokenizer cannot be
            loaded; or something is told by nothing.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    if peer not in list(Peer):
        raise InputError(f"--from: found {peer!r}, expected one of {', '.join(Peer)}")
    check_new_folder(output)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file, expected a checkpoint of {peer}")
    weights, args = _read(checkpoint)
    folder = checkpoint.parent if tokenizer is None else Path(tokenizer)
    processor = _processor(folder, args, _language(Peer(peer), args, language), start_token)
    wanted = {"heads": heads, "activation": activation, "scale": scale}
    try:
        shape = read_shape(weights)
        fields, told_by = _untold(folder, shape, wanted)
        model = _build(shape, fields, processor)
        others = _FOR_TRAINING_ALONE if peer == Peer.SLTBASELINES else ()
        if any(name.startswith(others) for name in weights) and others:
            note(f"{checkpoint}: left out what was for training alone: {', '.join(others)}")
        found = rename(weights, others)
        check_fit(found, model.state_dict())
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from None
    model.load_state_dict(found, strict=False)  # the names are compared: buffers of ours alone lack
    if scale_features:
        _scale(model)
    with whole_folder(output) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        write_settings(_DECODING, partial / DECODING_FILE)
        bind_folder(partial)
        report = Imported(
            output,
            sum(weight.numel() for weight in model.parameters()),
            shape.adapter["norm"],
            (fields["encoder_attention_heads"], fields["decoder_attention_heads"]),
            fields["activation_function"],
            fields["scale_embedding"],
            told_by,
            processor.start_token,
        )
        card = _card(Peer(peer), checkpoint, processor.language, report)
        (partial / CARD).write_text(card, encoding="utf-8")
    return report


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name, and the arguments of the training, if the file has them."""
    content = read_torch(path)
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        kind = type(content).__name__
        keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else kind
        raise InputError(f"{path}: found {keys}, expected weights under the key model")
    for name, weight in weights.items():
        plain = isinstance(name, str) and isinstance(weight, Tensor)
        if not plain or weight.layout != torch.strided or weight.is_quantized:
            raise InputError(f"{path}: model: {name!r}: found no plain tensor, expected one")
    # Tensors may share what they hold, or repeat it: what is built has to be in proportion.
    asked, held = sum(weight.numel() for weight in weights.values()), path.stat().st_size
    if asked > 4 * held + 10**7:
        raise InputError(f"{path}: asks for {asked:,} weights, but holds {held:,} bytes of them")
    args = content.get("args")
    return weights, dict(vars(args)) if isinstance(args, argparse.Namespace) else {}


def _language(peer: Peer, args: Mapping[str, Any], given: str | None) -> str:
    if given is not None:
        try:
            return base_language(check_language(given))
        except ValueError as error:
            raise InputError(f"--language: {error}") from None
    config = args.get("config")
    if isinstance(config, str) and "csl" in config.lower():
        return "zh"
    if peer is Peer.GFSLT or (isinstance(config, str) and "phoenix" in config.lower()):
        return "de"
    raise InputError("--language: not told by the checkpoint, expected it, such as de or zh")


def _processor(
    folder: Path, args: Mapping[str, Any], language: str, start: str | None
) -> TranslatorProcessor:
    fault = f"{folder}: cannot be loaded as the tokenizer of the checkpoint"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected that of the tokenizer")
    tokenizer: PreTrainedTokenizerBase = hub.load(AutoTokenizer, folder, fault)
    restore_rules(tokenizer, folder)
    for name in ("eos_token", "pad_token", "bos_token"):
        if getattr(tokenizer, name) is None:
            raise InputError(f"{folder}: found a tokenizer without {name}, expected mBART's")
    vocabulary = tokenizer.get_vocab()
    codes = sorted(token for token in vocabulary if language_of(token) == language)
    if start is None and len(codes) != 1:
        told = f"found {', '.join(codes) or 'none'} for {language}"
        raise InputError(f"{folder}: codes of the language: {told}, expected one: --start-token")
    start = codes[0] if start is None else start
    if start not in vocabulary:
        raise InputError(f"--start-token: found {start!r}, expected a token of {folder}")
    sizes = {}
    for name, usual in _PIXELS.items():
        value = args.get(name, usual)
        sizes[name] = value if type(value) is int and 1 <= value <= 10_000 else usual
    return TranslatorProcessor(
        tokenizer=tokenizer,
        language=language,
        start_token=start,
        frame_share=1.0,
        resize=max(sizes.values()),
        crop=sizes["input_size"],
    )


def _untold(folder: Path, shape: Shape, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Fields of an mBART configuration that no weights tell, and where they come from."""
    sizes = shape.language_model
    beside, source = hub.read_fields(folder, CONFIG) or {}, f"{folder / CONFIG}"
    others = [name for name in _SIZES if name in beside and beside[name] != sizes[name]]
    if others:
        name = others[0]
        note(
            f"{folder / CONFIG}: not used: its {name} is {beside[name]}, the checkpoint's"
            f" {sizes[name]}"
        )
    if others or not any(name in beside for name in _DEFAULTS):
        beside, source = {}, ""
    is_light = {sizes["encoder_layers"], sizes["decoder_layers"]} == {LIGHT_LAYERS}
    defaults = _DEFAULTS if is_light else {}
    given = {
        "encoder_attention_heads": wanted["heads"],
        "decoder_attention_heads": wanted["heads"],
        "activation_function": wanted["activation"],
        "scale_embedding": wanted["scale"],
    }
    options = dict(zip(_DEFAULTS, ("heads", "heads", "activation", "scale"), strict=True))
    fields: dict[str, Any] = {}
    told_by: dict[str, str] = {}
    used: dict[str, None] = {}
    for name, option in options.items():
        known = {"the command": given[name], source: beside.get(name)}
        known["the peers' light model"] = defaults.get(name)
        place = next((key for key, value in known.items() if value is not None), None)
        if place is None:
            raise InputError(
                f"--{option}: told neither by the weights nor by a fitting {CONFIG} in {folder},"
                " expected it, as the peer's config.json has it"
            )
        fields[name], used[place] = known[place], None
        told_by[name] = f"--{option}" if place == "the command" else f"{folder / CONFIG}: {name}"
    _check_untold(fields, told_by, sizes["d_model"])
    rates = {name: beside[name] for name in _DROPOUTS if _is_rate(beside.get(name))}
    return {**fields, **rates}, " and ".join(used)


def _check_untold(fields: Mapping[str, Any], told_by: Mapping[str, str], width: int) -> None:
    for name in ("encoder_attention_heads", "decoder_attention_heads"):
        count = fields[name]
        if type(count) is not int or count < 1 or width % count:
            place = told_by[name]
            raise InputError(f"{place}: found {count!r}, expected a divisor of the width {width}")
    function = fields["activation_function"]
    if not isinstance(function, str) or function not in ACT2FN:
        place = told_by["activation_function"]
        raise InputError(f"{place}: found {function!r}, expected one such as relu or gelu")
    if not isinstance(fields["scale_embedding"], bool):
        found = fields["scale_embedding"]
        place = told_by["scale_embedding"]
        raise InputError(f"{place}: found {found!r}, expected true or false")


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _build(shape: Shape, fields: Mapping[str, Any], processor: TranslatorProcessor) -> Translator:
    """The model, random weights."""
    tokenizer, sizes = processor.tokenizer, shape.language_model
    known = len(tokenizer)
    if known > sizes["vocab_size"]:
        raise InputError(
            f"found {sizes['vocab_size']} tokens, expected at least the tokenizer's {known}: it is"
            " another model's"
        )
    if known < sizes["vocab_size"]:
        note(f"the checkpoint has {sizes['vocab_size']} tokens, the tokenizer {known}")
    writer = LightTConfig(
        **sizes,
        **fields,
        init_std=sizes["d_model"] ** -0.5,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        decoder_start_token_id=processor.start_token_id,
    )
    config = TranslatorConfig(
        encoder=shape.encoder, adapter=shape.adapter, language_model=writer.to_dict()
    )
    try:
        return Translator(config).eval()
    except (ValueError, RuntimeError, TypeError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"found sizes from which no model can be built: {told}") from None


@torch.no_grad()
def _scale(model: Translator) -> None:
    """Have the adapter give sqrt(width) times as much: ReLU lets a factor through."""
    norm: Any = model.adapter.norm
    factor = model.language_model.width**0.5
    norm.weight.mul_(factor)
    norm.bias.mul_(factor)


def _card(peer: Peer, checkpoint: Path, language: str, report: Imported) -> str:
    data = ModelCardData(
        language=[language],
        library_name="unglossed",
        tags=["sign-language-translation"],
        license="other",
        license_name="unknown",
    )
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# A model of {peer}",
        "From sign language video: writes text. Trained by other people's code and imported by"
        f" unglossed {__version__}.",
        "## Data",
        f"- Comes from: {checkpoint.name}, a checkpoint of {_ABOUT[peer]}.\n"
        f"- Corpus, sign language, signers and domain: {UNKNOWN}.\n"
        f"- Licence of the weights and of the corpus: {UNKNOWN}.",
        "## Scores",
        f"Not scored here: {UNKNOWN}. The peer's own scores are of texts treated in another way,"
        " see the documentation of `unglossed import`.",
        "## Limits",
        LIMITS.rstrip(),
        "## What was assumed",
        f"{str(report).partition(chr(10))[2]}.",
        "## Versions",
        f"unglossed {__version__}, torch {torch.__version__}, transformers"
        f" {transformers.__version__}, Python {sys.version.split()[0]}.",
    ]
    return "\n\n".join(lines) + "\n"
