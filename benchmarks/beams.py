"""Beam search of a decoder-only language model: clips read once against once for each beam.

    python benchmarks/beams.py [--pairs 5] [--positions 50] [--beams 4]

SmolLM2-135M's shape with random weights, bfloat16, 16 clips a batch, a text of 16 tokens. Baseline:
transformers' own `generate`, which copies a row for each beam and then reads it. Ours:
`DecoderOnly.generate`, which reads it and then copies what was read.
"""

from __future__ import annotations

import argparse

import torch
from pairs import time_pairs
from torch import Tensor
from transformers import LlamaConfig

from unglossed.models.language_model import DecoderOnly

NUM_CLIPS = 16
NUM_TOKENS = 16


def build(small: bool) -> DecoderOnly:
    """The language model with the same random weights each time.

    Args:
        small: a model of a few layers, to try the script.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=100 if small else 49152,
        hidden_size=36 if small else 576,
        intermediate_size=72 if small else 1536,
        num_hidden_layers=2 if small else 30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    writer = DecoderOnly(config.to_dict()).eval()
    return writer if small else writer.bfloat16()


@torch.inference_mode()
def main() -> None:
    """Compare both, and the texts that they find."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs that count")
    parser.add_argument("--small", action="store_true", help="a small model, to try the script")
    parser.add_argument("--positions", type=int, default=50, help="of a clip")
    parser.add_argument("--beams", type=int, default=4)
    chosen = parser.parse_args()
    writer = build(chosen.small)
    embeds = torch.randn(NUM_CLIPS, chosen.positions, writer.width).to(writer.model.dtype)
    mask = torch.ones(embeds.shape[:2], dtype=torch.bool)
    length = {"max_new_tokens": NUM_TOKENS, "min_new_tokens": NUM_TOKENS}
    settings = {**length, "num_beams": chosen.beams, "do_sample": False}

    def apart() -> Tensor:
        return writer.model.generate(inputs_embeds=embeds, attention_mask=mask.long(), **settings)

    def shared() -> Tensor:
        return writer.generate(embeds, mask, **settings)

    same = int((apart() == shared()).all(1).sum())
    print(f"{same} of {NUM_CLIPS} texts are the same")
    print(f"{chosen.positions} positions, {chosen.beams} beams: read once", end=" ")
    print(time_pairs(apart, shared, chosen.pairs))


if __name__ == "__main__":
    main()
