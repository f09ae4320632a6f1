"""What a model is given of a clip: frames on the 25 fps grid, thinned; or a stretch of sound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.audio import draw_sound, read_audio
from unglossed.media.frames import FRAME_RATE, frame_indices_at, read_frames
from unglossed.media.pictures import Size


def group_size(rate: float) -> int:
    """Turn a sampling rate into the number of frames of which one is kept.

    Args:
        rate: Share of the frames that is kept: 1, 0.5, 0.25, 0.125 or any other 1 / whole number.

    Returns:
        The whole number 1 / rate.

    Raises:
        InputError: The rate is not one over a whole number.
    """
    size = round(1 / rate) if 0 < rate <= 1 else 0
    if size < 1 or abs(1 / rate - size) > 1e-6:
        raise InputError(
            f"frame_share: found {rate}, expected one over a whole number: 1, 0.5, 0.25, 0.125"
        )
    return size


def sample_indices(
    num_frames: int, rate: float, generator: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Choose one frame of every group of 1 / rate neighbours (FLa-LLM keeps one of four).

    Args:
        num_frames: Frames that the clip has.
        rate: Share of the frames to keep, see `group_size`.
        generator: Training: a random frame of each group. None, for evaluation: the first.

    Returns:
        Indices in rising order, ceil(num_frames * rate) of them: (kept,). A last group that is not
        full still gives one frame.

    Raises:
        InputError: The rate is not one over a whole number.
    """
    size = group_size(rate)
    starts = np.arange(0, num_frames, size, dtype=np.int64)
    if generator is None or size == 1:
        return starts
    ends = np.minimum(starts + size, num_frames)
    return generator.integers(starts, ends, dtype=np.int64)


Box = tuple[float, float, float, float]
_LEAST_SHARE = 1e-6
_FRAME_RATES = (1.0, 1000.0)
_FIRST_FRAMES = 16
_BYTES_AT_ONCE = 256_000_000  # of frames in memory at their full size


class Clip(Protocol):
    """What says where a clip lies: a corpus's `Sample`, or a `WholeFile`."""

    @property
    def media(self) -> Path:
        """Frame folder, video or sound file, or clip in a shard."""

    @property
    def start_seconds(self) -> float | None:
        """Begin within the media; None: where it begins."""

    @property
    def end_seconds(self) -> float | None:
        """End within the media; None: where it ends."""

    @property
    def box(self) -> Box | None:
        """Part of the picture: left, top, right, bottom in 0..1; None: all of it."""

    @property
    def frame_rate(self) -> float | None:
        """Pictures per second of a frame folder; None: 25. Other media tell their own."""

    @property
    def deinterlace(self) -> bool:
        """Whether frames of a video that are marked as interlaced are made whole."""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file or folder that is one clip."""

    media: Path
    start_seconds: float | None = None
    end_seconds: float | None = None
    box: Box | None = None
    frame_rate: float | None = None
    deinterlace: bool = False


@dataclass(frozen=True, slots=True)
class VideoSignal:
    """Reads clips as thinned frames.

    Attributes:
        frame_share: Share of the 25 fps frames that is kept.
        resize: Side to which frames are resized, in pixels: much larger JPEG pictures are decoded
            at a reduced size. None: every picture is read at its own size.
    """

    frame_share: float
    resize: int | None = None

    unit: ClassVar[str] = "frames kept"

    @property
    def units_per_second(self) -> float:
        """Kept frames a second."""
        return FRAME_RATE * self.frame_share

    def pictures(self, read: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
        """What a reader of a report is shown of a clip: its frames."""
        return list(read)

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[np.uint8]:
        """Read a clip's kept frames; a source of another rate is thinned by time first.

        Args:
            clip: Where it lies.
            generator: Training: a random frame of each group; None: the first.
            limit: Most frames that can be used.
            cut: Cut a longer clip there; else it is an error.

        Returns:
            (kept, height, width, 3) uint8 RGB.

        Raises:
            InputError: The clip cannot be read, or is longer than the limit.
        """
        kept = kept_indices(clip, self.frame_share, generator)
        if limit is not None and len(kept) > limit:
            if not cut:
                raise _too_long(clip, len(kept), limit, self.units_per_second, "video")
            kept = kept[:limit]
        at_least = self._at_least(clip.box)
        frames = read_frames(clip.media, kept, at_least, deinterlace=clip.deinterlace)
        return cut_box(frames, clip.box)

    def _at_least(self, box: Box | None) -> Size | None:
        """Width and height of pictures of which the box is not smaller than `resize`."""
        if self.resize is None:
            return None
        left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
        # Of a box without extent one pixel is left, see `cut_box`.
        width, height = max(right - left, _LEAST_SHARE), max(bottom - top, _LEAST_SHARE)
        return math.ceil(self.resize / width), math.ceil(self.resize / height)


@dataclass(frozen=True, slots=True)
class AudioSignal:
    """Reads clips as sound.

    Attributes:
        audio_rate: Samples a second.
    """

    audio_rate: int

    unit: ClassVar[str] = "samples"

    @property
    def units_per_second(self) -> float:
        """Samples a second."""
        return float(self.audio_rate)

    def pictures(self, read: NDArray[np.float32]) -> Sequence[NDArray[np.uint8]]:
        """What a reader of a report is shown of a clip: its spectrogram, cut into pieces."""
        return draw_sound(read, self.audio_rate)

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[np.float32]:
        """Read a clip's sound: (samples,) in -1..1; see `VideoSignal.read`."""
        del generator
        start, end = clip.start_seconds or 0.0, clip.end_seconds
        if limit is not None and cut:  # what is cut off is not decoded
            most = start + (limit + 1) / self.audio_rate
            end = most if end is None else min(end, most)
        sound = read_audio(clip.media, self.audio_rate, start, end)
        if limit is not None and len(sound) > limit:
            if not cut:
                raise _too_long(clip, len(sound), limit, self.units_per_second, "sound")
            sound = sound[:limit]
        return sound


