"""A video in which something moves like a sentence, rests, and moves again."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np


def write_signing(
    path: Path, seconds: float = 4.0, rests: tuple[tuple[float, float], ...] = ((1.6, 2.6),)
) -> Path:
    """Write a video of 25 frames a second, 96 x 120, in which hands move except in the rests."""
    rng = np.random.default_rng(0)
    wall = rng.integers(90, 110, (120, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 120, "yuv420p"
        phase = 0.0
        for number in range(round(25 * seconds)):
            now = number / 25
            phase += 0.0 if any(begin <= now < end for begin, end in rests) else 0.35
            picture = wall.copy()
            for side in (-1, 1):
                place = (
                    int(48 + side * (18 + 10 * np.sin(phase))),
                    int(70 + 25 * np.cos(1.3 * phase + side)),
                )
                cv2.circle(picture, place, 9, (200, 160, 130), -1)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
