"""Decoding video files by PyAV: from a file to frames, and from a frame to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.colours import to_rgb8, unknown_matrix
from unglossed.media.containers import open_container, reason
from unglossed.media.picture_size import MOST_PIXELS
from unglossed.media.streams import pick_video


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a video file: container and the video stream that players show.

    Raises:
        InputError: As `open_container` and `pick_video`, or its colours are coded in a way that is
            not read.
    """
    with open_container(path, "video") as container:
        stream = pick_video(path, container)
        coding = unknown_matrix(stream.codec_context.colorspace)
        if coding is not None:
            raise InputError(
                f"{path}: found colours coded as {coding}, which are not read, expected BT.601,"
                " BT.709 or BT.2020: convert the video"
            )
        # Of pictures that turn out larger than the header says.
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


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
    picture = to_rgb8(frame)
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
