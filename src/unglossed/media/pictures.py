"""Folders of numbered pictures: the order of the names, and the pictures themselves.

A truncated picture is an error, never half a picture, and so is a damaged PNG. OpenCV fills in what
is damaged within a JPEG: only `check_picture` finds that.
"""

from __future__ import annotations

import math
import mimetypes
import os
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError

Picture = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height."""

MOST_PIXELS = 1 << 27
"""More than any camera has."""
_LONGEST_SIDE = (1 << 15) - 1  # what OpenCV can turn and JPEG can hold
_JPEG_SUFFIXES = (".jpg", ".jpeg")
PICTURE_SUFFIXES = (".png", *_JPEG_SUFFIXES)
_JPEG_HEAD_BYTES = 4096  # tables, comments and a small colour profile stand before the size
_EXIF = 0xE1
_REDUCTIONS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BEGIN = SIGNATURE + b"\0\0\0\rIHDR"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
# Behind the size: eight bits, RGB, not interlaced, as nearly all frames of videos are stored.
_PNG_PLAIN = b"\x08\x02\0\0\0"


def check_size(path: Path, size: Size | None) -> None:
    """Refuse a picture, or the frames of a video, by the size that a header claims.

    Raises:
        InputError: A side is longer than 32,767 pixels, or all have more than 2**27.
    """
    if size is not None and _is_too_large(size):
        width, height = size
        raise InputError(
            f"{path}: claims {width}x{height} pixels, expected at most {MOST_PIXELS:,}, and"
            f" {_LONGEST_SIDE:,} along a side: damaged, or no frame of a video"
        )


def check_sizes(media: Path, sizes: set[Size]) -> None:
    """Refuse a clip whose frames have more than one size."""
    if len(sizes) > 1:
        found = ", ".join(sorted(f"{width}x{height}" for width, height in sizes))
        raise InputError(f"{media}: found frames of different sizes ({found}), expected one size")


def _is_too_large(size: Size) -> bool:
    return size[0] * size[1] > MOST_PIXELS or max(size) > _LONGEST_SIDE


def _claimed_size(data: bytes) -> Size | None:
    """Size that the first bytes of a PNG, JPEG, WebP, GIF or BMP claim; None otherwise."""
    if data.startswith(SIGNATURE) and len(data) >= 24:
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return _jpeg_size(data)


def _jpeg_size(data: bytes, *, may_be_turned: bool = True) -> Size | None:
    """Size that the first bytes of a JPEG claim (ITU-T T.81, B.1.1 and B.2.2).

    Exif may say that the picture is turned, and is an obstacle unless `may_be_turned`.
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


def _webp_size(data: bytes) -> Size | None:
    """RFC 9649, section 2: the canvas of an extended file, or the frame of a simple one."""
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
            return 1 + width, 1 + height
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def decode_png(data: bytes) -> Picture | None:
    """Decode a PNG file to (height, width, 3) RGB; None if it is damaged, truncated or no PNG."""
    # Checked before decoding: libpng would print its own lines about a damaged file.
    if not _is_whole_png(data):
        return None
    # Eight-bit RGB is never turned, so that its header tells its size.
    is_plain = data[24:29] == _PNG_PLAIN
    return _decode(data, cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_IGNORE_ORIENTATION * is_plain))


def _is_whole_png(data: bytes) -> bool:
    """Whether all chunks up to the end mark are there, bear their checksums and hold pixels."""
    if not data.startswith(_PNG_BEGIN) or 0 in struct.unpack_from(">II", data.ljust(24), 16):
        return False
    view, place, has_pixels = memoryview(data), len(SIGNATURE), False
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if zlib.crc32(view[place + 4 : end]).to_bytes(4, "big") != view[end : end + 4]:
            return False
        name = data[place + 4 : place + 8]
        if name == b"IEND":
            return has_pixels
        has_pixels = has_pixels or name == b"IDAT"
        place = end + 4
    return False


def decode_jpeg(data: bytes, reduction: int = 1) -> Picture | None:
    """Decode a JPEG file to one part in `reduction` of its size, rounded up; None if it is none."""
    if reduction == 1:
        return _decode(data, cv2.IMREAD_COLOR_RGB)
    picture = _decode(data, _REDUCTIONS[reduction])
    return None if picture is None else picture[..., ::-1]


def _decode(data: bytes, flags: int) -> Picture | None:
    size = _claimed_size(data)
    if size is not None and _is_too_large(size):
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # OpenCV refuses the size, in a kind of picture whose header it knows
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


_DIGITS_ALIKE = str.maketrans("123456789", "000000000")
_PLACES = 18  # after the point of a fraction
_REMEDY = "keep one picture a frame in the folder, and the others elsewhere"


class _Name(NamedTuple):
    """A file's name with its numbers, their digits and the text around them; sorts by numbers."""

    numbers: tuple[int, ...]
    name: str
    text: tuple[str, ...]
    digits: tuple[str, ...]


def order_pictures(folder: Path, names: Sequence[str]) -> list[str]:
    """Order the pictures of a folder, at least one, by the numbers in their names.

    Raises:
        InputError: Two have one number (0001.png and 0001.jpg, or 0001_mask.png), or some have a
            number and others have none.
    """
    # Names that differ in their digits alone, as they nearly always do, are in order as they are.
    if len({name.translate(_DIGITS_ALIKE) for name in names}) == 1:
        return sorted(names)
    rows: dict[tuple[str, ...], list[_Name]] = {}
    for one in sorted(map(_split, names)):
        rows.setdefault(one.text, []).append(one)
    for text, row in rows.items():
        if _are_fractions(row):
            rows[text] = row = sorted(map(_with_fraction, row))
        _check_numbers(folder, row)
    if len(rows) > 1:
        _check_rows(folder, sorted(rows.values(), key=lambda row: (-len(row), row[0].text)))
    return [one.name for one in sorted(chain.from_iterable(rows.values()))]


