"""A long video as a row of blocks: views of its kept frames, with the time of each.

Memory does not grow with the length, and every frame is decoded once, but for those between a
keyframe and the place where a group of frames begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.augment import render_view
from unglossed.media.frames import FRAME_RATE, open_frames, sample_indices
from unglossed.media.signal import Clip, VideoSignal, cut_box, signal_of

Processor = Any
"""A `TranslatorProcessor`, or `Plain`."""
BLOCK = 64
"""Kept frames of a block: ten seconds at a quarter of 25 a second."""


@dataclass(frozen=True, eq=False)
class Block:
    """Kept frames that follow each other.

    Attributes:
        seconds: When each is shown in its media, (n,) float64.
        views: What the encoder is given, (n, crop, crop, 3) uint8 RGB.
    """

    seconds: NDArray[np.float64]
    views: NDArray[np.uint8]


def video_signal(processor: Processor) -> VideoSignal:
    """The signal of a model that reads video.

    Raises:
        InputError: it reads something else.
    """
    signal = signal_of(processor)
    if not isinstance(signal, VideoSignal):
        raise InputError(f"the model reads {signal.kind}, expected a model that reads video")
    return signal


@dataclass(frozen=True)
class Plain:
    """What frames are read as where there is no model: a quarter of 25 a second, small."""

    frame_share: float = 0.25
    resize: int = 72
    crop: int = 64
    audio_rate: int | None = None
    signal: str | None = None

    def __call__(self, clips: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
        """Views of a clip, as a processor gives them."""
        views = render_view(clips[0], resize=self.resize, crop=self.crop)
        return {"frames": torch.from_numpy(views)}


def kept_rate(processor: Processor) -> float:
    """Kept frames a second."""
    return video_signal(processor).units_per_second


def kept_seconds(clip: Clip, processor: Processor) -> NDArray[np.float64]:
    """When each kept frame of a clip is due, in seconds of its media: (kept,).

    A clip's frames are those nearest to a grid of 25 a second, see `media.signal`.
    """
    signal, frames = video_signal(processor), open_frames(clip.media, clip.frame_rate)
    count = len(frames.indices_at(FRAME_RATE, clip.start_seconds, clip.end_seconds))
    start = max(clip.start_seconds or 0.0, frames.begin_seconds)
    due: NDArray[np.float64] = start + sample_indices(count, signal.frame_share) / FRAME_RATE
    return due


def read_blocks(clip: Clip, processor: Processor) -> Iterator[Block]:
    """The kept frames of a clip of any length, `BLOCK` at a time, the last one shorter.

    Raises:
        InputError: the clip cannot be read, or the model reads no video.
    """
    signal, frames = video_signal(processor), open_frames(clip.media, clip.frame_rate)
    grid = frames.indices_at(FRAME_RATE, clip.start_seconds, clip.end_seconds)
    kept = grid[sample_indices(len(grid), signal.frame_share)]
    seconds = kept_seconds(clip, processor)

    def view(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        made = processor([cut_box(frame[None], clip.box)])["frames"][0]
        return np.asarray(made.numpy(), np.uint8)

    row: list[NDArray[np.uint8]] = []
    place = 0
    for one in frames.each(kept, view, deinterlace=clip.deinterlace):
        row.append(one)
        if len(row) == BLOCK or place + len(row) == len(kept):
            yield Block(seconds[place : place + len(row)], np.stack(row))
            place += len(row)
            row = []
