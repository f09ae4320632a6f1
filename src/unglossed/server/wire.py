"""Messages of the process that reads uploads to the server: kind, length, content."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = struct.Struct("<cQ")
FACTS, FRAMES, AUDIO, REFUSED, DONE = b"h", b"v", b"a", b"e", b"d"
MOST_TEXT = 4096
"""Bytes of the longest message that is no media."""
AT_ONCE = 64
"""Most frames in a message: a block, as `inference.windows` reads them from a file of one's own."""
SAMPLES_AT_ONCE = 1 << 16
"""Most samples in a message."""

Frames = tuple[NDArray[np.float64], NDArray[np.uint8]]
"""When each frame is shown (n,), and the frames (n, side, side, 3)."""


def frame_bytes(side: int) -> int:
    """Bytes of one frame with its time."""
    return 8 + side * side * 3


def pack_frames(seconds: NDArray[np.float64], frames: NDArray[np.uint8]) -> bytes:
    """Frames of one message."""
    return seconds.astype("<f8").tobytes() + frames.tobytes()


def unpack_frames(content: bytearray, side: int) -> Frames:
    """Frames of a message, whose length has been checked."""
    count = len(content) // frame_bytes(side)
    seconds = np.frombuffer(content, "<f8", count)
    frames = np.frombuffer(content, np.uint8, offset=8 * count).reshape(count, side, side, 3)
    return seconds, frames


def limits_of(kind: bytes, side: int) -> tuple[int, int]:
    """Most bytes of a message of a kind, and of what its length is a multiple."""
    units: dict[bytes, Any] = {
        FRAMES: (AT_ONCE * frame_bytes(side), frame_bytes(side)),
        AUDIO: (SAMPLES_AT_ONCE * 4, 4),
        DONE: (0, 1),
    }
    return units.get(kind, (MOST_TEXT, 1))
