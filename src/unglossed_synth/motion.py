"""Moves the joints of a signer through a sentence, 25 frames a second, without a jump.

Key poses come from `lexicon`, order and face from `signing`; pictures are made in `drawing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.geometry import (
    bend_arm,
    hand_frame,
    smooth,
    to_quaternion,
    to_rotations,
)
from unglossed_synth.handshapes import HANDSHAPES, PALM_CENTRE, SHAPE_DIM, finger_joints
from unglossed_synth.lexicon import LOCATIONS, SIGNS, Sign
from unglossed_synth.movements import ease, perform
from unglossed_synth.signer import Signer
from unglossed_synth.signing import MOUTHS, SignToken

FloatArray = NDArray[np.float64]

FRAME_RATE = 25
_STROKE_FRAMES = 5.5
_LEAD_FRAMES = 2
# A hand in one frame: location, orientation, handshape, turn of the forearm, bend of the wrist.
_PLACE, _TURN, _SHAPE, _TWIST, _NOD = slice(0, 3), slice(3, 7), slice(7, 7 + SHAPE_DIM), -2, -1
_HAND_DIM = 3 + 4 + SHAPE_DIM + 2
_KNUCKLES = slice(7, 7 + 12, 3)
# The face in one frame: brows, mouth (4), head (3), raised shoulders, lean down.
_BROWS, _MOUTH, _HEAD, _SHRUG, _LEAN = 0, slice(1, 5), slice(5, 8), 8, 9
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


def _directions(text: str) -> tuple[FloatArray, FloatArray]:
    fingers, palm = (
        np.sum([_DIRECTIONS[word] for word in part.split("-")], axis=0) for part in text.split("/")
    )
    return fingers, palm


def _hand(handshape: str, place: FloatArray, fingers: FloatArray, palm: FloatArray) -> FloatArray:
    hand = np.zeros(_HAND_DIM)
    hand[_PLACE] = place
    hand[_TURN] = to_quaternion(hand_frame(fingers, palm))
    hand[_SHAPE] = HANDSHAPES[handshape]
    return hand


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
    return _hand("index", start, fingers, palm), _hand("index", end, fingers, palm)


def _key_hands(token: SignToken, signer: Signer) -> tuple[FloatArray, FloatArray]:
    """First and last key pose of the dominant hand, before size and intensity."""
    sign = SIGNS[token.sign]
    if token.point is not None:
        return _pointing(token, signer)
    start = _hand(sign.handshape, _place(sign.location), *_directions(sign.orientation))
    end = _hand(
        sign.to_handshape or sign.handshape,
        _place(sign.to_location or sign.location),
        *_directions(sign.to_orientation or sign.orientation),
    )
    start[0] += token.shift
    end[0] += token.shift
    return start, end


def _turning(before: FloatArray, after: FloatArray) -> float:
    """The way of the finger tips when a hand turns, about, in head heights."""
    overlap = float(np.abs(np.dot(before[_TURN], after[_TURN])))
    return 0.95 * float(np.arccos(min(1.0, overlap)))


def _mix(start: FloatArray, end: FloatArray, blend: FloatArray) -> FloatArray:
    """Blends hands; quaternions take the shorter way round."""
    end = end.copy()
    if np.dot(start[_TURN], end[_TURN]) < 0:
        end[_TURN] *= -1.0
    return np.asarray(start + blend[:, None] * (end - start))


def _stroke(
    sign: Sign, start: FloatArray, end: FloatArray, num_frames: int, token: SignToken, turn: bool
) -> FloatArray:
    size, _, cycles, _ = _INTENSITIES[token.intensity]
    done = perform(sign.movement, num_frames, size, cycles, other_turn=turn)
    hand = _mix(start, end, done.blend)
    hand[:, _PLACE] += done.offset
    hand[:, _TWIST] = done.twist
    hand[:, _NOD] = done.nod
    lag = 1.3 * np.arange(4)
    play = 0.55 * (1.0 - np.cos(done.wiggle[:, None] - lag))
    hand[:, _KNUCKLES] += np.where(np.isnan(play), 0.0, play)
    return hand


def _rest(signer: Signer) -> FloatArray:
    side, down = signer.manner.rest
    return _hand("relaxed", np.array([side, down, 0.4]), *_directions("in-down-down/back"))


def _strokes(token: SignToken, signer: Signer, rng: np.random.Generator) -> FloatArray:
    """Both hands through the stroke of one sign: (n, 2, hand)."""
    sign, manner = SIGNS[token.sign], signer.manner
    _, path_share, _, added = _INTENSITIES[token.intensity]
    start, end = _key_hands(token, signer)
    jitter = rng.normal(0.0, 0.035, (2, 3))
    for hand, noise in zip((start, end), jitter, strict=True):
        spread = manner.size * (hand[_PLACE] - _SPACE_CENTRE)
        hand[_PLACE] = _SPACE_CENTRE + spread + noise
    middle = (start[_PLACE] + end[_PLACE]) / 2
    half = path_share * (end[_PLACE] - start[_PLACE]) / 2
    start[_PLACE], end[_PLACE] = middle - half, middle + half

    way = max(2.0 * float(np.linalg.norm(half)), _turning(start, end))
    length = _STROKE_FRAMES + added + manner.hold + 1.7 * way
    length += _SHAKE_FRAMES * token.negated + 1.5 * (token.certainty is not None)
    num_frames = max(4, round(length / manner.tempo + rng.uniform(-0.7, 0.7)))
    hands = np.empty((num_frames, 2, _HAND_DIM))
    hands[:, 0] = _stroke(sign, start, end, num_frames, token, turn=False)
    if sign.two_handed in ("mirror", "alternate"):
        turn = sign.two_handed == "alternate"
        hands[:, 1] = _stroke(sign, start, end, num_frames, token, turn)
    elif sign.base:
        shape, location, orientation = sign.base
        place = _place(location) - np.array([token.shift, 0.0, 0.0])
        hands[:, 1] = _hand(shape, place, *_directions(orientation))
    else:
        hands[:, 1] = _rest(signer)
    return hands


def _transition(before: FloatArray, after: FloatArray, tempo: float) -> FloatArray:
    """Minimum-jerk way of both hands (2, hand) from one sign to the next, ends left out."""
    distance = float(np.max(np.linalg.norm(after[:, _PLACE] - before[:, _PLACE], axis=-1)))
    distance = max(distance, *(_turning(before[h], after[h]) for h in (0, 1)))
    num_frames = int(np.clip(round((2.0 + 2.3 * distance) / tempo), 2, 8))
    blend = ease(np.arange(1, num_frames + 1) / (num_frames + 1))
    return np.stack([_mix(before[h], after[h], blend) for h in (0, 1)], axis=1)


def _plan_hands(
    tokens: Sequence[SignToken], signer: Signer, rng: np.random.Generator
) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Both hands through the sentence (n, 2, hand), and the frames of each token's stroke."""
    manner = signer.manner
    rest = np.stack([_rest(signer)] * 2)
    strokes = [_strokes(token, signer, rng) for token in tokens]
    for left, right in pairwise(strokes):
        # A sign ends on the way to the next one, and that one begins on the way from it.
        gap = right[0, :, _PLACE] - left[-1, :, _PLACE]
        fade = np.linspace(0.0, 1.0, len(left))[:, None, None] ** 2
        left[:, :, _PLACE] += manner.reach * fade * gap
        fade = np.linspace(1.0, 0.0, len(right))[:, None, None] ** 2
        right[:, :, _PLACE] -= manner.reach * fade * gap
    pieces = [np.repeat(rest[None], _LEAD_FRAMES, 0)]
    spans = []
    for stroke in [*strokes, np.repeat(rest[None], _LEAD_FRAMES, 0)]:
        pieces.append(_transition(pieces[-1][-1], stroke[0], manner.tempo))
        first = sum(map(len, pieces))
        spans.append((first, first + len(stroke)))
        pieces.append(stroke)
    return np.concatenate(pieces), spans[:-1]


