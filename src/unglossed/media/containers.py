"""Open media files with PyAV, choose their streams and decode video frames to 8-bit RGB.

FFmpeg often reads a truncated file without complaint as a shorter one. Here it is noticed by the
lengths that the container declares, if any.

Colours come out as a screen of BT.709 shows them. FFmpeg converts what is tagged BT.601 or BT.709.
Here is what players do beyond it: frames without a tag go by their size, and those of phones in
HLG, PQ, BT.2020 or Display P3 by the curves and the primaries of the standards. FFmpeg could do the
latter too, but spends seconds on a table for every new frame size.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.reformatter import (
    ColorPrimaries,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.pictures import MOST_PIXELS, check_size

_UNSPECIFIED = 2  # ISO/IEC 23091-2 numbers curves, primaries and matrices alike
_MATRICES = {"YCgCo": 8, "BT.2020 with constant luminance": 10, "ICtCp": 14, "IPT-PQ-C2": 15}
# From this size on players take frames without a tag for HD.
_HD_WIDTH, _HD_HEIGHT = 1280, 577

_WHITE = 203.0  # cd/m2 of SDR white in an HDR picture: ITU-R BT.2408
_HLG_PEAK, _PQ_PEAK = 1000.0, 10000.0
_HLG_GAMMA = 1.2
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_BT2020_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
# Linear light to that of BT.709: ITU-R BT.2087, and the same for P3 with the white of D65.
_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_FROM_P3 = np.array(
    [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32
)
_WIDE = {
    ColorPrimaries.BT2020: _FROM_BT2020,
    ColorPrimaries.SMPTE431: _FROM_P3,
    ColorPrimaries.SMPTE432: _FROM_P3,
}
_HDR = (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
_FULL_SIGNAL = 65283  # FFmpeg's white in 16 bits


def to_rgb8(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Pixels of a frame: (height, width, 3) uint8, RGB.

    What is brighter than SDR white, or outside the colours of BT.709, is clipped.
    """
    matrix = _matrix_of(frame)
    if is_wide(frame.color_trc, frame.color_primaries):
        return _narrow(frame, matrix)
    picture = _converted(frame, format="rgb24", src_colorspace=matrix)
    return np.asarray(picture.to_ndarray(), np.uint8)


_of_thread = threading.local()


def _converted(frame: av.VideoFrame, **settings: Any) -> av.VideoFrame:
    """A frame in another format, by one converter a thread, which starts no threads of its own.

    `to_ndarray` makes a converter for each frame, with a thread for each core. That takes up to 15
    times as long; and when a process that was forked frees one of its parent's, it waits for
    threads that are not there.
    """
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()
    made: av.VideoFrame = _of_thread.reformatter.reformat(frame, threads=1, **settings)
    return made


def is_wide(curve: int, primaries: int) -> bool:
    """Whether colours are HDR, or wider than BT.709."""
    return curve in _HDR or primaries in _WIDE


def is_untagged_hd(matrix: int, width: int, height: int) -> bool:
    """Whether only the size of a frame tells that its colours are coded as in HD."""
    return matrix == _UNSPECIFIED and (width >= _HD_WIDTH or height >= _HD_HEIGHT)


def unknown_matrix(matrix: int) -> str | None:
    """Name of a colour coding that is not supported; None for all others."""
    return next((name for name, number in _MATRICES.items() if number == matrix), None)


def _matrix_of(frame: av.VideoFrame) -> Colorspace | None:
    """The matrix of a frame's colours; None: FFmpeg reads its tag."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    if frame.color_primaries == ColorPrimaries.BT2020 or frame.color_trc in _HDR:
        return Colorspace.BT2020
    is_hd = is_untagged_hd(_UNSPECIFIED, frame.width, frame.height)
    return Colorspace.ITU709 if is_hd else None


def _narrow(frame: av.VideoFrame, matrix: Colorspace | None) -> NDArray[np.uint8]:
    made = _converted(frame, format="rgb48le", src_colorspace=matrix, interpolation=_EXACT)
    signal = made.to_ndarray()
    light = _curve(frame.color_trc)[signal]  # 1 is SDR white
    if frame.color_trc == ColorTrc.ARIB_STD_B67:  # ITU-R BT.2100, table 5: the OOTF
        luminance = cv2.transform(light, _BT2020_LUMINANCE)
        light *= cv2.pow(luminance, _HLG_GAMMA - 1).reshape(*luminance.shape[:2], 1)
        light *= np.float32(_HLG_PEAK / _WHITE)
    light = cv2.transform(light, _WIDE.get(frame.color_primaries, _FROM_BT2020))
    shown = cv2.pow(np.clip(light, 0, 1, out=light), 1 / _SDR_GAMMA)
    return np.asarray(cv2.convertScaleAbs(shown, alpha=255), np.uint8)


@lru_cache(maxsize=4)
def _curve(curve: int) -> NDArray[np.float32]:
    """Light of every 16-bit signal; for HDR by ITU-R BT.2100, tables 4 and 5."""
    signal = np.minimum(np.arange(1 << 16) / _FULL_SIGNAL, 1)
    if curve == ColorTrc.SMPTE2084:
        power = signal ** (1 / 78.84375)
        light = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (
            1 / 0.1593017578125
        )
        light *= _PQ_PEAK / _WHITE
    elif curve == ColorTrc.ARIB_STD_B67:  # light of the scene, 0 to 1
        bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = np.where(signal <= 0.5, signal**2 / 3, bright)
    else:
        light = signal**_SDR_GAMMA
    return light.astype(np.float32)


Kind = Literal["video", "audio"]

_EXPECTED = {"video": "a video file or a folder of frames", "audio": "a file with audio"}
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
    """Open a file for reading; `kind` is what messages expect it to be.

    Raises:
        InputError: It is missing, empty, truncated or no media file.
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
            raise InputError(f"{path}: the file is truncated: found {size} of its {declared} bytes")
        options = _WAV_OPTIONS if path.suffix.lower() == ".wav" else {}
        # Absolute, or a colon in the name would be taken for the end of a protocol's name.
        container = av.open(str(path.absolute()), options=options)
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: not a readable {kind} file: {reason(error)}") from error
    with container:
        yield container


