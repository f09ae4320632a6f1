"""Guesses where hands and face are, by the colour of skin and by what moves.

It is for clips of which nobody knows better, and no more than a guess: bare arms count as hands,
skin-coloured clothes and walls mislead it, gloves are not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SIDE = 160
# Skin in YCrCb (Chai and Ngan, "Face segmentation using skin-color map in videophone applications",
# 1999), a little wider, and not in the dark.
_LEAST_SKIN, _MOST_SKIN = (40, 133, 77), (255, 180, 130)
_MOVED = 20
_STEADY = 0.6
_FACE_BELOW = 0.6
_FACE_ASPECT = 1.5
_NECK = 0.8  # of the width of the face
_LEAST_FACE, _LEAST_HAND = 0.004, 0.0015
_MOST_SKIN_SHARE = 0.2
_MARGIN = 0.02
_MOST_HANDS = 2


def estimate_regions(frames: NDArray[np.uint8]) -> dict[str, list[Array]]:
    """Guess the regions of a clip.

    The face is the largest patch in the upper part that has the colour of skin for most of the
    time, down to where it narrows. Hands are the two largest patches a frame of that colour that
    are not part of this patch, or that the clip's median picture does not have there; of a clip
    with much of that colour the latter alone. Where none is seen, those of the nearest frame that
    has some.

    Args:
        frames: (n, height, width, 3) uint8 RGB.

    Returns:
        `hands` and `face`: for each frame (areas, 4): left, top, right, bottom in shares of it.
    """
    scale = min(1.0, _SIDE / max(frames.shape[1:3]))
    size = max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale))
    small = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in frames])
    skin = np.stack(
        [
            cv2.inRange(cv2.cvtColor(one, cv2.COLOR_RGB2YCrCb), _LEAST_SKIN, _MOST_SKIN) > 0
            for one in small
        ]
    )
    usual = np.median(small, axis=0)
    face, patch = _find_face(skin)
    if np.mean(skin & ~patch) > _MOST_SKIN_SHARE:
        patch = np.ones_like(patch)
    hands: list[Array] = []
    for one, own in zip(small, skin, strict=True):
        moved = np.abs(one - usual).max(axis=2) > _MOVED
        hands.append(_find_hands(own & (moved | ~patch)))
    return {"hands": _filled(hands), "face": [face] * len(frames)}


def _find_face(skin: Mask) -> tuple[Array, Mask]:
    """(0 or 1, 4): the box of the face in all frames, and the patch (height, width) it is from."""
    steady = skin.mean(axis=0) >= _STEADY
    height, width = steady.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(steady.astype(np.uint8), connectivity=8)
    above = labels[: round(_FACE_BELOW * height)]
    counts = np.bincount(above.ravel(), minlength=len(stats))
    for label in np.argsort(-counts):
        left, wide = stats[label, [cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH]]
        # What has no skin's colour is 0; what reaches from one side to the other is a wall.
        if label == 0 or (left == 0 and wide == width):
            continue
        if counts[label] < _LEAST_FACE * steady.size:
            break
        patch = labels == label
        return _widened([_head_of(patch)]), patch
    return np.empty((0, 4)), np.zeros_like(steady)


def _head_of(patch: Mask) -> tuple[float, float, float, float]:
    """The upper end of a patch, down to where it narrows or is as long as a face may be."""
    height, width = patch.shape
    rows = np.flatnonzero(patch.any(axis=1))
    top, widest, bottom = int(rows[0]), 0, int(rows[-1]) + 1
    for row in rows:
        own = np.flatnonzero(patch[row])
        wide, long = int(own[-1] - own[0]) + 1, int(row) - top
        widest = max(widest, wide)
        if long > widest and (wide < _NECK * widest or long > _FACE_ASPECT * widest):
            bottom = int(row)
            break
    columns = np.flatnonzero(patch[top:bottom].any(axis=0))
    return columns[0] / width, top / height, (columns[-1] + 1) / width, bottom / height


def _find_hands(seen: Mask) -> Array:
    """(0 to 2, 4): boxes of the hands in a frame."""
    pixels = seen.astype(np.uint8)
    pixels = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    near = 2 * max(1, round(_MARGIN * max(seen.shape))) + 1
    pixels = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, np.ones((near, near), np.uint8))
    return _widened(_patches(pixels > 0, _LEAST_HAND)[:_MOST_HANDS])


def _patches(mask: Mask, least: float) -> list[tuple[float, float, float, float]]:
    """Boxes of connected patches of at least this share of the picture, the largest first."""
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = sorted(stats[1:].tolist(), key=lambda row: -row[cv2.CC_STAT_AREA])
    return [
        (left / width, top / height, (left + wide) / width, (top + high) / height)
        for left, top, wide, high, area in found
        if area >= least * mask.size
    ]


def _widened(boxes: Sequence[tuple[float, float, float, float]]) -> Array:
    rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.clip(rows + _MARGIN * np.array([-1, -1, 1, 1]), 0.0, 1.0)


def _filled(hands: Sequence[Array]) -> list[Array]:
    """Frames without a hand get those of the nearest frame that has one."""
    seen = [index for index, boxes in enumerate(hands) if len(boxes)]
    if not seen:
        return list(hands)
    return [
        hands[min(seen, key=lambda other, own=index: abs(other - own))]  # type: ignore[misc]
        for index in range(len(hands))
    ]
