"""Moves the joints of a signer through a sentence, 25 frames a second, without a jump.

Key poses come from `lexicon`, order and face from `signing`; pictures are made in `drawing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.geometry import bend_arm, between, smooth, to_rotations
from unglossed_synth.hands import (
    HAND_DIM,
    KNUCKLES,
    NOD,
    PLACE,
    SHAPE,
    TURN,
    TWIST,
    directions,
    make_hand,
    mix,
    resting_hand,
    transition,
    turning,
)
from unglossed_synth.handshapes import PALM_CENTRE, finger_joints
from unglossed_synth.lexicon import LOCATIONS, SIGNS, Sign
from unglossed_synth.movements import perform
from unglossed_synth.signer import Signer
from unglossed_synth.signing import MOUTHS, SignToken

FloatArray = NDArray[np.float64]

FRAME_RATE = 25
LEAD_FRAMES = 2
"""Frames of rest at either end of a sentence."""

_OWN_RATE = Fraction(FRAME_RATE)
_STROKE_FRAMES = 5.5
_PULL_FRAMES = 3.0
# The face in one frame: brows, mouth (4), head (3), raised shoulders, lean down.
_BROWS, _MOUTH, HEAD, _SHRUG, LEAN = 0, slice(1, 5), slice(5, 8), 8, 9
_FACE_DIM = 10
_MAP_CENTRE = np.array([0.0, 0.65])
_MAP_SIZE = np.array([0.88, 0.85])
_SPACE_CENTRE = np.array([0.3, 0.4, 0.5])
_SPACE_MIN = np.array([-1.1, -1.12, 0.2])
_SPACE_MAX = np.array([1.25, 2.15, 0.95])
_SHOULDER_DROP = 0.14
# Size of a movement, share of its path, repetitions and added frames, for each intensity.
_INTENSITIES: dict[str | None, tuple[float, float, float, float]] = {
    None: (1.0, 1.0, 2.0, 0.0),
    "light": (0.5, 0.5, 2.0, -1.0),
    "heavy": (1.6, 1.3, 3.0, 3.0),
}
_SHAKE_FRAMES = 4.0


@dataclass(frozen=True)
class Poses:
    """Joints of a clip of n frames, in head heights as the viewer sees them.

    x goes right, y down and z towards the viewer, from the base of the neck. Hand 0 is the
    dominant one.

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

    def part(self, first: int, last: int) -> "Poses":
        """The poses of some of the frames, `last` and what follows left out."""
        return Poses(
            **{field.name: getattr(self, field.name)[first:last] for field in fields(self)}
        )


def _place(location: str) -> FloatArray:
    return np.array(LOCATIONS[location])


def _pointing(token: SignToken, signer: Signer) -> tuple[FloatArray, FloatArray]:
    """Start and end of a POINT: the map is the viewer's, so a left hand does not mirror it."""
    assert token.point is not None
    direction = np.array(token.point) * (1.0 if signer.manner.left_handed else -1.0, 1.0)
    end = np.array([*(_MAP_CENTRE + _MAP_SIZE * direction), 0.75])
    # Straight up would hide the face, and with it half of the grammar.
    end[0] += 0.45 * max(0.0, -direction[1]) * (1.0 - abs(direction[0])) ** 2
    if not np.any(direction):
        fingers, palm = np.array([0.0, 0.55, 1.0]), np.array([0.0, 1.0, -0.55])
        start = end + np.array([0.0, -0.45, -0.2])
    else:
        fingers, palm = np.array([*direction, 0.15]), np.array([0.0, 0.0, -1.0])
        start = end - np.array([*(0.45 * direction), 0.1])
    return make_hand("index", start, fingers, palm), make_hand("index", end, fingers, palm)


def _key_hands(token: SignToken, signer: Signer) -> tuple[FloatArray, FloatArray]:
    """First and last key pose of the dominant hand, before size and intensity."""
    sign = SIGNS[token.sign]
    if token.point is not None:
        return _pointing(token, signer)
    start = make_hand(sign.handshape, _place(sign.location), *directions(sign.orientation))
    end = make_hand(
        sign.to_handshape or sign.handshape,
        _place(sign.to_location or sign.location),
        *directions(sign.to_orientation or sign.orientation),
    )
    start[0] += token.shift
    end[0] += token.shift
    return start, end


