"""How fast clips become batches on one core: folders of PNG pictures of PHOENIX14T's size to 224.

The baseline is what the field's scripts do, written plainly. Pillow opens the pictures, each is
rotated, resized, shifted and resized once more, one change after the other; the clip becomes
float32, is normalised, and padded to the longest of the batch. It decodes the kept frames only, as
ours; `--every-frame` has it open all frames of a clip and thin them afterwards. Ours leaves
normalising to the model; what that takes there is printed and not hidden in the ratio: the line
"with normalising" adds it.

    python benchmarks/loader.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pairs import peak_gigabytes, time_pairs
from PIL import Image
from reading import add_noise
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.media.augment import AugmentationConfig
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.data import ClipDataset, Collator
from unglossed.training.tokenizer import train_tokenizer
from unglossed_synth.corpus import write_corpus

KEPT = 4  # one frame of so many
RESIZE, CROP = 256, 224
BATCH_SIZE = 2
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def main() -> None:
    """Make the clips, load them both ways, print ratios, difference and memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--small", action="store_true", help="four small clips: to try the script")
    parser.add_argument("--every-frame", action="store_true", help="the baseline opens all frames")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        num_clips = 4 if arguments.small else arguments.clips
        size = {"width": 64, "height": 80} if arguments.small else {}
        write_corpus(corpus, num_clips, seed=0, num_workers=1, progress=False, **size)
        add_noise(corpus)
        measure(corpus, arguments.pairs, every_frame=arguments.every_frame)


def measure(corpus: Path, num_pairs: int, *, every_frame: bool) -> None:
    """Time both ways and compare their pixels."""
    use_one_core()
    baseline = baseline_loader(corpus, training=True, every_frame=every_frame)
    ours = our_loader(corpus, training=True)
    print(f"{len(baseline.dataset)} clips, one frame of {KEPT} kept, batches of {BATCH_SIZE}")
    print("loaded:", time_pairs(lambda: drain(baseline), lambda: drain(ours), num_pairs))
    print(
        "with normalising:",
        time_pairs(lambda: drain(baseline), lambda: drain(ours, normalise), num_pairs),
    )
    mean, largest = compare(corpus)
    print(f"without augmentation, difference of a pixel: mean {mean:.2f}, at most {largest:.0f}")
    for name, work in (("baseline", drain_baseline), ("ours", drain_ours)):
        print(f"peak memory, {name}: {peak_gigabytes(work, corpus):.2f} GB")


def use_one_core() -> None:
    """No threads beside the one that loads."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def drain(loader: DataLoader[Any], use: Any = None) -> None:
    """Load all batches."""
    for batch in loader:
        if use is not None:
            use(batch["frames"])


def drain_baseline(corpus: Path) -> None:
    """Load everything the baseline's way."""
    use_one_core()
    drain(baseline_loader(corpus, training=True))


def drain_ours(corpus: Path) -> None:
    """Load everything our way."""
    use_one_core()
    drain(our_loader(corpus, training=True))


def our_loader(corpus: Path, *, training: bool) -> DataLoader[Any]:
    """What a stage's training reads from."""
    samples = samples_of(corpus)
    tokenizer = train_tokenizer([sample.text for sample in samples], "de", 300)
    processor = TranslatorProcessor(tokenizer, "de", "<de>", 1 / KEPT, RESIZE, CROP)
    clips = ClipDataset(
        samples, processor, limit=10**6, augmentation=AugmentationConfig(), training=training
    )
    order: Any = [(0, index) for index in range(len(samples))]
    return DataLoader(clips, BATCH_SIZE, sampler=order, collate_fn=Collator(processor))


def normalise(frames: Tensor) -> Tensor:
    """What the model does with (frames, height, width, 3) uint8."""
    scale, shift = torch.from_numpy(1 / (255 * STD)), torch.from_numpy(-MEAN / STD)
    return frames.float().mul_(scale).add_(shift)


