"""Small clips with known content, made by OpenCV and PyAV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import cv2
import numpy as np
import pytest

from unglossed_synth.encoding import to_video_frame


class Pipe:
    """A file that can only be written on and on, as what a live recording goes into."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        return self.file.write(data)


def write_stream(
    target: str | Pipe,
    frames: np.ndarray | Sequence[np.ndarray],
    codec: str = "libx264",
    rate: int = 25,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    **settings: object,
) -> None:
    """Encode frames; `options` are the codec's, `settings` go to `av.open`."""
    with av.open(target, "w", **settings) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = options or {}
        if rotation:
            stream.set_display_rotation(rotation)
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, frame in enumerate(frames):
            picture = to_video_frame(np.ascontiguousarray(frame))
            if times_ms is not None:
                picture.pts, picture.time_base = int(times_ms[index]), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture
def pictures() -> np.ndarray:
    """Nine smooth pictures, each plainly brighter than the one before: (9, 32, 48, 3)."""
    rows, columns = np.mgrid[0:32, 0:48]
    base = np.stack([rows, columns, rows + columns], axis=-1)
    return np.stack([base + 18 * index for index in range(9)]).astype(np.uint8)


@pytest.fixture(scope="session")
def write_folder() -> Callable[..., Path]:
    def write(folder: Path, frames: np.ndarray, names: list[str] | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            name = names[index] if names else f"images{index + 1:04d}.png"
            assert cv2.imwrite(str(folder / name), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return folder

    return write


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    def write(path: Path, frames: np.ndarray, *args: object, **settings: object) -> Path:
        write_stream(str(path), frames, *args, **settings)
        return path

    return write


@pytest.fixture(scope="session")
def write_live() -> Callable[..., Path]:
    """As a browser's recorder writes: no length, no table of contents, no size of the whole."""

    def write(path: Path, frames: np.ndarray, codec: str = "libvpx-vp9") -> Path:
        with path.open("wb") as file:
            write_stream(Pipe(file), frames, codec, format="webm", container_options={"live": "1"})
        return path

    return write


@pytest.fixture(scope="session")
def write_sound() -> Callable[..., Path]:
    def write(
        path: Path, samples: np.ndarray | None = None, codec: str = "aac", rate: int = 16000
    ) -> Path:
        """Encode (channels, n) in -1..1; without `samples`, a second of silence."""
        samples = np.zeros((1, rate)) if samples is None else samples
        layout = "mono" if len(samples) == 1 else "stereo"
        sound = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", layout)
        sound.sample_rate, sound.pts = rate, 0
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            name = stream.codec_context.format.name
            fifo = av.AudioFifo()
            for piece in av.AudioResampler(name, layout, rate).resample(sound):
                fifo.write(piece)
            while piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
                container.mux(stream.encode(piece))
            container.mux(stream.encode())
        return path

    return write