def _stroke(
    sign: Sign, start: FloatArray, end: FloatArray, num_frames: int, token: SignToken, turn: bool
) -> FloatArray:
    size, _, cycles, _ = _INTENSITIES[token.intensity]
    done = perform(sign.movement, num_frames, size, cycles, other_turn=turn)
    hand = mix(start, end, done.blend)
    hand[:, PLACE] += done.offset
    hand[:, TWIST] = done.twist
    hand[:, NOD] = done.nod
    lag = 1.3 * np.arange(4)
    play = 0.55 * (1.0 - np.cos(done.wiggle[:, None] - lag))
    hand[:, KNUCKLES] += np.where(np.isnan(play), 0.0, play)
    return hand


def _strokes(token: SignToken, signer: Signer, rng: np.random.Generator) -> FloatArray:
    """Both hands through the stroke of one sign: (n, 2, hand)."""
    sign, manner = SIGNS[token.sign], signer.manner
    _, path_share, _, added = _INTENSITIES[token.intensity]
    start, end = _key_hands(token, signer)
    jitter = rng.normal(0.0, 0.035, (2, 3))
    for hand, noise in zip((start, end), jitter, strict=True):
        spread = manner.size * (hand[PLACE] - _SPACE_CENTRE)
        hand[PLACE] = _SPACE_CENTRE + spread + noise
    middle = (start[PLACE] + end[PLACE]) / 2
    half = path_share * (end[PLACE] - start[PLACE]) / 2
    start[PLACE], end[PLACE] = middle - half, middle + half

    way = max(2.0 * float(np.linalg.norm(half)), turning(start, end))
    length = _STROKE_FRAMES + added + manner.hold + 1.7 * way
    length += _SHAKE_FRAMES * token.negated + 1.5 * (token.certainty is not None)
    num_frames = max(4, round(length / manner.tempo + rng.uniform(-0.7, 0.7)))
    hands = np.empty((num_frames, 2, HAND_DIM))
    hands[:, 0] = _stroke(sign, start, end, num_frames, token, turn=False)
    if sign.two_handed in ("mirror", "alternate"):
        turn = sign.two_handed == "alternate"
        hands[:, 1] = _stroke(sign, start, end, num_frames, token, turn)
    elif sign.base:
        shape, location, orientation = sign.base
        place = _place(location) - np.array([token.shift, 0.0, 0.0])
        hands[:, 1] = make_hand(shape, place, *directions(orientation))
    else:
        hands[:, 1] = resting_hand(signer)
    return hands


def plan_hands(
    tokens: Sequence[SignToken], signer: Signer, rng: np.random.Generator
) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Both hands through the sentence (n, 2, hand), and the frames of each token's stroke."""
    manner = signer.manner
    rest = np.stack([resting_hand(signer)] * 2)
    strokes = [_strokes(token, signer, rng) for token in tokens]
    for left, right in pairwise(strokes):
        # A sign ends on the way to the next one, and that one begins on the way from it.
        gap = right[0, :, PLACE] - left[-1, :, PLACE]
        fade = np.linspace(0.0, 1.0, len(left))[:, None, None] ** 2
        left[:, :, PLACE] += manner.reach * fade * gap
        fade = np.linspace(1.0, 0.0, len(right))[:, None, None] ** 2
        right[:, :, PLACE] -= manner.reach * fade * gap
    pieces = [np.repeat(rest[None], LEAD_FRAMES, 0)]
    spans = []
    for stroke in [*strokes, np.repeat(rest[None], LEAD_FRAMES, 0)]:
        pieces.append(transition(pieces[-1][-1], stroke[0], manner.tempo))
        first = sum(map(len, pieces))
        spans.append((first, first + len(stroke)))
        pieces.append(stroke)
    return np.concatenate(pieces), spans[:-1]


