"""When the frames of a video file are shown, told from its packets where these can be trusted."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.containers import (
    decode_frames,
    open_video,
    origin_seconds,
    reason,
    turned_size,
)

_ALWAYS_ONE = ("h264", "hevc", "av1", "libdav1d", "mjpeg")
# A shorter packet of MPEG-4 may say no more than "nothing new", which shows nothing.
_MPEG4_BYTES = 20


@dataclass(frozen=True, slots=True)
class PacketRow:
    """A file's packets as they lie, to be known again by what they hold.

    Attributes:
        checksums: CRC-32 of each: (packets,).
        stamps: When each is shown, as found when reading from the file's begin: (packets,).
    """

    checksums: NDArray[np.uint32]
    stamps: NDArray[np.int64]

    def restamp(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Give packets that were sought the stamps that they have from the file's begin on.

        It begins with a keyframe that is unlike every other packet, and ends where one comes that
        is not the next of the row.
        """
        place: int | None = None
        for packet in packets:
            if packet.size:
                checksum = zlib.crc32(packet)
                if place is None:
                    matches = np.flatnonzero(self.checksums == checksum)
                    if not packet.is_keyframe or len(matches) != 1:
                        continue
                    place = int(matches[0])
                if place >= len(self.stamps) or self.checksums[place] != checksum:
                    return
                packet.pts = int(self.stamps[place])
                place += 1
            yield packet


def list_packets(container: av.container.InputContainer, stream: av.VideoStream) -> PacketRow:
    """Read all packets of a stream, from the begin of its file; those without a stamp have -1."""
    rows = [
        (zlib.crc32(packet), -1 if packet.pts is None else packet.pts)
        for packet in container.demux(stream)
        if packet.size
    ]
    checksums, stamps = zip(*rows, strict=True) if rows else ((), ())
    return PacketRow(np.array(checksums, np.uint32), np.array(stamps, np.int64))


def count_shown(packet: av.Packet, codec: str) -> int | None:
    """Count the frames that a packet shows.

    Args:
        packet: Of a container that keeps together what is shown at one time.
        codec: Name of the decoder, as FFmpeg has it.

    Returns:
        None if only decoding tells.
    """
    if codec in _ALWAYS_ONE:
        return 1
    if codec == "mpeg4":
        return 1 if packet.size >= _MPEG4_BYTES else None
    if codec == "vp8":
        return bytes(packet)[0] >> 4 & 1
    if codec == "vp9":
        marks = [_is_shown(first) for first in _split_superframe(bytes(packet))]
        # Two are layers of one picture.
        return None if None in marks or sum(map(bool, marks)) > 1 else int(any(marks))
    return None


def _split_superframe(data: bytes) -> list[int]:
    """First byte of each VP9 frame in a packet (the format's specification, annex B)."""
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    index = len(data) - 2 - count * width
    if mark >> 5 != 0b110 or index < 0 or data[index] != mark:
        return [data[0]]
    firsts = []
    begin = 0
    for place in range(index + 1, len(data) - 1, width):
        size = int.from_bytes(data[place : place + width], "little")
        if size and begin < index:
            firsts.append(data[begin])
        begin += size
    return firsts


def _is_shown(first: int) -> bool | None:
    """Read the first byte of a VP9 frame (section 6.2); None for profile 3, which differs."""
    if first >> 4 & 0b11 == 0b11:
        return None
    return bool(first >> 3 & 1 or first >> 1 & 1)  # an earlier frame is shown, or this one


_FALLBACK_RATE = 25.0
# Where each packet carries the stamp of what it shows. Elsewhere only decoding tells, and only from
# the begin: after a seek FFmpeg guesses the stamps of packets that have none of their own.
_STAMPED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv")


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video file in the order in which they are shown.

    Attributes:
        num_frames: How many can be read.
        ticks: Their stamps, rising: (num_frames,); None if stamps are missing or double.
        tick_seconds: Length of a tick.
        begin_seconds: When the first frame is shown, counted as players do, from where the file's
            first stream begins.
        keyframes: Places of the frames to which the container can seek, rising: (keyframes,).
        rate: Frames per second, for want of stamps.
        size: Width and height that the headers tell, before any turn.
        packets: By what to know packets again after a seek; None: by their stamps.
    """

    num_frames: int
    ticks: NDArray[np.int64] | None
    tick_seconds: float
    keyframes: NDArray[np.int64]
    rate: float
    size: tuple[int, int]
    begin_seconds: float = 0.0
    packets: PacketRow | None = None

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds from the first frame on: (num_frames,)."""
        if self.ticks is None:
            return np.arange(self.num_frames) / self.rate
        times: NDArray[np.float64] = (self.ticks - self.ticks[0]) * self.tick_seconds
        return times

    @property
    def seconds(self) -> float:
        """Length: the last frame is shown as long as most."""
        times = self.times
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / self.rate
        return float(times[-1]) + step


