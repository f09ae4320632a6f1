"""All frames of a video as RGB, against PyAV's own loop with `to_ndarray`.

    python benchmarks/frames.py [--pairs 9]

Generated videos of two sizes, one thread. Ours also looks for rotation marks, damage and frames
that are missing; both give the same pixels, which is checked.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from pairs import time_pairs

from unglossed.media.frames import read_frames
from unglossed_synth.encoding import write_video

SIZES = {"84x104": (84, 104, 500), "640x480": (640, 480, 100)}
"""Width, height and number of frames."""


def plainly(path: Path) -> NDArray[np.uint8]:
    """Frames as PyAV's documentation reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    return np.stack(frames)


def main() -> None:
    """Time both ways for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9, help="pairs of runs that count")
    pairs = parser.parse_args().pairs
    rng = np.random.default_rng(0)
    for name, (width, height, count) in SIZES.items():
        ground = rng.integers(0, 256, (height, width, 3), np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(path, (np.roll(ground, n, axis=1) for n in range(count)), width, height)
            same = np.array_equal(plainly(path), read_frames(path))
            ratio = time_pairs(partial(plainly, path), partial(read_frames, path), pairs)
        print(f"{count} frames of {name}, {'the same' if same else 'other'} pixels: {ratio}")


if __name__ == "__main__":
    main()
