"""The movements of signs: how a hand leaves its place, turns and opens over the time of a stroke.

Each is a function of the stroke's phase alone; `motion` lays them over location and orientation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass
class Stroke:
    """What a movement does to one hand, for each frame of a stroke (n frames).

    Attributes:
        blend: (n,) from the start (0) to the end (1) of location, orientation and handshape.
        offset: (n, 3) added to the location, in head heights.
        wiggle: (n,) phase of the play of the fingers, NaN where they are still.
        twist: (n,) turn about the forearm, radians.
        nod: (n,) bend of the wrist, radians.
    """

    blend: FloatArray
    offset: FloatArray
    wiggle: FloatArray
    twist: FloatArray
    nod: FloatArray


def ease(phase: FloatArray) -> FloatArray:
    """Minimum-jerk course from 0 to 1 (Flash and Hogan, 1985), still outside of 0..1."""
    t = np.clip(phase, 0.0, 1.0)
    return np.asarray(t**3 * (10.0 - 15.0 * t + 6.0 * t * t))


Apply = Callable[[Stroke, FloatArray, float, float], None]


def _path(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.blend[:] = ease((phase - 0.12) / 0.62)


def _pulse(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.blend[:] = 0.5 - 0.5 * np.cos(2 * np.pi * (cycles - 0.5) * phase)


def _arc(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    _path(stroke, phase, size, cycles)
    stroke.offset[:, 1] -= 0.4 * size * np.sin(np.pi * stroke.blend)


def _hops(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    _path(stroke, phase, size, cycles)
    stroke.offset[:, 1] -= 0.28 * size * np.abs(np.sin(np.pi * cycles * stroke.blend))


def _zigzag(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    _path(stroke, phase, size, cycles)
    stroke.offset[:, 0] += 0.45 * size * np.sin(3 * np.pi * stroke.blend)


def _swing(x: float, y: float, z: float, *, taps: bool = False, rate: float = 1.0) -> Apply:
    """To and fro along an axis; `taps` come back to the place instead of passing through it."""

    def apply(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
        wave = np.sin(2 * np.pi * rate * cycles * phase)
        if taps:
            wave = np.abs(np.sin(np.pi * rate * cycles * phase))
        stroke.offset[:] += size * wave[:, None] * np.array([x, y, z])

    return apply


def _circle(x: float, y: float, z: float) -> Apply:
    def apply(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
        turn = 2 * np.pi * 0.75 * cycles * phase
        stroke.offset[:, 0] += size * x * np.sin(turn)
        stroke.offset[:, 1] -= size * y * np.cos(turn)
        stroke.offset[:, 2] += size * z * np.cos(turn)

    return apply


def _wiggle(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.wiggle[:] = 2 * np.pi * cycles * phase


def _twist(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.twist[:] = 0.85 * size * np.sin(2 * np.pi * cycles * phase)


def _nod(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.nod[:] = 0.75 * size * np.abs(np.sin(np.pi * cycles * phase))


def _jab(stroke: Stroke, phase: FloatArray, size: float, cycles: float) -> None:
    stroke.blend[:] = ease((phase + 0.15) / 0.5)


MOVEMENTS: dict[str, Apply] = {
    "path": _path,
    "arc": _arc,
    "hops": _hops,
    "pulse": _pulse,
    "jab": _jab,
    "tap": _swing(0.1, -0.3, 0.1, taps=True),
    "press": _swing(0.0, 0.05, 0.3, taps=True, rate=0.5),
    "bounce": _swing(0.0, 0.24, 0.0),
    "shake": _swing(0.26, 0.0, 0.0),
    "tremble": _swing(0.1, 0.05, 0.0, rate=1.5),
    "ripple": _swing(0.0, 0.14, 0.0),
    "sweep": _swing(-0.5, 0.1, 0.0),
    "zigzag": _zigzag,
    "circle": _circle(0.3, 0.3, 0.0),
    "stir": _circle(0.36, 0.14, 0.2),
    "wiggle": _wiggle,
    "twist": _twist,
    "nod": _nod,
}


def perform(
    movement: str, num_frames: int, size: float, cycles: float, *, other_turn: bool = False
) -> Stroke:
    """Runs a movement over a stroke.

    Args:
        movement: keys of `MOVEMENTS` joined by "+"; without a path among them the hand stays.
        num_frames: frames of the stroke.
        size: factor on all extents.
        cycles: how often a repeated movement is repeated.
        other_turn: half a cycle later, for the second hand of an alternating sign.
    """
    zeros = np.zeros(num_frames)
    stroke = Stroke(zeros, np.zeros((num_frames, 3)), zeros + np.nan, zeros.copy(), zeros.copy())
    phase = (np.arange(num_frames) + 0.5) / num_frames
    for name in movement.split("+"):
        MOVEMENTS[name](stroke, phase, -size if other_turn else size, cycles)
    return stroke
