"""Pictures of something that moves and rests, at known times."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 64


def draw_moving(
    moving: Sequence[tuple[float, float]], seconds: float, rate: float = 25.0, seed: int = 0
) -> list[NDArray[np.uint8]]:
    """Frames (64, 64, 3) of two hands that go up, move and come down within each of the times."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 200, (8, 8, 3), np.uint8), (SIDE, SIDE))
    frames = []
    for number in range(round(seconds * rate)):
        time = number / rate
        picture = ground.copy()
        height, sway = 50.0, 0.0
        for start, end in moving:
            if start <= time < end:
                lift = min(1.0, (time - start) / 0.3, (end - time) / 0.3)
                height -= 25 * lift
                sway = 10 * lift * np.sin(9 * (time - start))
        for side, hand in ((-1, 20), (1, 44)):
            place = (round(hand + side * sway), round(height + side * sway / 2))
            cv2.circle(picture, place, 6, (230, 190, 160), -1)
        noise = rng.integers(-2, 3, picture.shape)
        frames.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return frames


def write_moving(
    path: Path, moving: Sequence[tuple[float, float]], seconds: float, rate: int = 25
) -> Path:
    """The same as a video; gives its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate)
        for frame in draw_moving(moving, seconds, rate):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