def baseline_loader(corpus: Path, *, training: bool, every_frame: bool = False) -> DataLoader[Any]:
    """The field's way."""
    clips = PlainClips(samples_of(corpus), training=training, every_frame=every_frame)
    return DataLoader(clips, BATCH_SIZE, collate_fn=pad)


class PlainClips(Dataset[Tensor]):
    """Clips as (kept, 3, 224, 224) float32, frame by frame."""

    def __init__(self, samples: list[Sample], *, training: bool, every_frame: bool) -> None:
        self.folders = [sample.media for sample in samples]
        self.training = training
        self.every_frame = every_frame
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> Tensor:
        paths = sorted(self.folders[index].glob("*.png"))
        starts = np.arange(0, len(paths), KEPT)
        ends = np.minimum(starts + KEPT, len(paths))
        kept = self.rng.integers(starts, ends) if self.training else starts
        if self.every_frame:
            pictures = [Image.open(path).convert("RGB") for path in paths]
            pictures = [pictures[place] for place in kept]
        else:
            pictures = [Image.open(paths[place]).convert("RGB") for place in kept]
        left = top = (RESIZE - CROP) // 2
        if self.training:
            pictures = self.augment(pictures)
            left, top = self.rng.integers(0, RESIZE - CROP + 1, 2)
        clip = torch.zeros(len(pictures), 3, CROP, CROP)
        for place, picture in enumerate(pictures):
            square = picture.resize((RESIZE, RESIZE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div(255)
            pixels = (pixels - torch.from_numpy(MEAN)[:, None, None]) / torch.from_numpy(STD)[
                :, None, None
            ]
            clip[place] = pixels[:, top : top + CROP, left : left + CROP]
        return clip

    def augment(self, pictures: list[Image.Image]) -> list[Image.Image]:
        """Rotate, resize and shift a clip, each with a chance of one half."""
        bilinear = Image.Resampling.BILINEAR
        if self.rng.random() < 0.5:
            angle = self.rng.uniform(-30, 30)
            pictures = [picture.rotate(angle, bilinear) for picture in pictures]
        if self.rng.random() < 0.5:
            scale = self.rng.uniform(0.8, 1.2)
            width, height = (int(side * scale) for side in pictures[0].size)
            pictures = [picture.resize((width, height), bilinear) for picture in pictures]
        if self.rng.random() < 0.5:
            x, y = self.rng.uniform(-10, 10, 2)
            affine = Image.Transform.AFFINE
            pictures = [
                picture.transform(picture.size, affine, (1, 0, x, 0, 1, y), bilinear)
                for picture in pictures
            ]
        return pictures


def pad(clips: list[Tensor]) -> dict[str, Tensor]:
    """Stack clips to (batch, longest, 3, 224, 224), zero where padded."""
    return {
        "frames": torch.nn.utils.rnn.pad_sequence(clips, batch_first=True),
        "lengths": torch.tensor([len(clip) for clip in clips]),
    }


def compare(corpus: Path) -> tuple[float, float]:
    """Mean and largest difference of a pixel, of 255, as an evaluation sees the clips."""
    differences = []
    for plain, batch in zip(
        baseline_loader(corpus, training=False), our_loader(corpus, training=False), strict=True
    ):
        clips = zip(plain["frames"], plain["lengths"], strict=True)
        frames = torch.cat([clip[:length] for clip, length in clips]).permute(0, 2, 3, 1)
        pixels = (frames * torch.from_numpy(STD) + torch.from_numpy(MEAN)) * 255
        differences.append((pixels - batch["frames"].float()).abs())
    joined = torch.cat(differences)
    return float(joined.mean()), float(joined.max())


def samples_of(corpus: Path) -> list[Sample]:
    """All samples of a folder in PHOENIX14T's layout."""
    splits = read_corpus(f"phoenix14t:{corpus}").splits
    return [sample for split in splits.values() for sample in split]


if __name__ == "__main__":
    main()
