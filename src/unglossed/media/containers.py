"""Opening a media file by PyAV; what is wrong with it is said in one line.

A file whose end is missing is often read without complaint as a shorter one. Here it is noticed by
the lengths that the container itself declares, where it declares any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import av

from unglossed.errors import InputError

Kind = Literal["video", "sound"]

_EXPECTED = {
    "video": "a video file or a folder of frames",
    "sound": "a file with sound",
}
# FFmpeg searches the first five megabytes of a wav file for a film's sound track hidden in it.
_WAV_OPTIONS = {"probesize": "32768"}

# Programs that write RIFF to a pipe cannot go back: they leave 0 or about the largest number.
_RIFF_UNKNOWN = 0x7FFF0000
# Others forget the eight bytes of the header, or the byte that makes the length even.
_RIFF_SLACK = 16
_MP4_BOXES = (b"ftyp", b"wide", b"moov", b"mdat")  # those that a file may begin with
_EBML_HEADER = b"\x1a\x45\xdf\xa3"
_EBML_SEGMENT = b"\x18\x53\x80\x67"


@contextmanager
def open_container(path: Path, kind: Kind) -> Iterator[av.container.InputContainer]:
    """Open a file for reading.

    Args:
        path: The file.
        kind: What it should be, for the message.

    Raises:
        InputError: It is not there, empty, no media file, or its end is missing.
    """
    if path.suffix == ".tar":
        raise InputError(f"{path}: found a shard, expected a clip in it, as {path / 'KEY'}")
    if not path.exists():
        raise InputError(f"{path}: not found, expected {_EXPECTED[kind]}")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes), expected {_EXPECTED[kind]}")
    try:
        declared = declared_size(path)
        if declared is not None and size < declared:
            raise InputError(f"{path}: the file is cut: found {size} of its {declared} bytes")
        options = _WAV_OPTIONS if path.suffix.lower() == ".wav" else {}
        # Absolute, or a colon in the name would be taken for the end of a protocol's name.
        container = av.open(str(path.absolute()), options=options)
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: not a readable {kind}: {reason(error)}") from error
    with container:
        yield container


def origin_seconds(container: av.container.InputContainer) -> float:
    """Stamp, in seconds, of what players count from: where the first of the streams begins.

    What starts before 0 is warm-up of a codec; broadcasts start anywhere above.
    """
    return max(container.start_time or 0, 0) / 1_000_000


def header_seconds(container: av.container.InputContainer, stream: av.Stream) -> float | None:
    """Length of a stream as the file's headers have it; None if they do not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska counts from 0, wherever the stream begins.
    start = float((stream.start_time or 0) * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if match:
        end = 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])
    else:
        end = (container.duration or 0) / 1_000_000
    return end - start if end > start else None


def reason(error: Exception) -> str:
    """What FFmpeg or the system says is wrong, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0].lower()


def declared_size(path: Path) -> int | None:
    """How many bytes a file should have at least, as its container says.

    Returns:
        None if it does not say: other containers than MP4, Matroska (WebM), AVI and WAV, and live
        recordings, such as those of browsers.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            size = int.from_bytes(head[4:8], "little")
            return size + 8 - _RIFF_SLACK if 0 < size < _RIFF_UNKNOWN else None
        if head[4:8] in _MP4_BOXES:
            return _walk_boxes(file)
        if head[:4] == _EBML_HEADER:
            return _find_segment_end(file)
    return None


def _walk_boxes(file: BinaryIO) -> int:
    """End of the last of the boxes that an MP4 file is a row of."""
    place, end = 0, file.seek(0, os.SEEK_END)
    while place <= end:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # a long box: its size follows the name
            size = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or size < 8:  # 0: the box reaches to the end, whatever that is
            return place
        place += size
    return place


def _find_segment_end(file: BinaryIO) -> int | None:
    """End of the one large element that follows the header of a Matroska file."""
    place = 0
    while True:
        file.seek(place)
        head = file.read(12)
        if len(head) < 12 or not head[0]:
            return None
        name = _count_bytes(head[0])
        width = _count_bytes(head[name]) if name <= 4 else 9
        if width > 8 or len(head) < name + width:
            return None
        mask = (1 << 7 * width) - 1  # the bits that are not the mark of the width
        size = int.from_bytes(head[name : name + width], "big") & mask
        if size == mask:  # all ones: not known when it was written
            return None
        place += name + width + size
        if head[:name] == _EBML_SEGMENT:
            return place


def _count_bytes(first: int) -> int:
    """Width of an EBML number: one more than the zeros that its first byte begins with."""
    return 9 - first.bit_length()
