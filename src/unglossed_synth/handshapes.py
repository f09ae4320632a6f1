"""Hands as joints: what each handshape bends, and where its finger joints then lie.

A hand is 16 angles; `finger_joints` turns them into points. Placing the hand is the
business of `motion`.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NUM_FINGERS = 5
NUM_JOINTS = 4
SHAPE_DIM = 16

# A finger: (knuckle bend, middle-joint bend, sideways spread) in degrees.
_STRAIGHT = (0.0, 4.0)
_FOLDED = (88.0, 105.0)
_CURVED = (38.0, 42.0)
_HOOKED = (8.0, 88.0)
_TOUCHING = (58.0, 62.0)
_SPREAD = (18.0, 5.0, -9.0, -23.0)
_TOGETHER = (2.0, 0.0, -1.0, -3.0)

# A thumb: (angle away from the fingers in the palm's plane, lift out of that plane) of its first
# bone, then of the other two.
_THUMB_ASIDE = (38.0, 8.0, 12.0, 4.0)
_THUMB_OUT = (68.0, 5.0, 62.0, 0.0)
_THUMB_ACROSS = (35.0, 48.0, -55.0, 42.0)
_THUMB_OPPOSED = (48.0, 52.0, 14.0, 62.0)
_THUMB_UP = (78.0, 10.0, 88.0, 0.0)


def _hand(
    fingers: str, thumb: tuple[float, float, float, float], *, spread: bool = False
) -> FloatArray:
    """Builds 16 angles from four letters (index to little finger) and a thumb."""
    bends = {
        "s": _STRAIGHT,
        "f": _FOLDED,
        "c": _CURVED,
        "h": _HOOKED,
        "o": _TOUCHING,
        "b": (85.0, 5.0),
        "k": (22.0, 62.0),
    }
    sides = _SPREAD if spread else _TOGETHER
    angles = [
        value
        for letter, side in zip(fingers, sides, strict=True)
        for value in (*bends[letter], side)
    ]
    return np.asarray(np.deg2rad([*angles, *thumb]))


HANDSHAPES: dict[str, FloatArray] = {
    "relaxed": _hand("cccc", (40.0, 25.0, 18.0, 22.0)) * 0.75,
    "flat": _hand("ssss", _THUMB_ASIDE),
    "bent": _hand("bbbb", _THUMB_ASIDE),
    "fist": _hand("ffff", _THUMB_ACROSS),
    "index": _hand("sfff", _THUMB_ACROSS),
    "little": _hand("fffs", _THUMB_ACROSS, spread=True),
    "thumb": _hand("ffff", _THUMB_UP),
    "gun": _hand("sfff", _THUMB_OUT),
    "v": _hand("ssff", _THUMB_ACROSS, spread=True),
    "two": _hand("ssff", _THUMB_ACROSS),
    "three": _hand("ssff", _THUMB_OUT, spread=True),
    "w": _hand("sssf", _THUMB_ACROSS, spread=True),
    "four": _hand("ssss", _THUMB_ACROSS, spread=True),
    "open": _hand("ssss", _THUMB_OUT, spread=True),
    "claw": _hand("kkkk", (60.0, 35.0, 40.0, 30.0), spread=True),
    "c": _hand("cccc", _THUMB_OPPOSED),
    "o": _hand("oooo", (40.0, 58.0, 2.0, 55.0)),
    "ring": _hand("osss", (40.0, 58.0, 2.0, 55.0), spread=True),
    "pinch": _hand("offf", (40.0, 58.0, 2.0, 55.0)),
    "y": _hand("fffs", _THUMB_OUT, spread=True),
    "horns": _hand("sffs", _THUMB_ACROSS, spread=True),
    "hook": _hand("hfff", _THUMB_ACROSS),
    "hooks": _hand("hhff", _THUMB_ACROSS, spread=True),
}

_KNUCKLE_SIDE = np.array([0.155, 0.053, -0.052, -0.15])
_KNUCKLE_ALONG = np.array([0.46, 0.48, 0.46, 0.42])
_FINGER_LENGTH = np.array([0.46, 0.52, 0.48, 0.38])
_BONE_SHARE = np.array([0.45, 0.31, 0.24])
_THUMB_BASE = np.array([0.12, 0.13, 0.03])
_THUMB_BONES = np.array([0.2, 0.17, 0.13])
PALM_CENTRE = 0.27


def finger_joints(shapes: FloatArray) -> FloatArray:
    """Places the joints of the fingers in the hand's own frame.

    Args:
        shapes: (..., 16) angles in radians, a blend of values of `HANDSHAPES`.

    Returns:
        (..., 5, 4, 3) points of thumb, index, middle, ring, little finger from base to tip, in
        hand lengths, on the axes (along the fingers, towards the thumb, out of the palm) with the
        wrist at the origin.
    """
    lead = shapes.shape[:-1]
    bends = shapes[..., :12].reshape(*lead, 4, 3)
    knuckle, middle, side = bends[..., 0], bends[..., 1], bends[..., 2]
    # The last joint of a finger cannot be bent alone: it follows the middle one.
    curl = np.stack([knuckle, knuckle + middle, knuckle + 1.6 * middle], axis=-1)
    side = side[..., None] * np.ones(3)
    bones = np.stack(
        [np.cos(curl) * np.cos(side), np.cos(curl) * np.sin(side), np.sin(curl)], axis=-1
    )
    bones = bones * (_FINGER_LENGTH[:, None] * _BONE_SHARE)[..., None]
    base = np.stack([_KNUCKLE_ALONG, _KNUCKLE_SIDE, np.zeros(4)], axis=-1)
    joints = np.empty((*lead, NUM_FINGERS, NUM_JOINTS, 3))
    joints[..., 1:, 0, :] = base
    joints[..., 1:, 1:, :] = base[:, None, :] + np.cumsum(bones, axis=-2)

    aside = np.stack([shapes[..., 12], shapes[..., 14], shapes[..., 14]], axis=-1)
    lift = np.stack([shapes[..., 13], shapes[..., 15], shapes[..., 15]], axis=-1)
    thumb = np.stack(
        [np.cos(aside) * np.cos(lift), np.sin(aside) * np.cos(lift), np.sin(lift)], axis=-1
    )
    joints[..., 0, 0, :] = _THUMB_BASE
    joints[..., 0, 1:, :] = _THUMB_BASE + np.cumsum(thumb * _THUMB_BONES[:, None], axis=-2)
    return joints