def pictures_each(names: Sequence[str]) -> int:
    """How many pictures each number seems to have: 2 of 0001_0, 0001_1, 0002_0, 0002_1, ...

    It is 1 unless each of two numbers in the names comes with each of the other. This is a guess:
    such names may also be parts that follow each other.
    """
    numbers = {one.numbers for one in map(_split, names)}
    if len({len(row) for row in numbers}) > 1:
        return 1
    columns = [len(set(column)) for column in zip(*numbers, strict=True)]
    varying = [count for count in columns if count > 1]
    return min(varying) if len(varying) > 1 and math.prod(varying) == len(names) else 1


def _split(name: str) -> _Name:
    text = re.split(r"([0-9]+)", os.path.splitext(name)[0].casefold())  # noqa: PTH122
    return _Name(tuple(map(int, text[1::2])), name, tuple(text[::2]), tuple(text[1::2]))


def _are_fractions(row: Sequence[_Name]) -> bool:
    """Whether names end in decimal fractions, as 0.08 and 0.2 of seconds: not so 0.8 and 0.20."""
    if len(row[0].digits) < 2 or row[0].text[-2:] != (".", ""):
        return False
    last = [one.digits[-1] for one in row]
    least = min(map(len, last))
    return any(len(digits) > least and digits.startswith("0") for digits in last)


def _with_fraction(one: _Name) -> _Name:
    """The name whose last number counts in the first places after the point."""
    return one._replace(numbers=(*one.numbers[:-1], int(one.digits[-1].ljust(_PLACES, "0"))))


def _check_numbers(folder: Path, row: Iterable[_Name]) -> None:
    """Refuse names that differ only in their ending, their zeros or their capitals."""
    for one, other in pairwise(row):
        if one.numbers == other.numbers:
            raise _two(folder, one.name, other.name)


def _check_rows(folder: Path, rows: Sequence[Sequence[_Name]]) -> None:
    """Refuse rows of other names, unless each goes on where others have no picture."""
    first = rows[0]
    if all(not one.numbers for row in rows for one in row):
        return
    # A number that is the same in the whole of a row belongs to its name, as in `mask2_0001`.
    columns = [
        place
        for place in range(len(first[0].numbers))
        if len({one.numbers[place] for one in first}) > 1
    ] or list(range(len(first[0].numbers)))
    found: dict[tuple[int, ...], str] = {}
    for row in rows:
        for one in row:
            if len(one.numbers) != len(first[0].numbers):
                counts = f"{len(first)} pictures as {first[0].name}, {len(row)} as {one.name}"
                raise InputError(f"{folder}: found {counts}, expected one row of frames: {_REMEDY}")
            number = tuple(one.numbers[place] for place in columns)
            other = found.setdefault(number, one.name)
            if other != one.name:
                raise _two(folder, other, one.name)


def _two(folder: Path, one: str, other: str) -> InputError:
    return InputError(
        f"{folder}: found {one} and {other}, two pictures of one number, expected one: {_REMEDY}"
    )


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
    kind = mimetypes.guess_type(path.name)[0] or ""
    return not path.name.startswith(".") and (path.is_dir() or kind.startswith("video/"))


def read_picture(path: Path, reduction: int = 1) -> Picture:
    """Read a PNG or JPEG file, a JPEG at one part in `reduction`: (height, width, 3) uint8, RGB.

    Raises:
        InputError: It is no picture, damaged or truncated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    check_size(path, _claimed_size(data))
    if data.startswith(SIGNATURE):
        picture, wrong = decode_png(data), "truncated or damaged PNG ({} bytes)"
    else:
        picture = decode_jpeg(data, reduction) if data else None
        wrong = "no readable picture ({} bytes), expected PNG or JPEG"
    if picture is None:
        raise InputError(f"{path}: {wrong.format(len(data))}")
    return picture


def read_size(path: Path) -> Size:
    """Size of a PNG or JPEG file, from its first and last bytes where they tell.

    A file that does not begin or end as nearly all do is decoded, so that what is no picture, is
    truncated, or is marked as turned is treated as `read_picture` does.

    Raises:
        InputError: It is no picture or truncated; damage within it is not looked for.
    """
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_JPEG_HEAD_BYTES)
            file.seek(-min(len(_PNG_END), len(head)), os.SEEK_END)
            end = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    size = None
    if head.startswith(_PNG_BEGIN) and head[24:29] == _PNG_PLAIN and end == _PNG_END:
        if zlib.crc32(head[12:29]).to_bytes(4, "big") == head[29:33]:
            size = _claimed_size(head)
    elif end.endswith(b"\xff\xd9"):
        size = _jpeg_size(head, may_be_turned=False)
    check_size(path, size)
    if size is None or not all(size):
        height, width = read_picture(path).shape[:2]
        return width, height
    return size


def check_picture(path: Path) -> Size:
    """Size of a picture that is decoded, a JPEG by a decoder that reports damage.

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


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {(error.strerror or '').lower()}")


def read_pictures(folder: Path, names: Sequence[str], at_least: Size | None = None) -> Picture:
    """Read pictures of one size, at least one, into one array; see `Frames.read`.

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
    """How many times smaller a JPEG of a size may be decoded: 1, 2, 4 or 8."""
    if at_least is None:
        return 1
    spare = min(size[0] / at_least[0], size[1] / at_least[1])
    return max((part for part in _REDUCTIONS if part <= spare), default=1)
