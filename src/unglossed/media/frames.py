"""An open clip: the size, the times and the pixels of its frames.

`open_frames` is the one place that asks whether a path is a video file, a folder of pictures or a
packed clip. Frames come as they are stored: `signal` thins them, `augment` resizes them. A damaged
file is an error, never half a frame, except for damage within a JPEG (see `pictures`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media import packed
from unglossed.media.pictures import (
    Size,
    check_picture,
    check_sizes,
    list_pictures,
    read_pictures,
    read_size,
)
from unglossed.media.videofile import (
    first_size,
    keep_of_video,
    read_timeline,
    read_video,
)

FRAME_RATE = 25.0
"""Frames per second that models are trained at, and those of a folder if nothing else is given."""

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .webm .mkv .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split()
)
"""Endings of files that are taken for videos when a folder is listed, in lower case."""

Indices = Sequence[int] | NDArray[np.int64]
Kept = TypeVar("Kept")
_FEW = 16
"""Frames that are held in memory at their full size."""


def is_packed(media: Path) -> bool:
    """Whether a path is that of a clip in a shard, which may not exist."""
    shard = media.parent
    return shard.name.endswith(".tar") and not shard.is_dir()


def nearest_frames(times: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each time of a grid the index of the nearest of rising `times`; the earlier of two."""
    if len(times) == 1:
        return np.zeros(len(grid), np.int64)
    after = np.searchsorted(times, grid).clip(1, len(times) - 1)
    earlier_is_nearer = grid - times[after - 1] <= times[after] - grid
    nearest: NDArray[np.int64] = after - earlier_is_nearer
    return nearest


def group_size(rate: float) -> int:
    """Number of frames of which one is kept at a share of 1, 0.5, 0.25 or any 1 / whole number.

    Raises:
        InputError: The share is not one over a whole number.
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
        Rising indices: (ceil(num_frames * rate),). A last group that is not full still gives one.
    """
    size = group_size(rate)
    starts = np.arange(0, num_frames, size, dtype=np.int64)
    if generator is None or size == 1:
        return starts
    ends = np.minimum(starts + size, num_frames)
    return generator.integers(starts, ends, dtype=np.int64)


def choose_at(
    media: Path,
    unit: str,
    times: NDArray[np.float64],
    step: float,
    rate: float,
    start_seconds: float | None,
    end_seconds: float | None,
) -> NDArray[np.int64]:
    """Choose the units of a clip nearest to an even time grid, see `Frames.indices_at`.

    Args:
        media: Of the clip, for messages.
        unit: What a unit is called.
        times: Seconds of each unit, rising: (units,).
        step: Seconds that the last unit lasts.
        rate: Units per second wanted.
        start_seconds: Begin of the part; None: the first unit.
        end_seconds: End of the part; None: with the clip.

    Raises:
        InputError: The part holds no unit.
    """
    duration = float(times[-1]) + step
    start = max(start_seconds or 0.0, float(times[0]))
    end = duration if end_seconds is None else min(end_seconds, duration)
    if end <= start:
        raise InputError(
            f"{media}: no {unit} between {start} and {end_seconds} seconds: "
            f"the clip is {duration:.2f} seconds long"
        )
    grid = start + np.arange(max(1, round((end - start) * rate))) / rate
    return nearest_frames(times, grid)


