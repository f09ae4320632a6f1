"""A hand in one frame as a row of numbers: how it is made, rests, turns and goes to another place.

Which hands a sentence needs is `motion`'s business; a rest's, that of `resting`.
"""

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.geometry import hand_frame, to_quaternion
from unglossed_synth.handshapes import HANDSHAPES, SHAPE_DIM
from unglossed_synth.movements import ease
from unglossed_synth.signer import Signer

FloatArray = NDArray[np.float64]

# Location, orientation, handshape, turn of the forearm, bend of the wrist.
PLACE, TURN, SHAPE, TWIST, NOD = slice(0, 3), slice(3, 7), slice(7, 7 + SHAPE_DIM), -2, -1
HAND_DIM = 3 + 4 + SHAPE_DIM + 2
KNUCKLES = slice(7, 7 + 12, 3)
_DIRECTIONS = {
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "out": (1.0, 0.0, 0.0),
    "in": (-1.0, 0.0, 0.0),
    "fore": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}


def directions(text: str) -> tuple[FloatArray, FloatArray]:
    """Reads an orientation, as `lexicon.Sign` writes it: (3,) of the fingers and of the palm."""
    fingers, palm = (
        np.sum([_DIRECTIONS[word] for word in part.split("-")], axis=0) for part in text.split("/")
    )
    return fingers, palm


def make_hand(
    handshape: str, place: FloatArray, fingers: FloatArray, palm: FloatArray
) -> FloatArray:
    """Makes a hand (hand,) of a key of `HANDSHAPES`, a place (3,) and two directions (3,)."""
    hand = np.zeros(HAND_DIM)
    hand[PLACE] = place
    hand[TURN] = to_quaternion(hand_frame(fingers, palm))
    hand[SHAPE] = HANDSHAPES[handshape]
    return hand


def resting_hand(signer: Signer) -> FloatArray:
    """Makes the hand (hand,) of a signer at rest."""
    side, down = signer.manner.rest
    return make_hand("relaxed", np.array([side, down, 0.4]), *directions("in-down-down/back"))


def turning(before: FloatArray, after: FloatArray) -> float:
    """The way of the finger tips when a hand turns, about, in head heights."""
    overlap = float(np.abs(np.dot(before[TURN], after[TURN])))
    return 0.95 * float(np.arccos(min(1.0, overlap)))


def mix(start: FloatArray, end: FloatArray, blend: FloatArray) -> FloatArray:
    """Blends hands (hand,) to (n, hand); quaternions take the shorter way round."""
    end = end.copy()
    if np.dot(start[TURN], end[TURN]) < 0:
        end[TURN] *= -1.0
    return np.asarray(start + blend[:, None] * (end - start))


def transition(
    before: FloatArray, after: FloatArray, tempo: float, shortest: int = 2, longest: int = 8
) -> FloatArray:
    """Minimum-jerk way (n, 2, hand) of both hands (2, hand) to other ones, ends left out.

    Args:
        before: Where they come from.
        after: Where they go.
        tempo: Speed; 1 is that of an average signer.
        shortest: Frames that the way takes at least.
        longest: Frames that it takes at most.
    """
    distance = float(np.max(np.linalg.norm(after[:, PLACE] - before[:, PLACE], axis=-1)))
    distance = max(distance, *(turning(before[h], after[h]) for h in (0, 1)))
    num_frames = int(np.clip(round((2.0 + 2.3 * distance) / tempo), shortest, longest))
    blend = ease(np.arange(1, num_frames + 1) / (num_frames + 1))
    return np.stack([mix(before[h], after[h], blend) for h in (0, 1)], axis=1)
