"""Folders of numbered pictures: their order and their content.

A picture that is cut is an error, never half a picture, and so is a damaged PNG. OpenCV makes up
what a JPEG lacks that is damaged within: only `check_picture` finds that.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.picture_names import order_pictures
from unglossed.media.picture_size import check_size, claimed_size, is_too_large, jpeg_size
from unglossed.media.png import END, HEAD_BYTES, SIGNATURE, decode_png, plain_size

_JPEG_SUFFIXES = (".jpg", ".jpeg")
PICTURE_SUFFIXES = (".png", *_JPEG_SUFFIXES)
_JPEG_HEAD_BYTES = 4096  # tables, comments and a small colour profile stand before the size
_REDUCTIONS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

Picture = NDArray[np.uint8]
Size = tuple[int, int]


def list_pictures(folder: Path) -> list[str]:
    """Names of a folder's pictures, ordered by the numbers in them.

    Raises:
        InputError: There is none, or they are no one row of frames, see `order_pictures`.
    """
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(PICTURE_SUFFIXES)
            and not entry.name.startswith(".")
            and not entry.is_dir()
        ]
    if not names:
        inner = next((path for path in sorted(folder.iterdir()) if _may_be_clip(path)), None)
        hint = "" if inner is None else f"; each clip has to be named, as {inner}"
        raise InputError(f"{folder}: found no frame, expected pictures (*.png, *.jpg){hint}")
    return order_pictures(folder, names)


def _may_be_clip(path: Path) -> bool:
    # Asked of the name, since `video` imports this module; hidden files are nobody's clips.
    kind = mimetypes.guess_type(path.name)[0] or ""
    return not path.name.startswith(".") and (path.is_dir() or kind.startswith("video/"))


def read_picture(path: Path, reduction: int = 1) -> Picture:
    """Read a PNG or JPEG file: (height, width, 3) uint8, RGB.

    Args:
        path: The file.
        reduction: A JPEG is decoded at one part in 1, 2, 4 or 8 of its size.

    Raises:
        InputError: It is no picture, damaged or truncated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    check_size(path, claimed_size(data))
    if data.startswith(SIGNATURE):
        picture = decode_png(data)
        if picture is None:
            raise InputError(f"{path}: truncated or damaged PNG ({len(data)} bytes)")
        return picture
    picture = decode_jpeg(data, reduction) if data else None
    if picture is None:
        raise InputError(f"{path}: no readable picture ({len(data)} bytes), expected PNG or JPEG")
    return picture


def read_size(path: Path) -> Size:
    """Width and height of a PNG or JPEG file, from its first and last bytes where they tell.

    A file that does not begin or end as nearly all do is decoded, so that what is no picture, is
    cut, or bears a mark that has it turned is treated as `read_picture` does.

    Raises:
        InputError: It is no picture or truncated; damage within it is not looked for.
    """
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_JPEG_HEAD_BYTES)
            file.seek(-min(len(END), len(head)), os.SEEK_END)
            end = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    size = None
    if head.startswith(SIGNATURE) and end == END:
        size = plain_size(head[:HEAD_BYTES])
    elif end.endswith(b"\xff\xd9"):
        size = jpeg_size(head, may_be_turned=False)
    check_size(path, size)
    if size is None:
        height, width = read_picture(path).shape[:2]
        size = width, height
    return size


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {(error.strerror or '').lower()}")


def check_picture(path: Path) -> Size:
    """Width and height of a picture that is decoded, a JPEG by a decoder that tells of damage.

    Raises:
        InputError: As `read_picture`, or a JPEG is damaged within, as far as that can be told.
    """
    height, width = read_picture(path).shape[:2]
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options = {"err_detect": "explode"}
        try:
            decoder.decode(av.Packet(data))
        except av.error.InvalidDataError:
            raise InputError(f"{path}: damaged JPEG ({len(data)} bytes)") from None
        except av.error.FFmpegError:
            pass  # a kind of JPEG that this decoder does not know
    return width, height


def read_pictures(folder: Path, names: Sequence[str], at_least: Size | None = None) -> Picture:
    """Read pictures of one size into one array.

    Args:
        folder: Where they lie.
        names: Their names, at least one.
        at_least: Width and height that are needed: JPEG pictures of twice the size and more are
            decoded at a half, a quarter or an eighth of it.

    Returns:
        (n, height, width, 3) uint8, RGB.

    Raises:
        InputError: One cannot be read, or they differ in size.
    """
    reduction = 1
    first = read_picture(folder / names[0])
    if at_least and all(name.lower().endswith(_JPEG_SUFFIXES) for name in names):
        reduction = find_reduction((first.shape[1], first.shape[0]), at_least)
        first = read_picture(folder / names[0], reduction) if reduction > 1 else first
    # Each is copied from memory that the next uses again: fresh memory costs more than copying.
    frames = np.empty((len(names), *first.shape), np.uint8)
    frames[0] = first
    for place, name in enumerate(names[1:], 1):
        picture = read_picture(folder / name, reduction)
        check_sizes(folder, {first.shape[1::-1], picture.shape[1::-1]})
        frames[place] = picture
    return frames


def find_reduction(size: Size, at_least: Size | None) -> int:
    """How many times smaller a JPEG may be decoded: 1, 2, 4 or 8.

    Args:
        size: Its width and height.
        at_least: Width and height that are needed; None: all of it.
    """
    if at_least is None:
        return 1
    spare = min(size[0] / at_least[0], size[1] / at_least[1])
    return max((part for part in _REDUCTIONS if part <= spare), default=1)


def decode_jpeg(data: bytes, reduction: int = 1) -> Picture | None:
    """Decode a JPEG file to one part in `reduction` of its size, rounded up; None if it is none."""
    size = claimed_size(data)
    if size is not None and is_too_large(size):
        return None
    flags = cv2.IMREAD_COLOR_RGB if reduction == 1 else _REDUCTIONS[reduction]
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a size that OpenCV refuses, in a kind of picture whose header it knows
        return None
    if picture is None:
        return None
    return np.asarray(picture if reduction == 1 else picture[..., ::-1], np.uint8)


def check_sizes(media: Path, sizes: set[tuple[int, int]]) -> None:
    """Refuse a clip whose pictures have more than one (width, height)."""
    if len(sizes) > 1:
        found = ", ".join(sorted(f"{width}x{height}" for width, height in sizes))
        raise InputError(f"{media}: found frames of different sizes ({found}), expected one size")
