"""How fast a packed corpus is read, against the same clips as folders of PNG pictures.

Both are made in a temporary folder: generated clips of PHOENIX14T's size, with the noise of a
camera, without which a PNG would be far smaller than that corpus's 50 to 100 KB. Every clip is read
by the functions that training reads with, in one thread, a quarter of its frames kept. The two are
read in turns, clip by clip, so that whatever else the machine does slows both: trust the ratio.

    python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from unglossed.corpora.pack import pack_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.media.frames import read_frames
from unglossed.media.signal import kept_indices
from unglossed_synth.corpus import write_corpus

SAMPLING_RATE = 0.25
NOISE = 2.0  # standard deviation of a pixel's value
# What libpng does by itself, and with it most programs that write PNG.
PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 6),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED),
)


def main() -> None:
    """Make the clips, read them, print rates, ratio, bytes and loss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=12, help="clips of each kind")
    parser.add_argument("--pairs", type=int, default=9, help="times that all clips are read")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.clips, arguments.pairs)


def measure(folder: Path, num_clips: int, num_pairs: int) -> None:
    """Make clips below a folder and measure."""
    write_corpus(folder / "folders", num_clips, seed=0, num_workers=1, progress=False)
    add_noise(folder / "folders")
    spec = f"phoenix14t:{folder / 'folders'}"
    pack_corpus(spec, folder / "packed", num_workers=1, progress=False)
    pairs = list(zip(samples_of(spec), samples_of(f"packed:{folder / 'packed'}"), strict=True))

    loss, num_frames = compare(pairs)
    png, jpeg = (count_bytes(folder / name) for name in ("folders", "packed"))
    print(f"{len(pairs)} clips, {num_frames} frames of 210x260, {SAMPLING_RATE:.0%} of them read")
    sizes = [size / num_frames / 1e3 for size in (png, jpeg)]
    print(f"on disk, KB a frame: PNG folders {sizes[0]:.1f}, packed {sizes[1]:.1f}")
    print(f"mean absolute difference of a pixel: {loss:.2f} of 255")

    rates = []
    for number in range(num_pairs + 1):
        seconds = [0.0, 0.0]
        for pair in pairs:
            # Who comes first changes, so that neither gains from what the other left in a cache.
            for which in (0, 1) if number % 2 else (1, 0):
                begin = time.perf_counter()
                read(pair[which])
                seconds[which] += time.perf_counter() - begin
        if number:  # the first time fills the caches
            rates.append([len(pairs) / spent for spent in seconds])
    ratios = [packed / folders for folders, packed in rates]
    folders, packed = (statistics.median(column) for column in zip(*rates, strict=True))
    print(f"clips a second: PNG folders {folders:.1f}, packed {packed:.1f}")
    print(
        f"ratio: median {statistics.median(ratios):.2f},"
        f" {min(ratios):.2f} to {max(ratios):.2f} in {num_pairs} pairs"
    )


def read(sample: Sample) -> None:
    """Read a clip as an evaluation does."""
    read_frames(sample.media, kept_indices(sample, SAMPLING_RATE))


def samples_of(spec: str) -> list[Sample]:
    """All samples of a corpus."""
    return [sample for split in read_corpus(spec).splits.values() for sample in split]


def add_noise(folder: Path) -> None:
    """Write every picture below a folder anew, with noise."""
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.png")):
        picture = cv2.imread(str(path))
        assert picture is not None, path
        noisy = picture + rng.normal(0, NOISE, picture.shape)
        cv2.imwrite(str(path), np.clip(np.round(noisy), 0, 255).astype(np.uint8), PNG)


def compare(pairs: list[tuple[Sample, Sample]]) -> tuple[float, int]:
    """Mean absolute difference of all pixels, and the number of frames."""
    differences = []
    for folder, packed in pairs:
        before, after = read_frames(folder.media), read_frames(packed.media)
        assert before.shape == after.shape, (before.shape, after.shape)
        differences += [
            float(cv2.absdiff(*frames).mean()) for frames in zip(before, after, strict=True)
        ]
    return statistics.mean(differences), len(differences)


def count_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
