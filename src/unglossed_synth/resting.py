"""What people do while they do not sign: rest, scratch themselves, fold their hands, look aside.

Nothing here is a sign of the lexicon: the handshapes are none of its own. How rests and sentences
follow each other is `programme`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.geometry import smooth
from unglossed_synth.hands import (
    KNUCKLES,
    PLACE,
    directions,
    make_hand,
    mix,
    resting_hand,
    transition,
)
from unglossed_synth.motion import FRAME_RATE
from unglossed_synth.signer import Signer

FloatArray = NDArray[np.float64]

_WAY_FRAMES = (8, 14)  # to where a hand fidgets and back: people take their time
_BODY_FRAMES = 4.0


@dataclass(frozen=True)
class Rest:
    """What hands and body do in n frames without signing, 25 a second.

    Attributes:
        hands: (n, 2, hand), as `hands` has them.
        head: (n, 3) turn to the right, bow, tilt to the right; radians.
        lean: (n, 2) shift of the upper body to the right and down, in head heights.
    """

    hands: FloatArray
    head: FloatArray
    lean: FloatArray

    def __len__(self) -> int:
        return len(self.hands)


def at_rest(signer: Signer, num_frames: int) -> Rest:
    """Lets a signer do nothing for so many frames."""
    hands = np.repeat(_resting(signer)[None], num_frames, 0)
    return Rest(hands, np.zeros((num_frames, 3)), np.zeros((num_frames, 2)))


def fidget(kind: str, signer: Signer, rng: np.random.Generator) -> Rest:
    """Lets a signer fidget, from the hands' rest and back to it.

    Args:
        kind: A key of `FIDGETS`.
        signer: Who fidgets.
        rng: Decides how long, how fast and with which hand.
    """
    middle = FIDGETS[kind](signer, rng)
    rest, tempo = _resting(signer), rng.uniform(0.55, 0.9)
    there = transition(rest, middle.hands[0], tempo, *_WAY_FRAMES)
    back = transition(middle.hands[-1], rest, tempo, *_WAY_FRAMES)
    around = ((len(there), len(back)), (0, 0))
    return Rest(
        np.concatenate([there, middle.hands, back]),
        smooth(np.pad(middle.head, around), _BODY_FRAMES),
        smooth(np.pad(middle.lean, around), _BODY_FRAMES),
    )


def _resting(signer: Signer) -> FloatArray:
    return np.stack([resting_hand(signer)] * 2)


def _during(signer: Signer, rng: np.random.Generator, shortest: float, longest: float) -> Rest:
    """A rest that lasts between so many seconds, to be filled."""
    return at_rest(signer, round(FRAME_RATE * rng.uniform(shortest, longest)))


def _hand(place: tuple[float, float, float], orientation: str) -> FloatArray:
    return make_hand("relaxed", np.array(place), *directions(orientation))


def _wave(num_frames: int, per_second: float) -> FloatArray:
    """To and fro from -1 to 1, (n, 1)."""
    seconds = np.arange(num_frames)[:, None] / FRAME_RATE
    return np.sin(2 * np.pi * per_second * seconds)


def _either_hand(rng: np.random.Generator) -> int:
    return int(rng.random() < 0.35)


def _scratch(signer: Signer, rng: np.random.Generator) -> Rest:
    """One hand scratches cheek, neck, temple or the other arm."""
    rest = _during(signer, rng, 0.8, 2.2)
    hand = rest.hands[:, _either_hand(rng)]
    places = (
        ((0.46, -0.42, 0.5), "up-in/in"),
        ((0.36, 0.1, 0.5), "up-in/in"),
        ((0.5, -0.85, 0.45), "up-in/in"),
        ((-0.55, 1.3, 0.75), "in-down/back"),
    )
    hand[:] = _hand(*places[int(rng.integers(len(places)))])
    wave = _wave(len(rest), rng.uniform(3.0, 4.5))
    hand[:, KNUCKLES] += 0.4 * (1.0 + wave)
    hand[:, PLACE] += wave * np.array([0.02, 0.07, 0.0])
    rest.head[:, 2] = rng.uniform(-0.15, 0.15)
    return rest


def _touch(signer: Signer, rng: np.random.Generator) -> Rest:
    """One hand lies at chin, mouth or nose, or strokes the hair."""
    rest = _during(signer, rng, 0.6, 1.6)
    hand = rest.hands[:, _either_hand(rng)]
    places = (
        ((0.14, 0.0, 0.55), "up-in/back"),
        ((0.1, -0.3, 0.58), "up-in/back"),
        ((0.3, -1.0, 0.45), "in-up/down"),
    )
    hand[:] = _hand(*places[int(rng.integers(len(places)))])
    hand[:, PLACE] += np.linspace(0, rng.uniform(0.1, 0.35), len(rest))[:, None] * (1.0, 0.2, 0.0)
    rest.head[:, 1] = rng.uniform(0.05, 0.2)
    return rest


def _rub(signer: Signer, rng: np.random.Generator) -> Rest:
    """The hands rub each other."""
    rest = _during(signer, rng, 1.0, 2.6)
    rest.hands[:] = _hand((0.12, rng.uniform(1.1, 1.5), 0.65), "in-fore-up/in")
    wave = _wave(len(rest), rng.uniform(1.6, 2.6))
    for hand, way in enumerate((1.0, -1.0)):
        rest.hands[:, hand, PLACE] += way * wave * np.array([0.03, 0.13, 0.08])
    return rest


def _fold(signer: Signer, rng: np.random.Generator) -> Rest:
    """The hands are folded before the belly."""
    rest = _during(signer, rng, 1.2, 3.5)
    down = rng.uniform(1.2, 1.6)
    rest.hands[:, 0] = _hand((0.06, down, 0.75), "in/back")
    rest.hands[:, 1] = _hand((0.1, down + 0.06, 0.6), "in/back")
    rest.hands[..., KNUCKLES] += 0.5
    return rest


def _straighten(signer: Signer, rng: np.random.Generator) -> Rest:
    """The hands smooth the clothes down."""
    rest = _during(signer, rng, 1.0, 2.0)
    blend = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0.0, 3.0, len(rest)))
    for hand in (0, 1):
        high, low = (_hand((0.4, down, 0.5), "down-down-in/back") for down in (0.5, 1.4))
        rest.hands[:, hand] = mix(high, low, blend)
    return rest


def _sway(signer: Signer, rng: np.random.Generator) -> Rest:
    """The weight goes from one foot to the other."""
    rest = _during(signer, rng, 2.0, 4.0)
    wave = _wave(len(rest), rng.uniform(0.3, 0.5)) * rng.choice([-1.0, 1.0])
    rest.lean[:, :1] = rng.uniform(0.1, 0.2) * wave
    rest.head[:, 2:] = 0.08 * wave
    return rest


def _look_aside(signer: Signer, rng: np.random.Generator) -> Rest:
    """The head turns to somebody beside the camera."""
    rest = _during(signer, rng, 0.8, 2.0)
    rest.head[:, 0] = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.6)
    rest.head[:, 1] = rng.uniform(-0.05, 0.15)
    return rest


FIDGETS: dict[str, Callable[[Signer, np.random.Generator], Rest]] = {
    "scratch": _scratch,
    "touch": _touch,
    "rub": _rub,
    "fold": _fold,
    "straighten": _straighten,
    "sway": _sway,
    "look_aside": _look_aside,
}
"""What a signer does in a rest, by name; the way there and back is added by `fidget`."""
