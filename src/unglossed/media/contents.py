"""Recognise clips with nothing to translate: silent audio; black, blank or still video.

Works on what a model reads of a clip and opens no file. Only what is almost exactly empty counts:
little movement, dark video and quiet speech are content.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Frames are compared by the mean brightness, 0..255, of so many fields a side: what a codec or a
# sensor adds vanishes in them, a moving hand changes some by 10 to 100.
_FIELDS = 16
_NO_MOTION = 1.5  # change of a field over the whole clip that still video may have
# The same where a codec refines a frame or begins it anew and then keeps it, so that no more than
# this share of the frames differs from the one before by more than so much in any field.
_MOST_PULSE, _MOST_CHANGES, _SAME = 8.0, 0.25, 0.25
_NO_CONTRAST = 2.0  # difference between two fields that a blank frame may have
_DARKEST = 4.0  # brightest field of a black frame
_SILENCE = 2.0**-13  # swing of silence around its mean: four steps of 16 bits, -78 dB


class Emptiness(StrEnum):
    """Why a clip has nothing to translate."""

    SILENT = "silent"
    BLACK = "black"
    BLANK = "blank"
    STILL = "still"
    ONE_FRAME = "one_frame"

    @property
    def told(self) -> str:
        """What was found, in words."""
        return _TOLD[self]


_TOLD = {
    Emptiness.SILENT: "the audio is silent",
    Emptiness.BLACK: "the video is black",
    Emptiness.BLANK: "the video is blank, one colour all over",
    Emptiness.STILL: "the video stands still, nothing moves",
    Emptiness.ONE_FRAME: "there is only one frame, nothing can move",
}


def emptiness_of(content: NDArray[Any]) -> Emptiness | None:
    """Say why a clip has nothing to translate; None if it has something, or the kind is unknown.

    Args:
        content: Frames (n, height, width, 3) uint8 RGB, thinned or not, or audio (n,) in -1..1;
            at least one frame or sample.
    """
    known = {1: emptiness_of_audio, 4: emptiness_of_frames}.get(content.ndim)
    return None if known is None else known(content)


def emptiness_of_audio(audio: NDArray[np.floating[Any]]) -> Emptiness | None:
    """Say whether audio (n,) in -1..1 is silent up to an offset and its last bits."""
    return Emptiness.SILENT if np.ptp(audio) <= 2 * _SILENCE else None


def emptiness_of_frames(frames: Iterable[NDArray[np.uint8]]) -> Emptiness | None:
    """Say whether frames are black, blank, all alike, or a single one.

    Frames are compared by the mean brightness, in 0..255, of 16 x 16 fields. They are blank if no
    two fields of any of them differ by more than 2, and black if also no field is above 4. They
    stand still if no field changes by more than 1.5 over the whole clip; or by more than 8 where
    three of four equal the one before, which is how a codec stores a still scene.

    A moving hand of a fiftieth of the frame's height is content. So is the noise of a camera where
    it shows in the fields, as in small or grainy frames.

    Args:
        frames: (height, width, 3) uint8 RGB each, at least one; reading ends at the first that
            proves content.
    """
    rows: list[NDArray[np.float32]] = []
    darkest = brightest = np.zeros(0, np.float32)
    contrast = 0.0
    for frame in frames:
        fields = _fields(frame)
        if not rows:
            darkest = brightest = fields
        rows.append(fields)
        darkest, brightest = np.minimum(darkest, fields), np.maximum(brightest, fields)
        contrast = max(contrast, float(np.ptp(fields)))
        if contrast > _NO_CONTRAST and np.max(brightest - darkest) > _MOST_PULSE:
            return None
    if contrast <= _NO_CONTRAST:
        return Emptiness.BLACK if np.max(brightest) <= _DARKEST else Emptiness.BLANK
    if len(rows) == 1:
        return Emptiness.ONE_FRAME
    changes = [np.abs(after - before).max() > _SAME for before, after in pairwise(rows)]
    moved = np.max(brightest - darkest) > _NO_MOTION
    return None if moved and np.mean(changes) > _MOST_CHANGES else Emptiness.STILL


def _fields(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness (rows, columns) of a frame's fields."""
    height, width = frame.shape[:2]
    bright = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (min(_FIELDS, width), min(_FIELDS, height))
    return np.asarray(cv2.resize(bright, size, interpolation=cv2.INTER_AREA), np.float32)
