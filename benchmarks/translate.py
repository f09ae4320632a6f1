"""From a clip to text with the full-size model: how long it takes, and in how much memory.

    python benchmarks/translate.py

ResNet-18 at 224 x 224, the temporal module, the adapter and an mBART-large-shaped language model
(12 + 12 layers, width 1024), with random weights. The clip has 4.64 s, of whose 116 frames 29 are
kept; the text is made to have 20 tokens, the end token among them, with 5 beams. A text that is
scored is read once more; that is part of the time. Decoding the video is not.

The baseline is the same model in float32, its pictures in the usual order of memory (channels
first) and its beam search without a cache: each step reads the whole text again. With `--bfloat16`
the baseline is our own bfloat16 with the encoder as torch computes it in training, and the language
model's layers as torch has them; ours has the encoder's fast form and `PackedLinear`. Encoder and
language model are then timed for themselves, too.

    python benchmarks/translate.py --vocabulary trimmed --bfloat16 --threads 1 --cpu-time

counts seconds of the CPU: for a machine that does much else.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from pairs import peak_gigabytes, time_pairs
from torch import Tensor
from transformers import MBartConfig, ResNetConfig

from unglossed.inference import precision
from unglossed.inference.precision import Precision
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.models.frozen import VARIABLE, Engine, engine_for
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.visual import pool
from unglossed.training.tokenizer import train_tokenizer

VOCABULARIES = {"whole": 250027, "trimmed": 2429}
"""Tokens of mBART, and of mBART trimmed to the text of PHOENIX14T as in FLa-LLM."""
NUM_FRAMES = 29
NUM_TOKENS = 20
BASELINE = "baseline"


def build(way: str, vocab_size: int, small: bool) -> SignTranslator:
    """The model with the same random weights each time.

    Args:
        way: `BASELINE`, or a precision.
        vocab_size: tokens of the language model.
        small: a model of a few layers, to try the script.
    """
    torch.manual_seed(0)
    width, layers, ffn_dim = (64, 2, 128) if small else (1024, 12, 4096)
    sides = ("encoder", "decoder")
    language_model = MBartConfig(
        vocab_size=vocab_size,
        d_model=width,
        **{f"{side}_layers": layers for side in sides},
        **{f"{side}_attention_heads": 16 for side in sides},
        **{f"{side}_ffn_dim": ffn_dim for side in sides},
        decoder_start_token_id=0,
    )
    resnet18 = ResNetConfig(
        hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
    )
    config = TranslatorConfig(
        encoder={
            "backbone": resnet18.to_dict(),
            "grid": 1,
            "temporal_dim": 512,
            "temporal_kernel": 3,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        adapter={"hidden_dim": width, "dropout": 0.0},
        language_model=language_model.to_dict(),
    )
    model = Translator(config)
    if way == BASELINE:
        model.encoder.backbone.to(memory_format=torch.contiguous_format)
    generation = model.language_model.model.generation_config
    generation.min_new_tokens = generation.max_new_tokens = NUM_TOKENS
    generation.use_cache = way != BASELINE
    side = 32 if small else 224
    tokenizer = train_tokenizer(["text"], "de", 20)
    processor = TranslatorProcessor(tokenizer, resize=side, crop=side)
    chosen = Precision.FLOAT32 if way == BASELINE else Precision(way)
    return SignTranslator(model, processor, precision=chosen)


def clip(small: bool) -> NDArray[np.uint8]:
    """The kept frames of a clip of 4.64 seconds: (29, 224, 224, 3)."""
    shape = (3, 32, 32, 3) if small else (NUM_FRAMES, 224, 224, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@torch.inference_mode()
def encode_plainly(translator: SignTranslator, frames: NDArray[np.uint8]) -> Tensor:
    """Features (time, dim) by way of pictures with their channels first."""
    encoder, batch = translator.model.encoder, translator.processor([frames])
    pixels = batch["frames"].float().permute(0, 3, 1, 2).contiguous()
    scale, shift = (one[:, None, None] for one in (encoder.pixel_scale, encoder.pixel_shift))
    pooled = pool(encoder.backbone(pixel_values=pixels * scale + shift), encoder.grid)
    mask = torch.ones(1, len(frames), dtype=torch.bool)
    return encoder.temporal(pooled[None], mask)[0]


def translation(way: str, vocab_size: int, small: bool) -> Callable[[], object]:
    """Translates the clip once a call."""
    return translating(build(way, vocab_size, small), small, plainly=way == BASELINE)


def translating(
    translator: SignTranslator, small: bool, *, plainly: bool = False
) -> Callable[[], object]:
    """Translates the clip with a model once a call."""
    frames = clip(small)
    decoding = translator.decoding.change(max_new_tokens=NUM_TOKENS)

    def translate() -> object:
        features = encode_plainly(translator, frames) if plainly else translator.encode(frames)
        return translate_features(translator.model, translator.processor, [features], decoding)

    return translate


def compare_in_bfloat16(
    vocab_size: int, small: bool, num_pairs: int, clock: Callable[[], float]
) -> None:
    """Time the whole way in bfloat16 and its two parts: as torch has them, and as we do."""
    with torchs_layers():
        plain = build(Precision.BFLOAT16, vocab_size, small)
    ours = build(Precision.BFLOAT16, vocab_size, small)
    frames = clip(small)
    features = ours.encode(frames)
    decoding = ours.decoding.change(max_new_tokens=NUM_TOKENS)
    engine = engine_for(ours.model.encoder)

    def by(engine: Engine, work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            os.environ[VARIABLE] = engine
            return work()

        return run

    def write(translator: SignTranslator) -> object:
        return translate_features(translator.model, translator.processor, [features], decoding)

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "a clip to text": (translating(plain, small), translating(ours, small)),
        f"the encoder, by {engine}": (lambda: plain.encode(frames), lambda: ours.encode(frames)),
        "the language model": (lambda: write(plain), lambda: write(ours)),
    }
    for name, (theirs, own) in pairs.items():
        ways = by(Engine.TORCH, theirs), by(engine, own)
        print(f"bfloat16, {name}:", time_pairs(*ways, num_pairs, clock), flush=True)


@contextmanager
def torchs_layers() -> Iterator[None]:
    """Leave linear layers in bfloat16 as torch has them."""
    packs = precision.packs_bfloat16
    precision.packs_bfloat16 = lambda: False
    try:
        yield
    finally:
        precision.packs_bfloat16 = packs


def translate_once(threads: int, way: str, vocab_size: int, small: bool) -> None:
    """Work of a process whose memory is measured; the model's making in float32 is part of it."""
    torch.set_num_threads(threads)
    translation(way, vocab_size, small)()


def main() -> None:
    """Compare each precision with the baseline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs that count")
    parser.add_argument("--small", action="store_true", help="a small model, to try the script")
    parser.add_argument("--bfloat16", action="store_true", help="compare two ways in bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of the CPU")
    parser.add_argument("--vocabulary", choices=VOCABULARIES, default="whole")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = (VOCABULARIES["trimmed" if chosen.small else chosen.vocabulary], chosen.small)
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    if chosen.bfloat16:
        compare_in_bfloat16(*model, chosen.pairs, clock)
        return
    baseline = translation(BASELINE, *model)
    for way in Precision:
        print(way, time_pairs(baseline, translation(way, *model), chosen.pairs, clock))
    for way in (BASELINE, *Precision):
        print(way, f"{peak_gigabytes(translate_once, chosen.threads, way, *model):.2f} GB at most")


if __name__ == "__main__":
    main()
