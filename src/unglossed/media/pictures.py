"""Folders of numbered pictures: their order and their content.

A damaged picture is always an error, never half a picture.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def list_pictures(folder: Path) -> list[str]:
    """Names of a folder's pictures, ordered by the numbers in them.

    Raises:
        InputError: There is none.
    """
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(PICTURE_SUFFIXES) and not entry.name.startswith(".")
        ]
    if not names:
        raise InputError(f"{folder}: found no frame, expected pictures (*.png, *.jpg)")
    return sorted(names, key=_natural_order)


def _natural_order(name: str) -> tuple[list[str | int], str]:
    # Text and numbers take turns, so that equal places always hold equal types.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a PNG or JPEG file: (height, width, 3) uint8, RGB.

    Raises:
        InputError: It is no picture, damaged or truncated.
    """
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


def stack_frames(media: Path, frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put frames (height, width, 3) into one array (n, height, width, 3).

    Raises:
        InputError: They differ in size.
    """
    check_sizes(media, {(frame.shape[1], frame.shape[0]) for frame in frames})
    return np.stack(frames)


def check_sizes(media: Path, sizes: set[tuple[int, int]]) -> None:
    """Refuse a clip whose pictures have more than one (width, height)."""
    if len(sizes) > 1:
        found = ", ".join(sorted(f"{width}x{height}" for width, height in sizes))
        raise InputError(f"{media}: found frames of different sizes ({found}), expected one size")
