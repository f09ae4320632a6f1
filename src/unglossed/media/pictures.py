"""Folders of numbered pictures: their order and their content.

A picture that is cut is an error, never half a picture, and so is a damaged PNG. OpenCV makes up
what a JPEG lacks that is damaged within: only `check_picture` finds that.
"""

from __future__ import annotations

import math
import mimetypes
import os
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

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


try:
    from isal import isal_zlib

    _inflater: Any = isal_zlib
except ImportError:  # there is no ISA-L for this machine: slower, the same pixels
    _inflater = zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
_HEADER = struct.Struct(">IIBBBBB")
HEAD_BYTES = len(SIGNATURE) + 8 + _HEADER.size + 4
"""Signature and first chunk, which has the size."""
# Eight bits, RGB, not interlaced: the way in which nearly all video frames are stored.
_PLAIN = (8, 2, 0, 0, 0)
_NUM_FILTERS = 5
_MOST_BYTES = 1 << 28  # inflated; larger pictures are left to OpenCV, which has limits of its own
_STORED_BYTES = 65535  # most that a block holds which is not compressed


def decode_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a PNG file.

    Args:
        data: All of the file.

    Returns:
        (height, width, 3) uint8, RGB; None if the file is damaged, truncated or no picture.
    """
    # Checked before decoding: libpng would print its own lines about a damaged file.
    chunks = _read_chunks(data)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != _HEADER.size:
        return None
    header = chunks[0][1]
    width, height, *kind = _HEADER.unpack(header)
    if not width or not height or is_too_large((width, height)):
        return None
    size = height * (1 + 3 * width)
    if tuple(kind) == _PLAIN and size <= _MOST_BYTES:
        stream = b"".join(content for name, content in chunks if name == b"IDAT")
        try:
            rows = _inflater.decompressobj().decompress(stream, size)
        except _inflater.error:
            return None
        return _undo_filters(rows, header, width, height) if len(rows) == size else None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def plain_size(head: bytes) -> tuple[int, int] | None:
    """Width and height as a PNG's first `HEAD_BYTES` say; None unless it is 8-bit RGB.

    A picture of another kind may bear a mark that OpenCV turns it by.
    """
    start = len(SIGNATURE) + 8
    chunk = head[start - 4 : -4]
    if len(head) < HEAD_BYTES or head[start - 8 : start] != b"\0\0\0\rIHDR":
        return None
    if _inflater.crc32(chunk).to_bytes(4, "big") != head[-4:]:
        return None
    width, height, *kind = _HEADER.unpack(chunk[4:])
    return (width, height) if tuple(kind) == _PLAIN and width and height else None


def _read_chunks(data: bytes) -> list[tuple[bytes, memoryview]] | None:
    """Names and contents of the chunks up to the end mark; None if one is cut or damaged."""
    view = memoryview(data)
    chunks = []
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if _inflater.crc32(view[place + 4 : end]).to_bytes(4, "big") != view[end : end + 4]:
            return None
        chunks.append((bytes(view[place + 4 : place + 8]), view[place + 8 : end]))
        if chunks[-1][0] == b"IEND":
            return chunks
        place = end + 4
    return None


def _undo_filters(
    rows: bytes, header: memoryview, width: int, height: int
) -> NDArray[np.uint8] | None:
    """Turn filtered rows, each after the number of its filter, into a picture."""
    if np.frombuffer(rows, np.uint8)[:: 1 + 3 * width].max() >= _NUM_FILTERS:
        return None
    view = memoryview(rows)
    pieces: list[bytes | memoryview] = [b"\x78\x01"]  # a zlib stream: RFC 1950, RFC 1951 3.2.4
    for begin in range(0, len(rows), _STORED_BYTES):
        piece = view[begin : begin + _STORED_BYTES]
        last = begin + _STORED_BYTES >= len(rows)
        pieces += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    pieces.append(_inflater.adler32(rows).to_bytes(4, "big"))
    png = [SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", *pieces), *_chunk(b"IEND")]
    # A context of its own for each: FFmpeg's decodes a second picture wrongly.
    context = av.CodecContext.create("png", "r")
    context.thread_type = "NONE"
    (frame,) = context.decode(av.Packet(b"".join(png)))
    assert frame.format.name == "rgb24", frame
    plane = frame.planes[0]
    padded = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
    return padded[:, : 3 * width].reshape(height, width, 3)


def _chunk(name: bytes, *pieces: bytes | memoryview) -> list[bytes | memoryview]:
    checksum = _inflater.crc32(name)
    for piece in pieces:
        checksum = _inflater.crc32(piece, checksum)
    length = sum(map(len, pieces))
    return [length.to_bytes(4, "big"), name, *pieces, checksum.to_bytes(4, "big")]


_DIGITS_ALIKE = str.maketrans("123456789", "000000000")
_PLACES = 18  # after the point of a fraction
_REMEDY = "keep one picture a frame in the folder, and the others elsewhere"


class _Name(NamedTuple):
    """A file's name: the text around its numbers, these, and their digits."""

    text: tuple[str, ...]
    numbers: tuple[int, ...]
    name: str
    digits: tuple[str, ...]


def order_pictures(folder: Path, names: Sequence[str]) -> list[str]:
    """Order the pictures of a folder by the numbers in their names.

    Args:
        folder: Where they lie, for messages.
        names: Their names, at least one.

    Raises:
        InputError: Two have one number (0001.png and 0001.jpg, or 0001_mask.png), or some have a
            number and others have none.
    """
    # Names that differ in their digits alone, as they nearly always do, are in order as they are.
    if len({name.translate(_DIGITS_ALIKE) for name in names}) == 1:
        return sorted(names)
    rows: dict[tuple[str, ...], list[_Name]] = {}
    for one in sorted(map(_split, names), key=_place):
        rows.setdefault(one.text, []).append(one)
    for text, row in rows.items():
        if _are_fractions(row):
            rows[text] = row = sorted(map(_with_fraction, row), key=_place)
        _check_numbers(folder, row)
    if len(rows) > 1:
        _check_rows(folder, sorted(rows.values(), key=lambda row: (-len(row), row[0].text)))
    return [one.name for one in sorted((one for row in rows.values() for one in row), key=_place)]


def pictures_each(names: Sequence[str]) -> int:
    """How many pictures each number seems to have: 2 of 0001_0, 0001_1, 0002_0, 0002_1, ...

    Names like these may as well be parts that follow each other, so that this is a guess.

    Args:
        names: As `order_pictures` gives them.

    Returns:
        1, unless each of two numbers in the names comes with each of the other.
    """
    numbers = {one.numbers for one in map(_split, names)}
    if len({len(row) for row in numbers}) > 1:
        return 1
    columns = [len(set(column)) for column in zip(*numbers, strict=True)]
    varying = [count for count in columns if count > 1]
    return min(varying) if len(varying) > 1 and math.prod(varying) == len(names) else 1


def _split(name: str) -> _Name:
    text = re.split(r"([0-9]+)", os.path.splitext(name)[0].casefold())  # noqa: PTH122
    return _Name(tuple(text[::2]), tuple(map(int, text[1::2])), name, tuple(text[1::2]))


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


def _place(one: _Name) -> tuple[tuple[int, ...], str]:
    return one.numbers, one.name


def _check_numbers(folder: Path, row: Iterable[_Name]) -> None:
    """Refuse names that differ in their ending, their zeros or their capitals alone."""
    found: dict[tuple[int, ...], str] = {}
    for one in row:
        other = found.setdefault(one.numbers, one.name)
        if other != one.name:
            raise _two(folder, *sorted((other, one.name)))


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
        for one in sorted(row, key=_place):
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
