"""Rotations, limbs and smoothing in three dimensions, for `motion`.

Knows nothing of signs; x and y span the picture (y down), z points at the viewer.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def unit(vectors: FloatArray) -> FloatArray:
    """Scales (..., 3) vectors to length 1; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def hand_frame(fingers: FloatArray, palm: FloatArray) -> FloatArray:
    """Axes (along the fingers, out of the palm, towards the thumb) as rows of a rotation.

    The axes are those of a right hand with x to its own side, y down and z to the viewer.

    Args:
        fingers: (3,) direction of the fingers.
        palm: (3,) direction that the palm looks in; made square to `fingers`.
    """
    along = unit(fingers)
    normal = unit(palm - np.sum(palm * along) * along)
    return np.stack([along, normal, np.cross(along, normal)])


def to_quaternion(rotation: FloatArray) -> FloatArray:
    """Turns a (3, 3) rotation into a unit quaternion (4,), real part first (Shepperd, 1978)."""
    diagonal = np.diag(rotation)
    trace = float(diagonal.sum())
    squares = np.array([trace, *(2.0 * diagonal - trace)]) + 1.0
    r = rotation
    skew = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    even = {(1, 2): r[1, 0] + r[0, 1], (1, 3): r[0, 2] + r[2, 0], (2, 3): r[2, 1] + r[1, 2]}
    biggest = int(np.argmax(squares))
    products = np.empty(4)
    for i in range(4):
        if i == biggest:
            products[i] = squares[i]
        elif 0 in (i, biggest):
            products[i] = skew[max(i, biggest) - 1]
        else:
            products[i] = even[min(i, biggest), max(i, biggest)]
    return np.asarray(products / np.linalg.norm(products))


def to_rotations(quaternions: FloatArray) -> FloatArray:
    """Turns (..., 4) quaternions of any length into (..., 3, 3) rotations."""
    w, x, y, z = np.moveaxis(
        quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0
    )
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def bend_arm(
    shoulders: FloatArray, wrists: FloatArray, upper_arm: float, forearm: float
) -> tuple[FloatArray, FloatArray]:
    """Finds the elbow between shoulder and wrist: inverse kinematics of two bones.

    Args:
        shoulders: (..., 3) in head heights, x to the arm's own side.
        wrists: (..., 3) where the wrists should be.
        upper_arm: length of the bone from shoulder to elbow.
        forearm: length of the bone from elbow to wrist.

    Returns:
        Elbows (..., 3), and wrists (..., 3) drawn in where they were out of reach.
    """
    reach = wrists - shoulders
    span = np.linalg.norm(reach, axis=-1, keepdims=True)
    shortest, longest = 1.15 * abs(upper_arm - forearm) + 0.15, 0.995 * (upper_arm + forearm)
    distance = np.clip(span, shortest, longest)
    along = unit(reach)
    along = np.where(span > 1e-6, along, np.array([0.0, 1.0, 0.0]))
    foot = (upper_arm**2 - forearm**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper_arm**2 - foot**2, 0.0))
    # Elbows hang down and a little out, as arms do that do not lean on anything.
    pole = np.array([0.55, 1.0, -0.35])
    side = unit(pole - np.sum(pole * along, axis=-1, keepdims=True) * along)
    return shoulders + foot * along + height * side, shoulders + distance * along


def smooth(track: FloatArray, deviation: float) -> FloatArray:
    """Blurs (n, ...) values along the first axis with a Gaussian, the ends held."""
    radius = max(1, int(np.ceil(3 * deviation)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate(
        [np.repeat(track[:1], radius, 0), track, np.repeat(track[-1:], radius, 0)]
    )
    blurred = np.zeros_like(track)
    for shift, weight in enumerate(kernel):
        blurred += weight * padded[shift : shift + len(track)]
    return blurred


def between(track: FloatArray, places: FloatArray) -> FloatArray:
    """Finds the values of (n, ...) at places from 0 to n - 1, by a cubic (Catmull and Rom, 1974).

    At whole places these are the values of the track.

    Args:
        track: (n, ...).
        places: (m,) along the first axis.

    Returns:
        (m, ...).
    """
    last = len(track) - 1
    first = np.floor(places).astype(int)
    before, left, right, after = (track[np.clip(first + step, 0, last)] for step in (-1, 0, 1, 2))
    t = (places - first).reshape(-1, *[1] * (track.ndim - 1))
    slope, next_slope = (right - before) / 2, (after - left) / 2
    bend = 3 * (right - left) - 2 * slope - next_slope
    rest = slope + next_slope - 2 * (right - left)
    return np.asarray(left + t * (slope + t * (bend + t * rest)))
