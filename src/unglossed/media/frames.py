"""Read the frames of a clip: a folder of numbered pictures, or a video file (PyAV).

Gives frames as they are stored; thinning is `sampling`'s, resizing `augment`'s work. A damaged
file is an error, never half a picture, but for damage within a JPEG (see `pictures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media import packed
from unglossed.media.pictures import Size, list_pictures, read_pictures
from unglossed.media.timeline import read_timeline
from unglossed.media.videofile import read_video

FRAME_RATE = 25.0
"""Frames per second that the models are trained at; a frame folder has this rate unless told."""

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .webm .mkv .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split()
)
"""Endings of files that are taken for videos when a folder is listed, in lower case."""


def num_frames(media: Path) -> int:
    """Count the frames which `read_frames` can read.

    Args:
        media: A frame folder or a video file.

    Raises:
        InputError: See `read_frames`.
    """
    if packed.is_packed(media):
        return packed.num_frames(media)
    if media.is_dir():
        return len(list_pictures(media))
    return read_timeline(media).num_frames


def frame_times(media: Path, folder_rate: float | None = None) -> NDArray[np.float64]:
    """Tell when each frame is shown.

    Args:
        media: A frame folder or a video file.
        folder_rate: Pictures per second of a frame folder; None: 25. Other media tell their own.

    Returns:
        Seconds from the first frame, rising: (num_frames,).

    Raises:
        InputError: See `read_frames`.
    """
    if packed.is_packed(media):
        return np.arange(num_frames(media)) / FRAME_RATE
    if media.is_dir():
        return np.arange(num_frames(media)) / (folder_rate or FRAME_RATE)
    return read_timeline(media).times


def begin_seconds(media: Path) -> float:
    """When the first frame is shown, see `Timeline`; 0 in a frame folder."""
    if packed.is_packed(media) or media.is_dir():
        return 0.0
    return read_timeline(media).begin_seconds


def frame_indices_at(
    media: Path,
    frame_rate: float = FRAME_RATE,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    folder_rate: float | None = None,
) -> NDArray[np.int64]:
    """Choose the frames nearest to an even time grid, so that every clip runs at one speed.

    A 30 fps or variable-rate video is thinned by time, one below `frame_rate` repeats frames; at
    `frame_rate` every frame is chosen once.

    Args:
        media: A frame folder or a video file.
        frame_rate: Frames per second wanted.
        start_seconds: Begin of the part wanted, counted as players do, see `Timeline`; None begins
            with the first frame.
        end_seconds: End of the part, may lie past the end of the clip; None ends with the clip.
        folder_rate: As for `frame_times`.

    Returns:
        Indices for `read_frames`, never falling, at least one: (kept,).

    Raises:
        InputError: See `read_frames`; or the part holds no frame.
    """
    times = frame_times(media, folder_rate) + begin_seconds(media)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / (folder_rate or frame_rate)
    duration = float(times[-1]) + step
    start = max(start_seconds or 0.0, float(times[0]))
    end = duration if end_seconds is None else min(end_seconds, duration)
    if end <= start:
        raise InputError(
            f"{media}: no frame between {start} and {end_seconds} seconds: "
            f"the clip is {duration:.2f} seconds long"
        )
    grid = start + np.arange(max(1, round((end - start) * frame_rate))) / frame_rate
    after = np.searchsorted(times, grid).clip(1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.zeros(len(grid), np.int64)
    earlier_is_nearer = grid - times[after - 1] <= times[after] - grid
    nearest: NDArray[np.int64] = after - earlier_is_nearer
    return nearest


def read_frames(
    media: Path,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    at_least: Size | None = None,
    *,
    deinterlace: bool = False,
) -> NDArray[np.uint8]:
    """Read the frames of a clip, or only some of them.

    A folder's pictures are ordered by the numbers in their names; gaps and other files do not
    matter, and a picture that is not asked for is not opened. A video is decoded from the keyframe
    before the first frame asked for to the last, and frames far apart are sought one by one; only
    where a file's time stamps cannot be relied on is it decoded from its beginning. Its rotation
    mark, as phones write it, is honoured; HDR and wide colours become those of BT.709; pictures
    that change their size on the way are brought to that of the first.

    Args:
        media: A frame folder or a video file.
        indices: Frames wanted, counted from 0, in any order; None for all.
        at_least: Width and height that are needed: JPEG pictures of twice the size and more are
            decoded at a half, a quarter or an eighth of it, which is faster; None: their own size.
        deinterlace: Make one whole picture of each frame of a video that is marked as interlaced.

    Returns:
        (n, height, width, 3) uint8, RGB, in the order of `indices`.

    Raises:
        InputError: Nothing is there, the folder has no picture, the file is empty, cut, damaged
            where it is read, no video or without a video stream, or a folder's pictures differ in
            size.
    """
    if packed.is_packed(media):
        return packed.read_frames(media, indices, at_least)
    wanted = None if indices is None else [int(index) for index in indices]
    if media.is_dir():
        names = list_pictures(media)
        chosen = names if wanted is None else [names[index] for index in wanted]
        return read_pictures(media, chosen, at_least)
    return read_video(media, wanted, deinterlace=deinterlace)