def _plan_face(
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
            face[during, 6], face[during, _LEAN] = 0.3, 0.08
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


def _drift(rng: np.random.Generator, num_frames: int, dim: int, size: float) -> FloatArray:
    """Slow random wandering with standard deviation of about `size`."""
    deviation = 3.5
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
    body, manner = signer.body, signer.manner
    hands, spans = _plan_hands(tokens, signer, rng)
    num_frames = len(hands)
    for earlier, later in pairwise(hands):
        flip = np.sum(earlier[:, _TURN] * later[:, _TURN], axis=-1) < 0
        later[flip, _TURN] *= -1.0
    hands = smooth(hands, manner.smoothness)
    hands[..., _PLACE] += _drift(rng, num_frames, 6, manner.tremor).reshape(num_frames, 2, 3)
    hands[..., _PLACE] = np.clip(hands[..., _PLACE], _SPACE_MIN, _SPACE_MAX)
    face = _plan_face(tokens, spans, num_frames, signer)

    axes = to_rotations(hands[..., _TURN])
    along, normal, thumb = (axes[..., i, :] for i in range(3))
    twist, nod = hands[..., _TWIST, None], hands[..., _NOD, None]
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
    wrists = hands[..., _PLACE] - PALM_CENTRE * body.hand * along
    elbows, wrists = bend_arm(shoulders, wrists, body.upper_arm, body.forearm)
    fingers = finger_joints(hands[..., _SHAPE]) * body.hand
    fingers = wrists[:, :, None, None, :] + np.einsum("nhfjk,nhkd->nhfjd", fingers, axes)

    sides = np.array([1.0, -1.0] if manner.left_handed else [-1.0, 1.0])
    for points in (shoulders, elbows, wrists):
        points[..., 0] *= sides
    axes[..., 0] *= sides[:, None]
    fingers[..., 0] *= sides[:, None, None]

    pull = smooth(np.mean(wrists[..., 0], axis=1)[:, None], 3.0)[:, 0]
    lean = np.stack([0.05 * manner.sway * pull, face[:, _LEAN]], axis=-1)
    lean += _drift(rng, num_frames, 2, 0.012 * manner.sway)
    head = face[:, _HEAD] + _drift(rng, num_frames, 3, 0.03)
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
        eyes=_blink(rng, num_frames),
    )
