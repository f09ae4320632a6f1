"""The packets of a video stream: how many frames one shows, and which of a file's it is.

Both are told without decoding it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

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
