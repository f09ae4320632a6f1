"""Which kind of media an upload is, by its first bytes: names and declared types are not believed.

Only containers that carry their own content are let through. Playlists and the like, which can name
other files or addresses, never reach FFmpeg.
"""

from __future__ import annotations

HEAD = 1024
"""Bytes that are looked at."""

_MP4_BOXES = (b"ftyp", b"wide", b"moov", b"mdat", b"free", b"skip")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_BEGINNINGS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"ID3": "mp3",
    _ASF: "asf",
    b"\x00\x00\x01\xba": "mpeg",
}
_RIFF = {b"AVI ": "avi", b"WAVE": "wav"}
_PACKETS = (188, 192)  # bytes from one mark of a transport stream to the next
_MARK = 0x47

FFMPEG_NAMES = {
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "mpegts": "mpegts",
}
"""What FFmpeg calls a kind, where that is another name."""


def kind_of(head: bytes) -> str | None:
    """The kind of media that begins with these bytes; None: none that is read.

    Args:
        head: the first `HEAD` bytes, or all there are.
    """
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if _is_mpeg_audio(head):
        return "mp3"
    for step in _PACKETS:
        places = range(step - 188, len(head), step)
        if len(places) > 3 and all(head[place] == _MARK for place in places):
            return "mpegts"
    return None


def is_of_kind(format_name: str, kind: str) -> bool:
    """Whether FFmpeg opened a file as the kind that its first bytes are of."""
    return format_name == FFMPEG_NAMES.get(kind, kind)


def _is_mpeg_audio(head: bytes) -> bool:
    """A frame of MPEG audio, layer III: its mark and no value that is reserved."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
