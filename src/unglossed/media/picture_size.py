"""The size that a picture's first bytes claim, and whether one of that size can be read at all.

A few bytes may claim billions of pixels, for which a decoder would fill the memory first.
"""

from __future__ import annotations

import struct
from pathlib import Path

from unglossed.errors import InputError

MOST_PIXELS = 1 << 27
"""More than any camera has."""
_LONGEST_SIDE = (1 << 15) - 1  # what OpenCV can turn and JPEG can hold
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = 0xE1


def check_size(path: Path, size: tuple[int, int] | None) -> None:
    """Refuse a picture, or the pictures of a video, by the size that a header claims.

    Raises:
        InputError: A side is longer than 32,767 pixels, or all have more than 2**27.
    """
    if size is not None and is_too_large(size):
        width, height = size
        raise InputError(
            f"{path}: claims {width}x{height} pixels, expected at most {MOST_PIXELS:,}, and"
            f" {_LONGEST_SIDE:,} along a side: damaged, or no frame of a video"
        )


def is_too_large(size: tuple[int, int]) -> bool:
    """Whether pictures of this width and height are refused."""
    width, height = size
    return width * height > MOST_PIXELS or max(size) > _LONGEST_SIDE


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes of a PNG, JPEG, WebP, GIF or BMP say; None otherwise."""
    if data.startswith(_PNG) and len(data) >= 24:
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return jpeg_size(data)


def jpeg_size(data: bytes, *, may_be_turned: bool = True) -> tuple[int, int] | None:
    """Width and height as the first bytes of a JPEG say; None if they do not.

    ITU-T T.81, B.1.1 and B.2.2: segments with a mark and a length, one of them with the size.

    Args:
        data: Its begin.
        may_be_turned: Whether to look past Exif, which may say that the picture is turned.
    """
    place = 2
    while data[:2] == b"\xff\xd8" and place + 9 <= len(data) and data[place] == 0xFF:
        mark = data[place + 1]
        if mark == _EXIF and not may_be_turned:
            return None
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return (width, height) if width and height else None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, section 2: the canvas of an extended file, or the frame of a simple one."""
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
