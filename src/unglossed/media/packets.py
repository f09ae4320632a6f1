"""How many frames a packet of a video stream shows, told without decoding it."""

from __future__ import annotations

import av

_ALWAYS_ONE = ("h264", "hevc", "av1", "libdav1d", "mjpeg")
# A shorter packet of MPEG-4 may say no more than "nothing new", which shows nothing.
_MPEG4_BYTES = 20


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