def signal_of(processor: Any) -> VideoSignal | AudioSignal:
    """How the clips of a model are read.

    Args:
        processor: Its `audio_rate` is that of speech models, None for video; then its
            `frame_share` and `resize` count.
    """
    if processor.audio_rate is not None:
        return AudioSignal(processor.audio_rate)
    return VideoSignal(processor.frame_share, processor.resize)


def check_frame_rate(value: object, where: str) -> float:
    """Make a rate of pictures out of what a user gave: a number, or its digits.

    Args:
        value: What was given.
        where: What names it in the message.

    Raises:
        InputError: It is no number from 1 to 1000.
    """
    least, most = _FRAME_RATES
    try:
        rate = math.nan if isinstance(value, bool) else float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if not least <= rate <= most:
        raise InputError(
            f"{where}: found {str(value)[:60]!r}, expected pictures per second, {least:g} to"
            f" {most:g}"
        )
    return rate


def at_frame_rate(clip: Clip, frame_rate: float) -> Clip:
    """The same clip, its frame folder taken at another rate than 25 pictures a second.

    Raises:
        InputError: The rate is out of range, or the media has one of its own.
    """
    rate = check_frame_rate(frame_rate, "frame_rate")
    if clip.media.exists() and not clip.media.is_dir():
        raise InputError(f"{clip.media}: found a frame rate for it, expected it for frame folders")
    changed: Clip = replace(cast(Any, clip), frame_rate=rate)
    return changed


def kept_indices(
    clip: Clip, frame_share: float, generator: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Which frames of a clip's media are kept.

    Args:
        clip: Where it lies.
        frame_share: Share of the 25 fps frames that is kept.
        generator: Training: a random frame of each group; None: the first.

    Returns:
        (kept,) indices into the media's frames.
    """
    grid = frame_indices_at(
        clip.media, FRAME_RATE, clip.start_seconds, clip.end_seconds, clip.frame_rate
    )
    return grid[sample_indices(len(grid), frame_share, generator)]


def frames_in_parts(clip: Clip, kept: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Read a clip's frames in parts that fit into memory, however long it is.

    Args:
        clip: Where it lies.
        kept: Indices into the media's frames: (kept,).

    Yields:
        (n, height, width, 3) uint8 RGB, cut to the clip's box.

    Raises:
        InputError: As `read_frames`.
    """
    place, at_once = 0, _FIRST_FRAMES  # until their size is known
    while place < len(kept):
        some = kept[place : place + at_once]
        frames = read_frames(clip.media, some, deinterlace=clip.deinterlace)
        yield cut_box(frames, clip.box)
        place += at_once
        at_once = max(_FIRST_FRAMES, _BYTES_AT_ONCE // frames[0].nbytes)


def cut_box(frames: NDArray[np.uint8], box: Box | None) -> NDArray[np.uint8]:
    """Cut a part out of frames (n, height, width, 3); at least one pixel of each side is left."""
    if box is None:
        return frames
    height, width = frames.shape[1:3]
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    right, bottom = max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)
    return frames[:, top:bottom, left:right]


def _too_long(clip: Clip, found: int, limit: int, rate: float, what: str) -> InputError:
    return InputError(
        f"{clip.media}: found {found / rate:.1f} seconds of {what}, expected at most"
        f" {limit / rate:.1f} for this model: cut it into sentences"
    )
