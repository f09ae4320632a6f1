"""Decoding video files by PyAV: from a file to frames, and from a frame to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.containers import open_container, reason


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a video file: container and first video stream.

    Raises:
        InputError: As `open_container`, or there is no video stream.
    """
    with open_container(path, "video") as container:
        yield container, first_video(path, container)


def first_video(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The video stream of a file that is open.

    Raises:
        InputError: There is none.
    """
    if not container.streams.video:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise InputError(f"{path}: no video stream (found {kinds})")
    return container.streams.video[0]


def decode_frames(path: Path) -> Iterator[av.VideoFrame]:
    """Decode a whole file in order.

    Raises:
        InputError: As `open_video`, or when it comes to a frame that is damaged.
    """
    count = 0
    with open_video(path) as (container, stream):
        # Not in threads: there PyAV passes over a frame that cannot be decoded.
        stream.codec_context.thread_type = "NONE"
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise damaged(path, count)
                yield frame
                count += 1
        except av.error.FFmpegError as error:
            raise damaged(path, count, error) from error


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Picture of a frame, turned as its mark says: (height, width, 3) uint8, RGB."""
    picture = frame.to_ndarray(format="rgb24")
    across, down, sideways = _turn(frame)
    if sideways:
        picture = picture.transpose(1, 0, 2)
    return np.ascontiguousarray(picture[::down, ::across], np.uint8)


def turned_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of a frame as it is read."""
    size = (frame.width, frame.height)
    return size[::-1] if _turn(frame)[2] else size


def damaged(path: Path, index: int, error: Exception | None = None) -> InputError:
    """The error about a frame that cannot be decoded, which is not raised here."""
    detail = f": {reason(error)}" if error else ""
    return InputError(f"{path}: the video is damaged at frame {index}{detail}")


def _turn(frame: av.VideoFrame) -> tuple[int, int, bool]:
    """How a frame's mark has it shown: -1 where mirrored across and down, after a turn sideways.

    The mark is the 3 x 3 matrix of MP4 (ISO/IEC 14496-12, 8.3.2), rows first, of which the first
    two numbers of the first two rows turn and mirror: (x, y) goes to (ax + cy, bx + dy). To
    the nearest quarter turn; a matrix that would leave nothing of the picture counts for nothing.
    """
    mark = frame.side_data.get("DISPLAYMATRIX")
    if mark is None:
        return 1, 1, False
    a, b, _, c, d = (float(value) for value in np.frombuffer(bytes(mark), np.int32)[:5])
    if a * d == b * c:
        return 1, 1, False
    sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if sideways else (a, d)
    return (-1 if across < 0 else 1), (-1 if down < 0 else 1), sideways