def plan_face(
    tokens: Sequence[SignToken], spans: list[tuple[int, int]], num_frames: int, signer: Signer
) -> FloatArray:
    """Face, head and shoulders (n, face), which go along with the signs of the hands."""
    face = np.zeros((num_frames, _FACE_DIM))
    shakes = np.zeros((num_frames, 2))
    manner = signer.manner
    for token, (first, last) in zip(tokens, spans, strict=True):
        during = slice(max(0, first - 2), min(num_frames, last + 2))
        time = np.arange(during.start, during.stop) - during.start
        face[during, _BROWS] = token.brows
        face[during, _MOUTH] = MOUTHS[token.mouth]
        if token.point is not None:
            face[during, 5] = 0.3 * token.point[0]
            face[during, 6] = 0.2 * max(0.0, token.point[1])
        if token.intensity == "heavy":
            face[during, 6], face[during, LEAN] = 0.3, 0.08
        elif token.intensity == "light":
            face[during, 6], face[during, _SHRUG] = -0.12, 0.15
        if token.certainty == "possible":
            face[during, 7] = 0.3
        elif token.certainty == "likely":
            shakes[during, 1] = 0.45 * np.abs(np.sin(np.pi * time * manner.tempo / 5.0))
        if token.negated:
            shakes[during, 0] = 0.62 * np.sin(2 * np.pi * time * manner.tempo / 7.0)
    face = smooth(face, 1.0) * manner.expression
    face[:, 5:7] += manner.expression * smooth(shakes, 0.5)
    return face


def drift(
    rng: np.random.Generator, num_frames: int, dim: int, size: float, deviation: float = 3.5
) -> FloatArray:
    """Draws slow random wandering (n, dim) with a standard deviation of about `size`.

    Args:
        rng: Decides it.
        num_frames: n.
        dim: Numbers that wander on their own.
        size: Of the wandering.
        deviation: Frames by which it is smoothed; more are slower.
    """
    # Smoothing white noise shrinks it by the square root of this.
    shrunk = 2.0 * np.sqrt(np.pi) * deviation
    noise = size * np.sqrt(shrunk) * rng.standard_normal((num_frames, dim))
    return smooth(noise, deviation)


def _blink(rng: np.random.Generator, num_frames: int) -> FloatArray:
    eyes = np.ones(num_frames)
    frame = int(rng.integers(5, 70))
    while frame < num_frames:
        eyes[frame : frame + 3] = np.array([0.35, 0.0, 0.45])[: num_frames - frame]
        frame += int(rng.integers(35, 90))
    return eyes


@dataclass(frozen=True)
class Motion:
    """What a signer does, before the joints follow from it: n moments, 25 a second.

    Attributes:
        hands: (n, 2, hand) rows of `hands`, the dominant hand first.
        face: (n, face) brows, mouth, head, shoulders and lean, as the signs ask for them.
        head: (n, 3) added to the head's turn, bow and tilt.
        lean: (n, 2) added to the shift of the upper body.
        eyes: (n,) 1 open, 0 shut.
    """

    hands: FloatArray
    face: FloatArray
    head: FloatArray
    lean: FloatArray
    eyes: FloatArray

    def __len__(self) -> int:
        return len(self.eyes)

    def at(self, rate: Fraction) -> "Motion":
        """The motion with so many moments a second, as long as there are moments around them.

        Between two moments it follows a cubic through the four around them, so nothing is seen that
        is faster than the 25 moments tell.
        """
        if rate == FRAME_RATE:
            return self
        count = int((len(self) - 1) * rate / FRAME_RATE) + 1
        places = np.array([float(frame * FRAME_RATE / rate) for frame in range(count)])
        hands = between(self.hands, places)
        hands[..., PLACE] = np.clip(hands[..., PLACE], _SPACE_MIN, _SPACE_MAX)
        return Motion(
            hands=hands,
            face=between(self.face, places),
            head=between(self.head, places),
            lean=between(self.lean, places),
            eyes=np.clip(between(self.eyes, places), 0.0, 1.0),
        )


