"""Where joints and points of the face are in drawn frames: what only the generator knows exactly.

The names are those of the skeleton `generated` of `unglossed.media.skeletons`. A point is told
whether or not something lies before it, and also where it is out of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unglossed.media.array_files import write_array
from unglossed.media.array_settings import Told
from unglossed.media.skeletons import SKELETONS
from unglossed_synth.camera import Camera
from unglossed_synth.motion import FRAME_RATE, Poses
from unglossed_synth.portrait import face_points
from unglossed_synth.signer import Signer

LANDMARKS = "landmarks"
"""Folder of a generated corpus with an array for each clip."""


def landmark_points(
    poses: Poses, signer: Signer, width: int, height: int, left: int = 0, top: int = 0
) -> NDArray[np.float32]:
    """Points of every frame.

    Args:
        poses: of the frames.
        signer: who is drawn.
        width: of the signer's part of the picture, in pixels.
        height: of that part.
        left: where that part begins, in pixels.
        top: the same, downwards.

    Returns:
        (frames, points, 2) x and y in pixels of the whole picture.
    """
    camera = Camera(width, height, signer.scene)
    # Hand 0 is the dominant one; sides are the signer's own.
    order = (0, 1) if signer.manner.left_handed else (1, 0)
    face = face_points(poses, signer, camera)
    body = [face["nose"]]
    body += [
        camera.project(joints[:, hand, None])
        for hand in order
        for joints in (poses.shoulders, poses.elbows, poses.wrists)
    ]
    hands = [
        camera.project(
            np.concatenate(
                [poses.wrists[:, hand, None], poses.fingers[:, hand].reshape(len(poses), -1, 3)],
                axis=1,
            )
        )
        for hand in order
    ]
    points = np.concatenate([*body, *hands, face["mouth"], face["face"]], axis=1)
    return (points + np.array([left, top])).astype(np.float32)


def write_landmarks(path: Path, points: NDArray[np.float32], width: int, height: int) -> None:
    """Write the points of a clip, and what there is to tell of them, as `.npz`.

    Args:
        path: File to write; its folder is made.
        points: See `landmark_points`.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """
    told = Told(
        rate=FRAME_RATE,
        channels=("x", "y"),
        points=SKELETONS["generated"].points,
        units="pixels",
        width=width,
        height=height,
    )
    write_array(path, points, told)
