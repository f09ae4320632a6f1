"""Moves the joints of a signer through a sentence, 25 frames a second, without a jump.

Key poses come from `lexicon`, order and face from `signing`; pictures are made in `drawing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unglossed.synthetic.handshapes import HANDSHAPES, PALM_CENTRE, SHAPE_DIM, finger_joints
from unglossed.synthetic.lexicon import LOCATIONS, SIGNS, Sign
from unglossed.synthetic.movements import ease, perform
from unglossed.synthetic.signer import Manner, Signer
from unglossed.synthetic.signing import MOUTHS, SignToken

FloatArray = NDArray[np.float64]

FRAME_RATE = 25
_STROKE_FRAMES = 6.5
_LEAD_FRAMES = 2
_HAND_DIM = 3 + 4 + SHAPE_DIM
_MAP_CENTRE = np.array([0.0, 0.5])
_MAP_SIZE = np.array([0.95, 0.95])
# Size of the movement, its repetitions and its length, for each intensity.
_INTENSITIES = {None: (1.0, 2.0, 0.0), "light": (0.5, 1.0, -1.0), "heavy": (1.5, 3.0, 3.0)}
_DIRECTIONS = {
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "out": (1.0, 0.0, 0.0),
    "in": (-1.0, 0.0, 0.0),
    "fore": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}


@dataclass(frozen=True)
class Poses:
    """Joints of a clip of n frames, in head heights as the viewer sees them.

    x goes right, y down and z towards the viewer, from the base of the neck. Hand 0 is the dominant one.

    Attributes:
        shoulders: (n, 2, 3).
        elbows: (n, 2, 3).
        wrists: (n, 2, 3).
        palms: (n, 2, 3, 3) rows: along the fingers, towards the thumb, out of the palm.
        fingers: (n, 2, 5, 4, 3) thumb to little finger, base to tip.
        head: (n, 3) turn to the right, bow, tilt to the right; radians.
        lean: (n, 2) shift of the upper body to the right and down.
        brows: (n,) raised (to 1) or drawn together (to -1).
        mouth: (n, 4) as `signing.MOUTHS`.
        eyes: (n,) 1 open, 0 shut.
    """

    shoulders: FloatArray
    elbows: FloatArray
    wrists: FloatArray
    palms: FloatArray
    fingers: FloatArray
    head: FloatArray
    lean: FloatArray
    brows: FloatArray
    mouth: FloatArray
    eyes: FloatArray

    def __len__(self) -> int:
        return len(self.eyes)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9))


def _frame(fingers: FloatArray, palm: FloatArray) -> FloatArray:
    """Axes (along, thumb, palm) as rows of a rotation, from two directions that may be skew."""
    along = _unit(fingers)
    normal = _unit(palm - np.sum(palm * along) * along)
    return np.stack([along, np.cross(along, normal), normal])


def _orientation(text: str) -> FloatArray:
    fingers, palm = (
        np.sum([_DIRECTIONS[word] for word in part.split("-")], axis=0) for part in text.split("/")
    )
    return _frame(fingers, palm)


def _to_quaternion(rotation: FloatArray) -> FloatArray:
    """(3, 3) rows -> (4,) unit quaternion, by the eigenvector of Bar-Itzhack's matrix."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[1, 2] - r[2, 1]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[2, 0] - r[0, 2]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[0, 1] - r[1, 0]],
            [r[1, 2] - r[2, 1], r[2, 0] - r[0, 2], r[0, 1] - r[1, 0], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    quaternion = np.linalg.eigh(k)[1][:, -1]
    return np.asarray(quaternion * (1.0 if quaternion[3] >= 0 else -1.0))
