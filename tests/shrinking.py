"""Recipes at a size for the tests: the same stages and options, with models of a few weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    LlamaConfig,
    LlamaForCausalLM,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    ResNetConfig,
    ResNetModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

import tiny
from unglossed.training.recipe import load_recipe
from unglossed.training.tokenizer import train_tokenizer
from unglossed_synth.saying import draw_texts

SPECIAL_TOKENS = ["de_DE", "en_XX", "zh_CN", "<|im_start|>", "<|im_end|>"]
BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
WIDTH = 32
SIZES = {
    "grid": 2,
    "temporal_dim": 24,
    "dim": 16,
    "hidden_dim": 32,
    "channels": 16,
    "d_model": WIDTH,
    "light_t": {"layers": 1, "heads": 2, "width": WIDTH, "ffn_dim": 64},
    **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
}
"""What a part's `config` says of sizes, at the size of the tests."""


def shrink(recipe: str, folder: Path, changes: Sequence[str] = ()) -> list[str]:
    """Changes with which a recipe runs on `tiny.write_corpus` in seconds, after the given ones.

    Only sizes, where pre-trained weights come from and the language are changed.

    Args:
        recipe: name of a shipped recipe.
        folder: where small stand-ins for models of the hub are written; used again if there.
        changes: `key=value` items of the recipe itself.
    """
    settings = load_recipe(recipe, list(changes)).model_dump()
    small: dict[str, Any] = {
        "num_workers": 0,
        "video.resize": 36,
        "video.crop": 32,
    }
    if not settings["tokenizer"]["pretrained"]:
        small["tokenizer.vocab_size"] = 120
    else:
        small["tokenizer.pretrained"] = stand_in(settings["tokenizer"]["pretrained"], folder)
    if settings["tokenizer"]["start_token"]:
        small["tokenizer.start_token"] = "de_DE"
    if recipe == "demo":  # which gives its language model further texts
        texts = draw_texts("de", level=1, num_sentences=4, seed=7, exclude=set())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "extra_texts.txt").write_text("\n".join(texts), encoding="utf-8")
        small["extra_texts"] = str(folder / "extra_texts.txt")
    for stage in settings["stages"]:
        where = f"stages.{stage['name']}"
        small |= {f"{where}.batch_size": 2, f"{where}.epochs": 1, f"{where}.evaluate_every": 1}
        if stage["feature_views"]:
            small[f"{where}.feature_views"] = 1
        names = [other["name"] for other in settings["stages"]]
        for part in ("encoder", "adapter", "language_model", "text_encoder"):
            for key, value in _small_part(stage[part] or {}, names, folder).items():
                small[f"{where}.{part}.{key}"] = value
    return [*changes, *(f"{key}={json.dumps(value)}" for key, value in small.items())]


def _small_part(part: dict[str, Any], stage_names: list[str], folder: Path) -> dict[str, Any]:
    config = part.get("config", {})
    small = _small_config(config, "config", folder)
    if config.get("kind") == "streams":
        for name in ("video", "array"):
            small |= _small_config(config[name], f"config.{name}", folder)
    if part and part["source"] not in ("build", *stage_names):
        small["source"] = stand_in(part["source"], folder)
    return small


def _small_config(config: dict[str, Any], where: str, folder: Path) -> dict[str, Any]:
    small = {f"{where}.{key}": SIZES[key] for key in config if key in SIZES}
    frontend = config.get("frontend", {})
    small |= {f"{where}.frontend.{key}": SIZES[key] for key in frontend if key in SIZES}
    if isinstance(config.get("backbone"), str):
        small[f"{where}.backbone"] = stand_in(config["backbone"], folder)
    elif "backbone" in config:
        small |= {f"{where}.backbone.{key}": BACKBONE[key] for key in BACKBONE}
    return small


def stand_in(source: str, folder: Path) -> str:
    """A folder with a small model of the same kind, and its tokenizer.

    Args:
        source: has one of the words of `MODELS` in it.
        folder: where the stand-ins lie; one that is there is used again.
    """
    kind = next(kind for kind in MODELS if kind in source)
    target = folder / kind.replace("/", "-")
    if not target.is_dir():
        torch.manual_seed(len(kind))
        MODELS[kind](target)
    return str(target)


def _tokenizer(target: Path, sentences: Sequence[str] = tiny.SENTENCES) -> int:
    """Write a tokenizer with the special tokens of all the models; returns how many it has."""
    tokenizer = train_tokenizer([*sentences, "train dev test wind 0123456789"], "de", 120)
    tokenizer.add_special_tokens({"extra_special_tokens": SPECIAL_TOKENS})
    tokenizer.save_pretrained(target)
    return len(tokenizer)


def _mbart(target: Path) -> None:
    _write_mbart(_tokenizer(target), target)


def _other(target: Path) -> None:
    """Another tokenizer than all others have."""
    _write_mbart(_tokenizer(target, tiny.SENTENCES[:2]), target)


def _bare(target: Path) -> None:
    """A model without a tokenizer, with room for the tokens of all others."""
    _write_mbart(180, target)


def _write_mbart(vocab_size: int, target: Path) -> None:
    sizes = {key: value for key, value in SIZES.items() if key.startswith(("encoder", "decoder"))}
    config = MBartConfig(
        vocab_size=vocab_size, d_model=WIDTH, max_position_embeddings=64, init_std=0.2, **sizes
    )
    MBartForConditionalGeneration(config).save_pretrained(target)


def _mt5(target: Path) -> None:
    config = MT5Config(
        vocab_size=_tokenizer(target), d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2
    )
    MT5ForConditionalGeneration(config).save_pretrained(target)


def _llama(target: Path) -> None:
    config = LlamaConfig(
        vocab_size=_tokenizer(target),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(target)


def _resnet(target: Path) -> None:
    ResNetModel(ResNetConfig(layer_type="basic", **BACKBONE)).save_pretrained(target)


def _frontend(model_type: str) -> Callable[[Path], None]:
    """Writes a speech model over waveforms, with how its sound is prepared."""

    def write(target: Path) -> None:
        settings = {**tiny.FRONTEND, "model_type": model_type}
        AutoModel.from_config(AutoConfig.for_model(**settings)).save_pretrained(target)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(target)

    return write


def _whisper(target: Path) -> None:
    settings = {key: value for key, value in tiny.WHISPER.items() if key != "model_type"}
    settings["max_source_positions"] = 1500  # 30 seconds, as the published ones
    WhisperModel(WhisperConfig(**settings)).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=settings["num_mel_bins"]).save_pretrained(target)


def _translator(target: Path) -> None:
    """With the frames that recipes take: an encoder's user is to take the same."""
    processor = tiny.tiny_processor()
    processor.frame_share = 0.25
    tiny.tiny_model(processor).save_pretrained(target)
    processor.save_pretrained(target)


MODELS = {
    "other": _other,
    "bare": _bare,
    "mbart": _mbart,
    "mt5": _mt5,
    "SmolLM2": _llama,
    "Llama-2": _llama,
    "llama": _llama,
    **{name: _frontend(name) for name in ("wav2vec2", "hubert", "wavlm")},
    "whisper": _whisper,
    "resnet": _resnet,
    "runs/": _translator,
}
"""How the stand-in for a source that has the word in its name is written.

`other`, `bare` and `llama` are for tests.
"""
