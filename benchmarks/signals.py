"""A training step of stage 1 on the poses of clips, against one on their pictures.

Pictures are read as in `stage1.py`: ResNet-18 at 224 x 224 pixels, 64 frames a clip, which are a
quarter of 10 s. Poses of the same clips, MediaPipe's points at 12.5 rows a second, are read by
the graph encoder at its full size. Behind both stand the same VL-Adapter and Light-T Base with
2,429 words. Reading and augmenting are not counted, nor is the pose estimator, which runs once.

    python benchmarks/signals.py [--pairs 5] [--lengths 64 64]
"""

from __future__ import annotations

import argparse

import as_trained  # noqa: F401 - before torch
import stage1
import torch
from pairs import peak_gigabytes, time_pairs
from torch import Tensor
from transformers import set_seed

from unglossed.media.skeletons import SKELETONS
from unglossed.models.graph import GraphEncoder
from unglossed.models.translator import Translator, TranslatorConfig

SKELETON = "mediapipe"
RATE, KEPT_RATE = 12.5, 6.25
"""Rows of poses and kept pictures a second."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="steps of each that are counted")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 64], help="kept pictures")
    parser.add_argument("--size", choices=("small", "paper"), default="paper", help="small: to try")
    arguments = parser.parse_args()
    lengths, size = arguments.lengths, arguments.size
    peaks = [peak_gigabytes(train, name, lengths, size) for name in ("pictures", "poses")]
    print(f"peak memory: {peaks[0]:.2f} and {peaks[1]:.2f} GB")
    ratio = time_pairs(
        step("pictures", lengths, size), step("poses", lengths, size), arguments.pairs
    )
    rates = [len(lengths) / seconds for seconds in (ratio.baseline_seconds, ratio.seconds)]
    print(f"clips a second: {rates[0]:.2f} and {rates[1]:.2f}; {ratio}")


def train(name: str, lengths: list[int], size: str) -> None:
    """Do two steps, in a process of its own."""
    stage1.losses(step(name, lengths, size))


def step(name: str, lengths: list[int], size: str) -> stage1.Step:
    """A step on `pictures` or `poses` as the project's trainer does it."""
    if name == "pictures":
        return stage1.our_step(lengths, size)
    stage = stage1.stage_of(len(lengths))
    return stage1.trainers_step(stage, translator(size), batch_of(lengths, size))


def batch_of(lengths: list[int], size: str) -> dict[str, Tensor]:
    """Points that move about, and the texts of the pictures' batch."""
    rows = [int(length * RATE / KEPT_RATE) for length in lengths]
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(sum(rows), len(SKELETONS[SKELETON].used), 2, generator=draw)
    seconds = torch.cat([torch.arange(count) / RATE for count in rows])
    frames = torch.cat([points, seconds[:, None, None].expand(*points.shape[:2], 1)], dim=-1)
    labels = stage1.batch_of(lengths, size)["labels"]
    return {"frames": frames, "lengths": torch.tensor(rows), "labels": labels}


def translator(size: str) -> Translator:
    """The project's model of stage 1 on poses."""
    _, light_t = stage1.parts(size)
    encoder = {**GraphEncoder.defaults, "kind": "graph", "skeleton": SKELETON, "depth": False}
    set_seed(0)
    return Translator(
        TranslatorConfig(
            encoder={**encoder, "temporal_pools": [2], "edge_frames": 4},
            adapter={"hidden_dim": 512, "dropout": 0.0},
            language_model=light_t.to_dict(),
        )
    )


if __name__ == "__main__":
    main()
