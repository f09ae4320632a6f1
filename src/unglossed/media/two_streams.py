"""Two streams of a clip: its pictures, and an array of poses or features beside them.

Either may be missing. What a clip is given as is one row of bytes, so that whoever hands batches on
need not know that there are two. How they are read is not here, see `two_stream_signal`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from unglossed.config import Settings, Share
from unglossed.media.array_settings import ArraySettings

VIDEO, ARRAY = "video", "array"
STREAMS = (VIDEO, ARRAY)
"""Names of the two streams, as recipes have them."""
HEADER = 7
"""Whole numbers of 64 bits in front of a packed clip: its units of time, the sizes of its frames
(time, height, width), and those of its array (time, points or dim, channels or 0)."""
LACKS = {name: f"there is no {name}: " for name in STREAMS}
"""How the note on a clip begins that lacks a stream."""


class StreamsSettings(Settings):
    """How a model of two streams is trained: clips are read as `video` and as `array` say."""

    drop_video: Share = 0.0
    """Chance that a clip's video is dropped in training. Never both are: the sum is at most 1."""
    drop_array: Share = 0.0
    """Chance that a clip's array is dropped in training."""

    @model_validator(mode="after")
    def _never_both(self) -> StreamsSettings:
        if self.drop_video + self.drop_array > 1:
            found = f"{self.drop_video:g} and {self.drop_array:g}"
            raise ValueError(f"drop_array: found {found} to drop, expected at most 1 together")
        return self


@dataclass(frozen=True, eq=False)
class TwoStreams:
    """What was read of a clip.

    Attributes:
        units: Length in kept frames, also where there is no frame.
        video: Frames (time, height, width, 3) uint8 RGB; time is 0 where they are missing.
        array: As `ArraySignal` reads it, (time, ...) float32; time is 0 where it is missing.
        rows_per_unit: Rows of the array for a kept frame.
        missing: Name of the stream whose file is not there; None: both are there.
    """

    units: int
    video: NDArray[np.uint8]
    array: NDArray[np.float32]
    rows_per_unit: float
    missing: str | None = None

    def __len__(self) -> int:
        return self.units

    def __getitem__(self, part: slice) -> TwoStreams:
        """The begin of it, as `[:units]`."""
        units = len(range(self.units)[part])
        rows = math.ceil(units * self.rows_per_unit)
        return replace(self, units=units, video=self.video[:units], array=self.array[:rows])

    def packed(self) -> NDArray[np.uint8]:
        """All of it as bytes (n,), n a multiple of 8: the header, the frames, the array."""
        sizes = [*self.array.shape, 0][:3]
        header = np.array([self.units, *self.video.shape[:3], *sizes], np.int64)
        parts = [header.view(np.uint8), self.video.reshape(-1), _gap(self.video.size, 4)]
        parts.append(np.ascontiguousarray(self.array, np.float32).reshape(-1).view(np.uint8))
        return np.concatenate([*parts, _gap(sum(map(len, parts)), 8)])


def _gap(size: int, multiple: int) -> NDArray[np.uint8]:
    """Zeros that fill bytes up to a multiple."""
    return np.zeros(-size % multiple, np.uint8)


def fault_beside(array: ArraySettings | None) -> str | None:
    """Why arrays cannot be read as these settings say beside video; None: they can."""
    if array is None:
        return "streams: found no array beside it, expected how arrays are read"
    if array.augmentation is not None and array.augmentation.mirror:
        found = f"found {array.augmentation.mirror:g} beside streams"
        return f"array.augmentation.mirror: {found}, expected 0: the video is not mirrored"
    return None


def missing_told(missing: str | None, settings: StreamsSettings) -> str | None:
    """A sentence about a stream that is missing; None: none is."""
    if missing is None:
        return None
    other = ARRAY if missing == VIDEO else VIDEO
    told = f"{LACKS[missing]}it is translated from the {other} alone"
    if getattr(settings, f"drop_{missing}") == 0:
        told += f", which training never did (streams.drop_{missing} is 0)"
    return told


def render(content: TwoStreams, view: Any) -> TwoStreams:
    """The same with its frames as `view` makes them, which is given those there are."""
    if not len(content.video):
        return content
    return replace(content, video=cast(NDArray[np.uint8], view(content.video)))
