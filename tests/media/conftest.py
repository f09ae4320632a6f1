"""Small clips with known content, made by OpenCV and PyAV."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unglossed.synthetic.corpus import to_video_frame


@pytest.fixture
def pictures() -> np.ndarray:
    """Nine smooth pictures, each plainly brighter than the one before: (9, 32, 48, 3)."""
    rows, columns = np.mgrid[0:32, 0:48]
    base = np.stack([rows, columns, rows + columns], axis=-1)
    return np.stack([base + 18 * index for index in range(9)]).astype(np.uint8)


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    def write(folder: Path, frames: np.ndarray, names: list[str] | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            name = names[index] if names else f"images{index + 1:04d}.png"
            assert cv2.imwrite(str(folder / name), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return folder

    return write


@pytest.fixture
def write_video() -> Callable[..., Path]:
    def write(
        path: Path,
        frames: np.ndarray,
        codec: str = "libx264",
        rate: int = 25,
        times_ms: list[int] | None = None,
        rotation: int = 0,
    ) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            if times_ms:
                stream.codec_context.time_base = Fraction(1, 1000)
            for index, frame in enumerate(frames):
                picture = to_video_frame(frame)
                if times_ms:
                    picture.pts, picture.time_base = times_ms[index], Fraction(1, 1000)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def write_sound() -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            samples = np.zeros((1, 16000), np.float32)
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate = 16000
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
        return path

    return write
