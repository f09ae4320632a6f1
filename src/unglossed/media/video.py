"""Read the frames of a clip: a folder of numbered pictures, or a video file (PyAV).

Gives frames as they are stored; thinning is `sampling`'s, resizing `augment`'s work. A damaged
file is always an error, never half a picture.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError

FRAME_RATE = 25.0
"""Frames per second that the models are trained at; a frame folder has this rate by convention."""

_PICTURES = (".png", ".jpg", ".jpeg")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Other codecs have packets that show nothing: there only decoding tells how many frames there are.
_ONE_PACKET_ONE_FRAME = {"h264", "hevc", "av1", "mpeg4", "mjpeg"}


def num_frames(media: Path) -> int:
    """Count the frames which `read_frames` can read.

    Args:
        media: A frame folder or a video file.

    Raises:
        InputError: See `read_frames`.
    """
    if media.is_dir():
        return len(_list_pictures(media))
    return len(_times_of(media))


def frame_times(media: Path) -> NDArray[np.float64]:
    """Tell when each frame is shown.

    Args:
        media: A frame folder (taken as 25 frames per second) or a video file.

    Returns:
        Seconds from the first frame, rising: (num_frames,).

    Raises:
        InputError: See `read_frames`.
    """
    if media.is_dir():
        return np.arange(len(_list_pictures(media))) / FRAME_RATE
    return _times_of(media).copy()


def frame_indices_at(
    media: Path,
    frame_rate: float = FRAME_RATE,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> NDArray[np.int64]:
    """Choose the frames nearest to an even time grid, so that every clip runs at one speed.

    A 30 fps or variable-rate video is thinned by time, one below `frame_rate` repeats frames; at
    `frame_rate` every frame is chosen once.

    Args:
        media: A frame folder or a video file.
        frame_rate: Frames per second wanted.
        start_seconds: Begin of the part wanted; None begins with the clip.
        end_seconds: End of the part, may lie past the end of the clip; None ends with the clip.

    Returns:
        Indices for `read_frames`, never falling, at least one: (kept,).

    Raises:
        InputError: See `read_frames`; or the part holds no frame.
    """
    times = frame_times(media)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / frame_rate
    duration = float(times[-1]) + step
    start = max(start_seconds or 0.0, 0.0)
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
    media: Path, indices: Sequence[int] | NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """Read the frames of a clip, or only some of them.

    A folder's pictures are ordered by the numbers in their names; gaps and other files do not
    matter, and a picture that is not asked for is not opened. A video is decoded from its beginning
    to the last frame asked for; its rotation mark, as phones write it, is honoured.

    Args:
        media: A frame folder or a video file.
        indices: Frames wanted, counted from 0, in any order; None for all.

    Returns:
        (n, height, width, 3) uint8, RGB, in the order of `indices`.

    Raises:
        InputError: Nothing is there, the folder has no picture, the file is empty, damaged, no
            video or without a video stream, or the pictures differ in size.
    """
    wanted = None if indices is None else [int(index) for index in indices]
    if media.is_dir():
        names = _list_pictures(media)
        chosen = names if wanted is None else [names[index] for index in wanted]
        return _stack(media, [_read_picture(media / name) for name in chosen])
    return _read_video(media, wanted)


def _list_pictures(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(_PICTURES) and not entry.name.startswith(".")
        ]
    if not names:
        raise InputError(f"{folder}: found no frame, expected pictures (*.png, *.jpg)")
    return sorted(names, key=_natural_order)


def _natural_order(name: str) -> tuple[list[str | int], str]:
    # Text and numbers take turns, so that equal places always hold equal types.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _read_picture(path: Path) -> NDArray[np.uint8]:
    data = path.read_bytes()
    # Checked before decoding: libpng would print its own lines about a damaged file.
    if data.startswith(_PNG_SIGNATURE) and not _is_whole_png(data):
        raise InputError(f"{path}: truncated or damaged PNG ({len(data)} bytes)")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if picture is None:
        raise InputError(f"{path}: no readable picture ({len(data)} bytes), expected PNG or JPEG")
    return np.asarray(picture, np.uint8)


def _is_whole_png(data: bytes) -> bool:
    """Walk the chunks up to the end mark and compare each one's checksum."""
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if zlib.crc32(data[place + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return True
        place = end + 4
    return False


def _stack(media: Path, frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{shape[1]}x{shape[0]}" for shape in shapes))
        raise InputError(f"{media}: found frames of different sizes ({sizes}), expected one size")
    return np.stack(frames)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    if not path.exists():
        raise InputError(f"{path}: not found, expected a video file or a folder of frames")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes), expected a video")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, UnicodeError) as error:
        raise InputError(f"{path}: not a readable video: {_reason(error)}") from error
    with container:
        if not container.streams.video:
            kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
            raise InputError(f"{path}: no video stream (found {kinds})")
        yield container, container.streams.video[0]


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0].lower()


def _times_of(path: Path) -> NDArray[np.float64]:
    if not path.exists():
        raise InputError(f"{path}: not found, expected a video file or a folder of frames")
    status = path.stat()
    times: NDArray[np.float64] = _scan_times(path, status.st_mtime_ns, status.st_size)
    return times


@lru_cache(maxsize=4096)
def _scan_times(path: Path, modified: int, size: int) -> NDArray[np.float64]:
    """Read the frames' times; time stamp and size are there to notice that a file was replaced."""
    del modified, size
    stamps: list[int | None] = []
    with _opened(path) as (container, stream):
        stream.codec_context.thread_type = "AUTO"
        seconds = float(stream.time_base or 0)
        rate = float(stream.average_rate or FRAME_RATE)
        try:
            if stream.codec_context.name in _ONE_PACKET_ONE_FRAME:
                for packet in container.demux(stream):
                    if packet.size and not packet.is_discard:
                        stamps.append(packet.pts)
            else:
                stamps = [frame.pts for frame in container.decode(stream)]
        except av.error.FFmpegError as error:
            raise _damaged(path, len(stamps), error) from error
    if not stamps:
        raise InputError(f"{path}: the video stream has no frame")
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or len(set(known)) < len(known):
        return np.arange(len(stamps)) / rate
    ticks = np.sort(np.array(known, np.int64))
    times: NDArray[np.float64] = (ticks - ticks[0]) * seconds
    return times


def _read_video(path: Path, wanted: list[int] | None) -> NDArray[np.uint8]:
    places = None if wanted is None else set(wanted)
    last = max(places) if places else None
    frames: dict[int, NDArray[np.uint8]] = {}
    index = -1
    with _opened(path) as (container, stream):
        stream.codec_context.thread_type = "AUTO"
        try:
            for index, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:
                    raise _damaged(path, index)
                if places is None or index in places:
                    frames[index] = _to_rgb(frame)
                if index == last:
                    break
        except av.error.FFmpegError as error:
            raise _damaged(path, index + 1, error) from error
    if not frames and places is None:
        raise InputError(f"{path}: the video stream has no frame")
    missing = places - frames.keys() if places else None
    if missing:
        raise _damaged(path, min(missing))
    return _stack(path, [frames[place] for place in (sorted(frames) if wanted is None else wanted)])


def _to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    picture = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter_turns), np.uint8)


def _damaged(path: Path, index: int, error: Exception | None = None) -> InputError:
    detail = f": {_reason(error)}" if error else ""
    return InputError(f"{path}: the video is damaged at frame {index}{detail}")