class Frames(ABC):
    """The frames of an open clip; `open_frames` makes it.

    Attributes:
        media: Where it lies.
        times: Seconds from the first frame, rising: (num_frames,).
        rate: Frames per second of pictures, which have no times of their own; 25 for a video.
        begin_seconds: When the first frame is shown, counted as players do; 0 for pictures.
        names: Of a folder's pictures, in order; none elsewhere.
    """

    def __init__(
        self,
        media: Path,
        times: NDArray[np.float64],
        rate: float = FRAME_RATE,
        begin_seconds: float = 0.0,
        names: Sequence[str] = (),
    ) -> None:
        self.media, self.times, self.rate = media, times, rate
        self.begin_seconds, self.names = begin_seconds, names

    @property
    def num_frames(self) -> int:
        """How many frames can be read."""
        return len(self.times)

    @property
    def size(self) -> Size:
        """Width and height of the frames as they are read."""
        return self._size()

    def read(
        self,
        indices: Indices | None = None,
        at_least: Size | None = None,
        *,
        deinterlace: bool = False,
    ) -> NDArray[np.uint8]:
        """Read the frames, or some of them.

        Pictures that are not asked for are not opened. A video is decoded from keyframes, or from
        its beginning if its time stamps are not reliable. Rotation marks are honoured; HDR and wide
        colours become those of BT.709; frames that change size are brought to that of the first.

        Args:
            indices: Frames wanted, counted from 0, in any order; None for all.
            at_least: Width and height that are needed: JPEG pictures of twice the size and more are
                decoded at a half, a quarter or an eighth of it, which is faster.
            deinterlace: Deinterlace the frames of a video that are marked as interlaced.

        Returns:
            (n, height, width, 3) uint8, RGB, in the order of `indices`.

        Raises:
            InputError: What is read is damaged, or a folder's pictures differ in size.
        """
        wanted = range(self.num_frames) if indices is None else [int(index) for index in indices]
        return self._read(wanted, at_least, deinterlace)

    def indices_at(
        self,
        frame_rate: float = FRAME_RATE,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> NDArray[np.int64]:
        """Choose the frames nearest to an even time grid, so that every clip runs at one speed.

        A 30 fps or variable-rate video is thinned by time, one below `frame_rate` repeats frames;
        at `frame_rate` every frame is chosen once.

        Args:
            frame_rate: Frames per second wanted.
            start_seconds: Begin of the part, counted as players do; None: the first frame.
            end_seconds: End of the part, may lie past that of the clip; None: with the clip.

        Returns:
            Indices for `read`, never falling, at least one: (kept,).

        Raises:
            InputError: The part holds no frame.
        """
        times = self.times + self.begin_seconds
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / self.rate
        span = start_seconds, end_seconds
        return choose_at(self.media, "frame", times, step, frame_rate, *span)

    def each(
        self, indices: Indices, keep: Callable[[NDArray[np.uint8]], Kept], *, deinterlace: bool
    ) -> Iterator[Kept]:
        """Read frames one after another and keep of each what `keep` makes of it.

        A long clip needs no more memory than what is kept of some hundred frames.

        Args:
            indices: Frames wanted, never falling.
            keep: Is given each (height, width, 3) uint8 RGB.
            deinterlace: See `read`.

        Yields:
            What is kept of each frame, in the order of `indices`.

        Raises:
            InputError: See `read`.
        """
        yield from self._each([int(index) for index in indices], keep, deinterlace)

    def check(self) -> None:
        """Decode every frame; one that is damaged, or of another size, is an `InputError`."""
        self.read()

    def _each(
        self, wanted: Sequence[int], keep: Callable[[NDArray[np.uint8]], Kept], deinterlace: bool
    ) -> Iterator[Kept]:
        """See `each`."""
        for start in range(0, len(wanted), _FEW):
            yield from map(keep, self._read(wanted[start : start + _FEW], None, deinterlace))

    @abstractmethod
    def _size(self) -> Size:
        """Width and height."""

    @abstractmethod
    def _read(
        self, wanted: Sequence[int], at_least: Size | None, deinterlace: bool
    ) -> NDArray[np.uint8]:
        """See `read`."""


class _Folder(Frames):
    def __init__(self, media: Path, rate: float) -> None:
        names = list_pictures(media)
        super().__init__(media, np.arange(len(names)) / rate, rate, names=names)

    def check(self) -> None:
        check_sizes(self.media, {check_picture(self.media / name) for name in self.names})

    def _size(self) -> Size:
        return read_size(self.media / self.names[0])

    def _read(
        self, wanted: Sequence[int], at_least: Size | None, deinterlace: bool
    ) -> NDArray[np.uint8]:
        return read_pictures(self.media, [self.names[index] for index in wanted], at_least)


class _Packed(Frames):
    def __init__(self, media: Path) -> None:
        super().__init__(media, np.arange(packed.num_frames(media)) / FRAME_RATE)

    def _size(self) -> Size:
        return packed.picture_size(self.media)

    def _read(
        self, wanted: Sequence[int], at_least: Size | None, deinterlace: bool
    ) -> NDArray[np.uint8]:
        return packed.read_frames(self.media, wanted, at_least)


class _Video(Frames):
    def __init__(self, media: Path) -> None:
        timeline = read_timeline(media)
        super().__init__(media, timeline.times, begin_seconds=timeline.begin_seconds)

    def _size(self) -> Size:
        return first_size(self.media)

    def _read(
        self, wanted: Sequence[int], at_least: Size | None, deinterlace: bool
    ) -> NDArray[np.uint8]:
        return read_video(self.media, wanted, deinterlace=deinterlace)

    def _each(
        self, wanted: Sequence[int], keep: Callable[[NDArray[np.uint8]], Kept], deinterlace: bool
    ) -> Iterator[Kept]:
        if deinterlace:
            return super()._each(wanted, keep, deinterlace)
        return keep_of_video(self.media, wanted, keep)


def open_pictures(media: Path, rate: float | None = None) -> Frames | None:
    """Open a clip that is stored as pictures, in a folder or a shard; None: it is a file."""
    if is_packed(media):
        return _Packed(media)
    return _Folder(media, rate or FRAME_RATE) if media.is_dir() else None


def open_frames(media: Path, rate: float | None = None) -> Frames:
    """Open a clip: a video file, a folder of numbered pictures, or a clip in a shard.

    Args:
        media: Where it lies.
        rate: Pictures per second of a folder; None: 25. Other media have their own.

    Raises:
        InputError: Nothing is there, the folder has no picture, or the file is empty, truncated, no
            video or without a video stream.
    """
    return open_pictures(media, rate) or _Video(media)


def read_frames(
    media: Path,
    indices: Indices | None = None,
    at_least: Size | None = None,
    *,
    deinterlace: bool = False,
) -> NDArray[np.uint8]:
    """Open a clip and read its frames, see `Frames.read`."""
    return open_frames(media).read(indices, at_least, deinterlace=deinterlace)
