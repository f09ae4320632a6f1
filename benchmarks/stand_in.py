"""A stand-in of PHOENIX14T: its layout, its lengths, pictures of its size, generated sentences.

Pictures are blurred noise with the noise of a camera over it, as hard to decode as those of a
camera. Clips share them: what is read is in the system's memory, so the disk is not measured.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from unglossed.corpora.phoenix14t import FRAMES, HEADER, INNER_FOLDER, annotation_path
from unglossed_synth.saying import draw_texts

MEAN_FRAMES, SHORTEST, LONGEST = 116.6, 16, 475
"""Of the clips of train: 827,354 frames in 7,096 clips, published with the corpus."""
SPREAD = 0.42
"""Of the logarithm of the lengths, which are about log-normal: chosen, not published."""
NUM_TRAIN = 7096
WIDTH, HEIGHT = 210, 260
NUM_PICTURES = 64


def lengths_of(num_clips: int, mean: float = MEAN_FRAMES) -> list[int]:
    """Frames of each clip, in a drawn order: as many quantiles of the lengths of PHOENIX14T."""
    draw = np.random.default_rng(0)
    places = np.sort(draw.normal(size=100_000))[:: 100_000 // num_clips][:num_clips]
    found = np.exp(SPREAD * places)
    found = np.clip(found * mean / found.mean(), min(SHORTEST, mean), LONGEST)
    return [max(round(length), 1) for length in draw.permutation(found)]


def write_stand_in(folder: Path, num_train: int, num_dev: int, *, tiny: bool = False) -> str:
    """Write the corpus into a folder; its spec.

    Args:
        folder: New.
        num_train: Clips of train.
        num_dev: Clips of dev.
        tiny: Clips of eight frames, to try a script.
    """
    base = folder / INNER_FOLDER
    pictures = base / "pictures"
    pictures.mkdir(parents=True)
    for number in range(NUM_PICTURES):
        cv2.imwrite(str(pictures / f"{number}.png"), _picture(number))
    texts = draw_texts("de", 1 if tiny else 3, num_train + num_dev, 0, set())
    for split, first, last in (
        ("train", 0, num_train),
        ("dev", num_train, num_train + num_dev),
    ):
        rows = [HEADER]
        lengths = lengths_of(last - first, 8 if tiny else MEAN_FRAMES)
        for number, (length, text) in enumerate(zip(lengths, texts[first:last], strict=True)):
            name = f"{split}{number:05}"
            clip = base / FRAMES / split / name
            clip.mkdir(parents=True)
            for frame in range(length):
                picture = pictures / f"{(number + frame) % NUM_PICTURES}.png"
                os.link(picture, clip / f"images{frame + 1:04}.png")
            rows.append(f"{name}|{name}/1/*.png|-1|-1|Signer01|SIGN|{text}")
        path = annotation_path(base, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"phoenix14t:{folder}"


def _picture(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (13, 11, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noisy = smooth + draw.normal(scale=3.0, size=smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