def read_timeline(path: Path) -> Timeline:
    """Find out when the frames of a video file are shown; kept in memory until the file changes.

    Raises:
        InputError: As `read_video`.
    """
    timeline: Timeline = _scan(path, *_state(path))
    return timeline


def first_size(path: Path) -> tuple[int, int]:
    """Width and height of a video's first frame as it is read; kept like `read_timeline`'s.

    Raises:
        InputError: As `read_video`.
    """
    size: tuple[int, int] = _decode_first(path, *_state(path))
    return size


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # no name of a file: a zero byte, half of a surrogate pair
        raise InputError(
            f"{path}: not found, expected a video file or a folder of frames"
        ) from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4096)
def _decode_first(path: Path, modified: int, num_bytes: int) -> tuple[int, int]:
    del modified, num_bytes
    for frame in decode_frames(path):
        return turned_size(frame)
    raise InputError(f"{path}: the video stream has no frame")


@lru_cache(maxsize=4096)
def _scan(path: Path, modified: int, num_bytes: int) -> Timeline:
    """Read the frames' stamps; time and length are there to notice that a file was replaced."""
    del modified, num_bytes
    with open_video(path) as (container, stream):
        size = stream.codec_context.width, stream.codec_context.height
        marks = None
        is_stamped = container.format.name in _STAMPED_FORMATS
        packets = None
        try:
            if is_stamped:
                marks = _scan_packets(container, stream)
            else:
                packets = list_packets(container, stream)
        except av.error.FFmpegError as error:
            raise InputError(f"{path}: the video is damaged: {reason(error)}") from error
        # AVI numbers its packets as they lie, which is another order where frames refer forward.
        ordered = container.format.name != "avi" or not stream.codec_context.has_b_frames
        tick_seconds = float(stream.time_base or 0)
        rate = float(stream.average_rate or _FALLBACK_RATE)
        # Without a start of its own the file begins with its first frame.
        origin = None if container.start_time is None else origin_seconds(container)
    if marks is None:
        marks = [(frame.pts, frame.key_frame) for frame in decode_frames(path)]
        told = [stamp for stamp, _ in marks if stamp is not None]
        ordered = ordered and all(one < other for one, other in pairwise(told))
    if not marks:
        raise InputError(f"{path}: the video stream has no frame")
    stamps = [stamp for stamp, _ in marks if stamp is not None]
    if len(set(stamps)) < len(marks) or not ordered:
        return Timeline(len(marks), None, tick_seconds, np.zeros(0, np.int64), rate, size)
    ticks = np.sort(np.array(stamps, np.int64))
    if packets is not None and not np.array_equal(np.sort(packets.stamps), ticks):
        packets = None
    can_seek = is_stamped or packets is not None
    keys = np.array([stamp for stamp, is_key in marks if is_key and can_seek], np.int64)
    places = np.sort(np.searchsorted(ticks, keys))
    begin = 0.0 if origin is None else max(float(ticks[0]) * tick_seconds - origin, 0.0)
    return Timeline(len(ticks), ticks, tick_seconds, places, rate, size, begin, packets)


def _scan_packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> list[tuple[int | None, bool]] | None:
    """Stamps and keyframe marks from the packets; None if only decoding tells."""
    marks: list[tuple[int | None, bool]] = []
    opening: av.Packet | None = None
    for packet in container.demux(stream):
        if not packet.size:
            continue
        shown = count_shown(packet, stream.codec_context.name)
        if shown is None:
            return None
        opening = opening or packet
        # A file may be cut out of another between keyframes, or so that frames refer to what went
        # before its first one: who knows what can be decoded.
        early = None not in (packet.pts, opening.pts) and packet.pts < opening.pts
        if early or not opening.is_keyframe:
            return None
        if shown and not packet.is_discard:
            marks.append((packet.pts, packet.is_keyframe))
    return marks