def enliven(
    hands: FloatArray, face: FloatArray, signer: Signer, rng: np.random.Generator
) -> Motion:
    """Makes motion of what hands and face should do: it flows, drifts a little, and eyes blink.

    Args:
        hands: (n, 2, hand), 25 a second.
        face: (n, face), as `plan_face` gives it.
        signer: Who moves.
        rng: The takes differ by it.
    """
    manner, num_frames = signer.manner, len(hands)
    for earlier, later in pairwise(hands):
        flip = np.sum(earlier[:, TURN] * later[:, TURN], axis=-1) < 0
        later[flip, TURN] *= -1.0
    hands = smooth(hands, manner.smoothness)
    hands[..., PLACE] += drift(rng, num_frames, 6, manner.tremor).reshape(num_frames, 2, 3)
    hands[..., PLACE] = np.clip(hands[..., PLACE], _SPACE_MIN, _SPACE_MAX)
    lean = drift(rng, num_frames, 2, 0.012 * manner.sway)
    head = drift(rng, num_frames, 3, 0.03)
    return Motion(hands, face, head, lean, eyes=_blink(rng, num_frames))


def pose(motion: Motion, signer: Signer, rate: Fraction = _OWN_RATE) -> Poses:
    """Finds the joints that a motion leads to, at so many moments a second."""
    body, manner = signer.body, signer.manner
    motion = motion.at(rate)
    hands, face, num_frames = motion.hands, motion.face, len(motion)
    axes = to_rotations(hands[..., TURN])
    along, normal, thumb = (axes[..., i, :] for i in range(3))
    twist, nod = hands[..., TWIST, None], hands[..., NOD, None]
    thumb, normal = (
        thumb * np.cos(twist) + normal * np.sin(twist),
        normal * np.cos(twist) - thumb * np.sin(twist),
    )
    along, normal = (
        along * np.cos(nod) + normal * np.sin(nod),
        normal * np.cos(nod) - along * np.sin(nod),
    )
    axes = np.stack([along, thumb, normal], axis=-2)

    shoulders = np.empty((num_frames, 2, 3))
    shoulders[:] = (body.shoulders, _SHOULDER_DROP, 0.0)
    shoulders[..., 1] -= face[:, _SHRUG, None]
    wrists = hands[..., PLACE] - PALM_CENTRE * body.hand * along
    elbows, wrists = bend_arm(shoulders, wrists, body.upper_arm, body.forearm)
    fingers = finger_joints(hands[..., SHAPE]) * body.hand
    fingers = wrists[:, :, None, None, :] + np.einsum("nhfjk,nhkd->nhfjd", fingers, axes)

    sides = np.array([1.0, -1.0] if manner.left_handed else [-1.0, 1.0])
    for points in (shoulders, elbows, wrists):
        points[..., 0] *= sides
    axes[..., 0] *= sides[:, None]
    fingers[..., 0] *= sides[:, None, None]

    slowness = _PULL_FRAMES * float(rate / FRAME_RATE)
    pull = smooth(np.mean(wrists[..., 0], axis=1)[:, None], slowness)[:, 0]
    lean = np.stack([0.05 * manner.sway * pull, face[:, LEAN]], axis=-1)
    lean += motion.lean
    head = face[:, HEAD] + motion.head
    for points in (shoulders, elbows, wrists, fingers):
        points[..., :2] += lean.reshape(num_frames, *[1] * (points.ndim - 2), 2)
    return Poses(
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        palms=axes,
        fingers=fingers,
        head=head,
        lean=lean,
        brows=np.clip(face[:, _BROWS], -1.2, 1.2),
        mouth=face[:, _MOUTH],
        eyes=motion.eyes,
    )


def animate(tokens: Sequence[SignToken], signer: Signer, rng: np.random.Generator) -> Poses:
    """Moves a signer through a sentence.

    Each sign has a stroke with its key pose or path; minimum-jerk transitions join them, and a
    Gaussian over the whole course lets neighbours influence each other. A left-handed signer is
    the mirror image of a right-handed one, but for pointing at the map.

    Args:
        tokens: signs; none gives a short clip of rest.
        signer: who signs.
        rng: the takes of a sentence differ by it.
    """
    hands, spans = plan_hands(tokens, signer, rng)
    face = plan_face(tokens, spans, len(hands), signer)
    return pose(enliven(hands, face, signer, rng), signer)
