"""Tells clips with nothing in them to translate: silence, black, blank or still pictures.

Works on what a model is given of a clip and opens no file. Only what is all but exactly empty is
told: little movement, dark pictures and quiet speech are content.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Pictures are compared by the mean brightness of so many fields a side, 0..255: what a codec or a
# sensor adds to a picture goes under in them, a hand that moves changes some by 10 to 100.
_FIELDS = 16
_NO_MOTION = 1.5
"""Change of a field over the whole clip that a still picture may have."""
_MOST_PULSE = 8.0
"""The same, where a codec refines a picture or begins it anew and then keeps it as it is, ..."""
_MOST_CHANGES = 0.25
"""... so that no more than this share of the pictures differs from the one before, ..."""
_SAME = 0.25
"""... which means by more than so much, in any field."""
_NO_CONTRAST = 2.0
"""Difference between two fields of one picture that a blank one may have."""
_DARKEST = 4.0
"""Brightest field of a black picture."""
_SILENCE = 2.0**-13
"""Swing of silence around its mean: four steps of 16 bits, 78 dB below the loudest sound."""


class Emptiness(StrEnum):
    """Why there is nothing to translate in a clip."""

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
    Emptiness.SILENT: "the sound is silent",
    Emptiness.BLACK: "the pictures are black",
    Emptiness.BLANK: "the pictures are blank, one colour all over",
    Emptiness.STILL: "the pictures stand still, nothing moves",
    Emptiness.ONE_FRAME: "there is one picture only, nothing can move",
}


def emptiness_of(content: NDArray[Any]) -> Emptiness | None:
    """Tell why there is nothing to translate in a clip; None: there is something.

    Args:
        content: Frames (n, height, width, 3) uint8 RGB, thinned or not, or sound (n,) in -1..1;
            at least one frame or sample.
    """
    return emptiness_of_sound(content) if content.ndim == 1 else emptiness_of_frames(content)


def emptiness_of_frames(frames: Iterable[NDArray[np.uint8]]) -> Emptiness | None:
    """Tell whether pictures are black, blank, all alike, or one alone.

    Pictures are compared by the mean brightness, in 0..255, of 16 x 16 fields. They are blank if no
    two fields of any of them differ by more than 2, and black if besides no field is above 4. They
    stand still if no field changes by more than 1.5 over the whole clip; or by more than 8 where
    three of four are as the one before, which is how a codec stores a picture that stands still.

    A hand of a fiftieth of the picture's height that moves is told from that. What a camera adds as
    noise to a still scene is movement where it shows in the fields, as in small or grainy pictures:
    such a clip is not told as still.

    Args:
        frames: (height, width, 3) uint8 RGB each, at least one; reading ends at the first that
            settles that there is something.
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


def emptiness_of_sound(sound: NDArray[np.floating[Any]]) -> Emptiness | None:
    """Tell whether sound is silent but for the last bits of its samples, an offset aside.

    Args:
        sound: (n,) in -1..1, at least one sample.
    """
    return Emptiness.SILENT if np.ptp(sound) <= 2 * _SILENCE else None


def _fields(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness (rows, columns) of a picture's fields."""
    height, width = frame.shape[:2]
    bright = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (min(_FIELDS, width), min(_FIELDS, height))
    return np.asarray(cv2.resize(bright, size, interpolation=cv2.INTER_AREA), np.float32)
