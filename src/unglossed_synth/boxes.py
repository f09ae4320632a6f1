"""Where hands and face are in drawn frames: what only the generator knows exactly.

Boxes enclose the outlines that `drawing` and `portrait` draw, anti-aliased edges included, whether
or not something lies before them. How evaluation uses them is `unglossed.evaluation.regions`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.camera import SUBPIXEL_BITS, Camera, Shape
from unglossed_synth.drawing import hand_parts
from unglossed_synth.motion import Poses
from unglossed_synth.portrait import head_shapes
from unglossed_synth.signer import Signer

FloatArray = NDArray[np.float64]

_EDGE = 2.0  # pixels that anti-aliasing reaches beyond an outline


def region_boxes(poses: Poses, signer: Signer, width: int, height: int) -> dict[str, FloatArray]:
    """Boxes of the hands, and of the face, in every frame.

    The face has its ears, and the hair that lies before it.

    Args:
        poses: of the frames.
        signer: who is drawn.
        width: of the pictures.
        height: of the pictures.

    Returns:
        `hands`: (frames, 2, 4), the dominant one first, and `face`: (frames, 1, 4): left, top,
        right, bottom in shares of the picture, cut at its edges.
    """
    camera = Camera(width, height, signer.scene)
    hands = [
        [piece for part in hand_parts(poses, signer, camera, hand) for piece in part]
        for hand in (0, 1)
    ]
    regions = {"hands": hands, "face": [head_shapes(poses, signer, camera)]}
    size = np.array([width, height, width, height])
    return {
        name: np.clip(np.stack([_box(one, len(poses)) for one in own], axis=1) / size, 0.0, 1.0)
        for name, own in regions.items()
    }


def _box(shapes: Iterable[Shape], num_frames: int) -> FloatArray:
    """(frames, 4) pixels around shapes: whole ones that hold every pixel that is touched."""
    low, high = np.full((num_frames, 2), np.inf), np.full((num_frames, 2), -np.inf)
    for one in shapes:
        for frame in range(num_frames):
            points = np.asarray(one.points[frame]).reshape(-1, 2) / (1 << SUBPIXEL_BITS) + 0.5
            low[frame] = np.minimum(low[frame], points.min(axis=0))
            high[frame] = np.maximum(high[frame], points.max(axis=0))
    return np.concatenate([np.floor(low - _EDGE), np.ceil(high + _EDGE)], axis=1)
