"""Draws the frames of a clip with OpenCV: background, person, arms and hands, anti-aliased.

Poses come from `motion`; writing files is left to `corpus`.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed_synth.camera import Camera, Image, Shape, capsule, circles, shape
from unglossed_synth.handshapes import NUM_FINGERS, NUM_JOINTS
from unglossed_synth.motion import Poses
from unglossed_synth.portrait import portrait_shapes
from unglossed_synth.signer import Signer

FloatArray = NDArray[np.float64]

# Radii in hand lengths, from base to tip: thumb, index, middle, ring, little finger.
_FINGER_RADII = np.array(
    [
        [0.085, 0.072, 0.064, 0.056],
        [0.066, 0.062, 0.056, 0.05],
        [0.068, 0.064, 0.058, 0.051],
        [0.065, 0.06, 0.055, 0.048],
        [0.057, 0.053, 0.048, 0.043],
    ]
)
_FINGER_SHADES = (1.0, 0.97, 1.02, 0.97, 1.0)
_PALM_RADIUS = 0.075
_WRIST_SIDE = 0.09
_OUTLINE = 0.02
_OUTLINE_SHADE = 0.5
# Exposure differs a little from frame to frame, as cameras under mains light show.
_FLICKER = 0.008
_ARM_RADII = (0.2, 0.165, 0.15, 0.098)


def _arm_shapes(poses: Poses, signer: Signer, camera: Camera, hand: int) -> list[Shape]:
    """Upper arm and forearm, each with a darker rim so that it stands out from the body."""
    looks, scale = signer.looks, camera.scale
    shoulder, elbow, wrist = (
        camera.project(joints[:, hand]) for joints in (poses.shoulders, poses.elbows, poses.wrists)
    )
    cuff = elbow + 0.86 * (wrist - elbow)
    hem = shoulder + 0.8 * (elbow - shoulder)
    side = np.sign(poses.shoulders[:, hand, 0].mean())
    sleeve = 1.1 + 0.1 * signer.scene.light_side * side
    bare = 0.9 + 0.06 * signer.scene.light_side * side
    upper, lower = _ARM_RADII[:2], _ARM_RADII[2:]
    if looks.long_sleeves:
        limbs = [
            (elbow, wrist, lower, looks.skin, bare),
            (shoulder, elbow, upper, looks.clothes, sleeve),
            (elbow, cuff, lower, looks.clothes, sleeve),
        ]
    else:
        limbs = [
            (shoulder, elbow, (0.165, 0.14), looks.skin, bare),
            (elbow, wrist, (0.14, 0.095), looks.skin, bare),
            (shoulder, hem, (0.21, 0.19), looks.clothes, sleeve),
        ]
    shapes = []
    rim = max(0.025, 0.5 / scale)
    # On dark clothes a darker rim would not be seen: there the light catches the edge.
    edge = 1.7 if max(looks.clothes) < 75 else 0.62
    for start, end, (start_radius, end_radius), colour, shade in limbs:
        for extra, tone in ((rim, edge if colour == looks.clothes else 0.62), (0.0, 1.0)):
            radii = scale * (start_radius + extra), scale * (end_radius + extra)
            outline = capsule(start, end, *radii)
            shapes.append(shape(outline, camera.lit(colour, shade * tone)))
    return shapes


def hand_parts(poses: Poses, signer: Signer, camera: Camera, hand: int) -> list[list[Shape]]:
    """The palm of a hand, then its fingers from the thumb: shapes of each from back to front."""
    body, looks = signer.body, signer.looks
    # A hand that is nearer to the camera is larger, as everything about it is.
    scale = camera.scale * body.hand * body.finger_width * 1.04
    fingers = poses.fingers[:, hand]
    wrist, axes = poses.wrists[:, hand], poses.palms[:, hand]
    # The inside of a hand is lighter than its back.
    facing = axes[:, 2, 2]
    shade = 0.97 + 0.07 * facing + 0.05 * (wrist[:, 2] - 0.4)
    rim = max(_OUTLINE, 0.45 / scale)
    edge = camera.lit(looks.skin, _OUTLINE_SHADE * shade)

    heel = wrist[:, None, :] + _WRIST_SIDE * body.hand * np.array([[1.0], [-1.0]]) * axes[:, 1:2]
    thumb = fingers[:, 0, :1] * 0.8 + fingers[:, 0, 1:2] * 0.2
    corners = camera.project(np.concatenate([heel, thumb, fingers[:, 1:, 0]], axis=1))
    palm = [
        shape(circles(corners, scale * (_PALM_RADIUS + rim)), edge, hull=True),
        shape(circles(corners, scale * _PALM_RADIUS), camera.lit(looks.skin, shade), hull=True),
    ]
    parts = [palm]
    joints = camera.project(fingers)
    for finger in range(NUM_FINGERS):
        radii = scale * _FINGER_RADII[finger]
        colour = camera.lit(looks.skin, shade * _FINGER_SHADES[finger])
        pieces = []
        for extra, tone in ((scale * rim, edge), (0.0, colour)):
            for bone in range(NUM_JOINTS - 1):
                start, end = joints[:, finger, bone], joints[:, finger, bone + 1]
                outline = capsule(start, end, radii[bone] + extra, radii[bone + 1] + extra)
                pieces.append(shape(outline, tone))
        parts.append(pieces)
    return parts


def _hand_order(poses: Poses, hand: int) -> NDArray[np.intp]:
    """(n, 6) parts of `hand_parts` from the farthest to the nearest."""
    fingers, axes = poses.fingers[:, hand], poses.palms[:, hand]
    palm = poses.wrists[:, hand, 2] + 0.27 * axes[:, 0, 2]
    depth = np.concatenate([palm[:, None], fingers[:, :, 1:, 2].mean(axis=2)], axis=1)
    return np.argsort(depth, axis=1, kind="stable")


def draw_frames(
    poses: Poses, signer: Signer, width: int, height: int, *, number: int = 0
) -> Iterator[Image]:
    """Draws a clip.

    Args:
        poses: joints from `motion` of the same signer.
        signer: whose looks, light and camera are drawn.
        width: of the picture; the person is scaled to fit any.
        height: of the picture.
        number: of this part of a longer clip; exposures differ by it.

    Yields:
        One RGB picture (height, width, 3) per pose, uint8, each an array of its own.
    """
    camera = Camera(width, height, signer.scene)
    background = camera.background()
    portrait = portrait_shapes(poses, signer, camera)
    arms = [_arm_shapes(poses, signer, camera, hand) for hand in (0, 1)]
    hands = [hand_parts(poses, signer, camera, hand) for hand in (0, 1)]
    orders = [_hand_order(poses, hand).tolist() for hand in (0, 1)]
    other_first = (poses.wrists[:, 0, 2] >= poses.wrists[:, 1, 2]).tolist()
    seeds = [signer.scene.texture_seed, len(poses), *([number] if number else [])]
    rng = np.random.default_rng(seeds)
    exposures = (1.0 + _FLICKER * rng.standard_normal(len(poses))).tolist()
    for frame in range(len(poses)):
        image = background.copy()
        for part in portrait:
            part.draw(image, frame)
        for hand in (1, 0) if other_first[frame] else (0, 1):
            for part in arms[hand]:
                part.draw(image, frame)
            for index in orders[hand][frame]:
                for piece in hands[hand][index]:
                    piece.draw(image, frame)
        yield np.asarray(cv2.convertScaleAbs(image, alpha=exposures[frame]), np.uint8)
