"""Writes pictures, videos and sound whose bytes depend on nothing but what is shown and heard.

What is drawn is `drawing`'s business, where it goes that of `recording`.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed_synth.motion import FRAME_RATE
from unglossed_synth.speech import SAMPLE_RATE

# Drawn pictures have flat areas: without a filter they are written 2.5 times as fast as with all of
# them, read back faster, and are smaller.
_PNG_SETTINGS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)
_JPEG_SETTINGS = (cv2.IMWRITE_JPEG_QUALITY, 95)
# x264's look-ahead for these two reads memory that nobody has written, and its bytes differ then.
_X264_OPTIONS = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:weightp=0"}


def write_picture(path: Path, frame: NDArray[np.uint8]) -> None:
    """Write a picture (height, width, 3) RGB as PNG or JPEG, by the suffix of the path.

    Raises:
        OSError: The picture could not be written.
    """
    settings = _PNG_SETTINGS if path.suffix == ".png" else _JPEG_SETTINGS
    if not cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings):
        raise OSError(f"{path}: the picture could not be written")


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    width: int,
    height: int,
    rate: int | Fraction = FRAME_RATE,
) -> None:
    """Write an MP4 of RGB frames (height, width, 3), both even, so many a second."""
    has_x264 = "libx264" in av.codecs_available
    with av.open(
        str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream(
            "libx264" if has_x264 else "mpeg4",
            rate=rate,
            options=_X264_OPTIONS if has_x264 else {"qscale": "3"},
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # More threads would cut the frames into other slices, and so give other bytes.
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(to_video_frame(frame)))
        container.mux(stream.encode())


def to_video_frame(frame: NDArray[np.uint8]) -> av.VideoFrame:
    """Convert a picture (height, width, 3) RGB to YUV 4:2:0 with zeros behind the end of each row.

    x264 looks at those bytes too, and what happened to be in memory would show in the video.
    """
    height, width = frame.shape[:2]
    picture = av.VideoFrame(width, height, "yuv420p")
    samples = av.VideoFrame.from_ndarray(frame, format="rgb24").to_ndarray(format="yuv420p").ravel()
    for plane in picture.planes:
        size = plane.height * plane.width
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = samples[:size].reshape(plane.height, plane.width)
        plane.update(rows)
        samples = samples[size:]
    return picture


def write_sound(path: Path, samples: NDArray[np.int16]) -> None:
    """Write a WAV of one channel: (n,) samples at `SAMPLE_RATE`."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(samples.astype("<i2").tobytes())