def origin_seconds(container: av.container.InputContainer) -> float:
    """Stamp, in seconds, that players count from: where the first of the streams begins.

    What starts before 0 is warm-up of a codec; broadcasts start anywhere above.
    """
    return max(container.start_time or 0, 0) / 1_000_000


def header_seconds(container: av.container.InputContainer, stream: av.Stream) -> float | None:
    """Length of a stream in the file's headers; None if they have none."""
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
    """The message of FFmpeg or the system, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0].lower()


def declared_size(path: Path) -> int | None:
    """Least number of bytes that a file should have according to its container.

    None for containers other than MP4, Matroska (WebM), AVI and WAV, and for live recordings, such
    as those of browsers.
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
    """End of the large element after the header of a Matroska file."""
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
        if size == mask:  # all ones: unknown when it was written
            return None
        place += name + width + size
        if head[:name] == _EBML_SEGMENT:
            return place


def _count_bytes(first: int) -> int:
    """Width of an EBML number: one more than the zeros that its first byte begins with."""
    return 9 - first.bit_length()


_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Streams for some of the audience, which players do not begin with.
_FOR_SOME = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.dependent
)

Stream = TypeVar("Stream", av.VideoStream, av.AudioStream)


def find_video(container: av.container.InputContainer) -> av.VideoStream | None:
    """The video stream that players show; None if none can be read."""
    videos = container.streams.video
    return _choose(stream for stream in videos if not stream.disposition & _COVERS)


def find_audio(container: av.container.InputContainer) -> av.AudioStream | None:
    """The audio stream that players play; None if none can be read."""
    return _choose(container.streams.audio)


def pick_video(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The video stream of an open file; none, or one of absurd size, is an `InputError`."""
    stream = find_video(container)
    if stream is None:
        if find_audio(container) and container.streams.video:
            raise InputError(f"{path}: no video: found audio with a cover picture")
        raise InputError(f"{path}: no video stream (found {_kinds(container)})")
    check_size(path, (stream.codec_context.width, stream.codec_context.height))
    return stream


def pick_audio(path: Path, container: av.container.InputContainer) -> av.AudioStream:
    """The audio stream of an open file; none, or one without a rate, is an `InputError`."""
    stream = find_audio(container)
    if stream is None:
        raise InputError(f"{path}: no audio stream (found {_kinds(container)})")
    if not stream.codec_context.sample_rate:
        raise InputError(f"{path}: the audio is damaged: it has no sample rate")
    return stream


def _choose(streams: Iterable[Stream]) -> Stream | None:
    def rank(stream: Stream) -> tuple[bool, bool, int]:  # of equal streams the first is read
        disposition = stream.disposition
        return not disposition & Disposition.default, bool(disposition & _FOR_SOME), stream.index

    # A stream of a codec that FFmpeg does not know, as of a phone's spatial sound, has no context.
    return min((one for one in streams if one.codec_context is not None), key=rank, default=None)


def _kinds(container: av.container.InputContainer) -> str:
    kinds = [
        stream.type if stream.codec_context else f"{stream.type} of an unknown codec"
        for stream in container.streams
    ]
    return ", ".join(kinds) or "nothing"


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a video file: container and the video stream that players show.

    Raises:
        InputError: As `open_container` and `pick_video`, or its colour coding is not supported.
    """
    with open_container(path, "video") as container:
        stream = pick_video(path, container)
        coding = unknown_matrix(stream.codec_context.colorspace)
        if coding is not None:
            raise InputError(
                f"{path}: found colours coded as {coding}, which is not supported, expected BT.601,"
                " BT.709 or BT.2020: convert the video"
            )
        # Frames may turn out larger than the header says.
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


def decode_frames(path: Path) -> Iterator[av.VideoFrame]:
    """Decode a whole file in order.

    Raises:
        InputError: As `open_video`, or at a frame that is damaged.
    """
    count = 0
    with open_video(path) as (container, stream):
        # Not in threads: there PyAV skips a frame that cannot be decoded.
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
    """Pixels of a frame, turned by its rotation mark: (height, width, 3) uint8, RGB."""
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
    """Make the error about a frame that cannot be decoded."""
    detail = f": {reason(error)}" if error else ""
    return InputError(f"{path}: the video is damaged at frame {index}{detail}")


def _turn(frame: av.VideoFrame) -> tuple[int, int, bool]:
    """Read a frame's rotation mark: steps across and down (-1: mirrored) after a quarter turn.

    The mark is the 3 x 3 matrix of MP4 (ISO/IEC 14496-12, 8.3.2), rows first, of which the first
    two numbers of the first two rows turn and mirror: (x, y) goes to (ax + cy, bx + dy). It is
    rounded to the nearest quarter turn; a matrix that would leave nothing of the frame is ignored.
    """
    # Not the frame's own `side_data`: it keeps hold of the frame, and the frame of it.
    mark = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if mark is None:
        return 1, 1, False
    a, b, _, c, d = (float(value) for value in np.frombuffer(bytes(mark), np.int32)[:5])
    if a * d == b * c:
        return 1, 1, False
    sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if sideways else (a, d)
    return (-1 if across < 0 else 1), (-1 if down < 0 else 1), sideways
