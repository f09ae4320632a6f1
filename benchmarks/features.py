"""Stage 2 from the feature cache, against running the frozen encoder in every step.

An epoch of stage 2 with the paper's encoder (ResNet-18 at 224, temporal module) and, with `--step`,
a language model of mBART-large's shape. The baseline is what is written without a cache: in each
step the padded batch goes through the encoder, float32, contiguous, from frames that are decoded
already (which flatters it). Ours reads the stored features of the same clips and pads them. Both
hand the adapter the same batch; the two are timed in turns, so trust the ratio.

    python benchmarks/features.py [--pairs 5] [--step] [--small]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pairs import peak_gigabytes, time_pairs
from torch import Tensor, nn
from transformers import MBartConfig

from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.temporal import real_positions
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.visual import VisualEncoder
from unglossed.training.data import ClipDataset, FeatureDataset
from unglossed.training.features import FeatureCache
from unglossed.training.tokenizer import train_tokenizer
from unglossed_synth.corpus import write_corpus

BATCH_SIZE = 16
RESNET_18: dict[str, Any] = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512],
    "depths": [2, 2, 2, 2],
}
IMAGE_MEAN, IMAGE_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Stage2:
    """Clips, encoder and cache below a folder.

    Args:
        folder: Where corpus and cache are, or are made.
        small: A smaller encoder on smaller pictures, for the test of this script.
        num_clips: Clips of the corpus.
    """

    def __init__(self, folder: Path, *, small: bool, num_clips: int) -> None:
        torch.manual_seed(0)
        backbone = {**RESNET_18, "hidden_sizes": [8, 16, 16, 32]} if small else RESNET_18
        backbone = {**backbone, "embedding_size": backbone["hidden_sizes"][0]}
        self.dim = 32 if small else 512
        self.config: dict[str, Any] = {
            "backbone": backbone,
            "grid": 1,
            "temporal_dim": self.dim,
            "temporal_kernel": 3,
            "image_mean": IMAGE_MEAN,
            "image_std": IMAGE_STD,
        }
        self.encoder = VisualEncoder(self.config).eval().requires_grad_(False)
        if not (folder / "corpus").is_dir():
            write_corpus(folder / "corpus", num_clips, seed=0, num_workers=1, progress=False)
        corpus = read_corpus(f"phoenix14t:{folder / 'corpus'}")
        self.samples: list[Sample] = list(corpus.split("train"))
        side = 32 if small else 224
        self.processor = TranslatorProcessor(
            tokenizer=train_tokenizer([one.text for one in self.samples], "de", 200),
            language="de",
            start_token="<de>",
            resize=side,
            crop=side,
        )
        self.clips = ClipDataset(self.samples, self.processor, limit=300)
        self.cache = FeatureCache(folder / "features")

    def stored(self) -> FeatureDataset:
        """The stored features, as the training reads them; made if they are not there."""
        views = self.cache.features(self.encoder, self.config, self.clips, bfloat16=False)
        return FeatureDataset(views, self.samples, self.clips.target)

    def baseline_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Decoded frames (batch, time, 3, height, width) uint8, padded, and their lengths."""
        batches = []
        for start in range(0, len(self.samples), BATCH_SIZE):
            items = [
                self.clips[0, index]["frames"].permute(0, 3, 1, 2)
                for index in range(start, min(start + BATCH_SIZE, len(self.samples)))
            ]
            padded = nn.utils.rnn.pad_sequence(items, batch_first=True).contiguous()
            batches.append((padded, torch.tensor([len(item) for item in items])))
        return batches

    @torch.no_grad()
    def encode_plainly(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the encoder on a padded batch, as a plain implementation does; features and mask."""
        mean = torch.tensor(IMAGE_MEAN)[:, None, None]
        std = torch.tensor(IMAGE_STD)[:, None, None]
        pixels = (frames.flatten(0, 1).float() / 255 - mean) / std
        pooled = self.encoder.backbone(pixel_values=pixels).pooler_output.flatten(1)
        features = pooled.view(*frames.shape[:2], -1)
        mask = real_positions(lengths)
        return self.encoder.temporal(features * mask[..., None], mask), mask


def main() -> None:
    """Make clips, store their features, time both ways, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="times that both are timed")
    parser.add_argument("--clips", type=int, default=24, help="clips of the corpus")
    parser.add_argument("--step", action="store_true", help="time whole steps of stage 2, too")
    parser.add_argument("--small", action="store_true", help="a small model: a test of the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage2(Path(folder), small=arguments.small, num_clips=arguments.clips)
        begin = time.perf_counter()
        dataset = stage.stored()
        print(f"{len(dataset)} clips encoded and stored in {time.perf_counter() - begin:.1f} s")
        batches = stage.baseline_batches()
        compare(stage, dataset, batches)
        ratio = time_pairs(
            lambda: plainly(stage, batches), lambda: cached(dataset), arguments.pairs
        )
        print(f"an epoch's encoder part: from the cache {ratio}")
        begin = time.perf_counter()
        stage.stored()
        print(f"once a run: checking and opening the cache, {time.perf_counter() - begin:.2f} s")
        for name, work in (("baseline", peak_plainly), ("cache", peak_cached)):
            peak = peak_gigabytes(work, folder, arguments.small, arguments.clips)
            print(f"peak memory of the encoder part, {name}: {peak:.2f} GB")
        if arguments.step:
            time_steps(stage, dataset, batches, arguments)


def plainly(stage: Stage2, batches: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """An epoch's encoder part of the baseline."""
    return [stage.encode_plainly(*batch) for batch in batches]


def cached(dataset: FeatureDataset) -> list[tuple[Tensor, Tensor]]:
    """An epoch's encoder part from the cache: read and padded."""
    return [
        pad_features([dataset[0, index]["features"] for index in rows])
        for rows in np.split(np.arange(len(dataset)), range(BATCH_SIZE, len(dataset), BATCH_SIZE))
    ]


def compare(stage: Stage2, dataset: FeatureDataset, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Print how far the two are from each other."""
    worst = 0.0
    pairs = zip(plainly(stage, batches), cached(dataset), strict=True)
    for (found, mask), (stored, _) in pairs:
        worst = max(worst, float((found - stored)[mask].abs().max() / stored.abs().max()))
    print(f"largest difference of a feature, of the largest: {worst:.1e} (order of sums)")


def peak_plainly(folder: str, small: bool, num_clips: int) -> None:
    """An epoch of the baseline, in a process of its own."""
    stage = Stage2(Path(folder), small=small, num_clips=num_clips)
    plainly(stage, stage.baseline_batches())


def peak_cached(folder: str, small: bool, num_clips: int) -> None:
    """An epoch from the cache, in a process of its own."""
    cached(Stage2(Path(folder), small=small, num_clips=num_clips).stored())


def time_steps(
    stage: Stage2,
    dataset: FeatureDataset,
    batches: list[tuple[Tensor, Tensor]],
    arguments: argparse.Namespace,
) -> None:
    """Time one whole step (16 clips, forward and backward) with mBART-large's shape."""
    size: dict[str, int] = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1}
    size |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    size |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    tokenizer = stage.processor.tokenizer
    language_model = MBartConfig(
        **(size if arguments.small else {"d_model": 1024}),
        vocab_size=2429,  # trimmed to PHOENIX14T's text
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=stage.processor.start_token_id,
    )
    model = Translator(
        TranslatorConfig(
            encoder=stage.config,
            adapter={"hidden_dim": stage.dim, "dropout": 0.0},
            language_model=language_model.to_dict(),
        )
    )
    model.freeze(["encoder"])
    model.train()
    rows = [dataset[0, index]["labels"] for index in range(min(BATCH_SIZE, len(dataset)))]
    labels = nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), True, -100)

    def step(encode: Callable[[], tuple[Tensor, Tensor]]) -> None:
        features, mask = encode()
        logits = model(features=features, mask=mask, labels=labels).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        torch.autograd.backward(loss)
        model.zero_grad()

    def read() -> tuple[Tensor, Tensor]:
        return pad_features([dataset[0, index]["features"] for index in range(len(rows))])

    ratio = time_pairs(
        lambda: step(lambda: stage.encode_plainly(*batches[0])),
        lambda: step(read),
        arguments.pairs,
    )
    print(f"a whole step, forward and backward: from the cache {ratio}")


if __name__ == "__main__":
    main()
