"""The outlines of head, face, neck and clothes of a signer, frame by frame.

Arms and hands, which lie over them, are outlined in `drawing`.
"""

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.camera import Camera, Shape, shape
from unglossed_synth.motion import Poses
from unglossed_synth.signer import Colour, Signer

FloatArray = NDArray[np.float64]

_HALF_HEIGHT = 0.5
_FACE_DEPTH = 0.42
_MOUTH_CENTRE = np.array([0.0, 0.55])
_DARK: Colour = (52.0, 24.0, 24.0)
_WHITE: Colour = (238.0, 236.0, 232.0)


def _ellipse(x: float, y: float, width: float, height: float, num_points: int = 14) -> FloatArray:
    turn = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return np.stack([x + width * np.cos(turn), y + height * np.sin(turn)], axis=-1)


class _Head:
    """Puts points of the face on the turning head, in half head widths and heights."""

    def __init__(self, poses: Poses, signer: Signer, camera: Camera) -> None:
        self.camera = camera
        self.half_width = signer.body.head_width / 2
        self.neck = signer.body.neck
        self.yaw, self.bow, self.tilt = np.moveaxis(poses.head, -1, 0)
        self.centre = np.stack(
            [
                1.25 * poses.lean[:, 0] + 0.3 * np.sin(self.tilt),
                poses.lean[:, 1] - self.neck - _HALF_HEIGHT + 0.12 * np.sin(self.bow),
                0.1 * np.ones(len(poses)),
            ],
            axis=-1,
        )

    def place(self, points: FloatArray, *, depth: float = _FACE_DEPTH) -> FloatArray:
        """(k, 2) or (n, k, 2) points on the face, (1, 1) at its corner, to (n, k, 2) pixels."""
        x, y = points[..., 0], points[..., 1]
        bulge = depth * np.sqrt(np.maximum(1.0 - 0.85 * (x * x + y * y) / 2, 0.05))
        return self._turn(x * self.half_width, y * _HALF_HEIGHT, bulge)

    def outline(self, points: FloatArray) -> FloatArray:
        """Like `place`, for what keeps its outline when the head turns."""
        x, y = points[..., 0] * self.half_width, points[..., 1] * _HALF_HEIGHT
        return self._project(x + 0.0 * self.yaw[:, None], y + 0.0 * self.yaw[:, None])

    def _turn(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        yaw, bow = self.yaw[:, None], self.bow[:, None]
        turned = x * np.cos(yaw) + z * np.sin(yaw)
        z = z * np.cos(yaw) - x * np.sin(yaw)
        return self._project(turned, y * np.cos(bow) + z * np.sin(bow))

    def _project(self, x: FloatArray, y: FloatArray) -> FloatArray:
        cos, sin = np.cos(self.tilt)[:, None], np.sin(self.tilt)[:, None]
        offset = np.stack([x * cos - y * sin, x * sin + y * cos, 0.0 * x], axis=-1)
        return self.camera.project(self.centre[:, None, :] + offset)


def _face_outline(cheeks: FloatArray) -> FloatArray:
    """(n, k, 2) outline of the face; full cheeks widen it, the jaw narrows it."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x, y = np.cos(turn), np.sin(turn)
    jaw = 1.0 - 0.17 * np.maximum(y, 0.0) ** 2
    puff = 0.13 * cheeks[:, None] * np.exp(-(((y - 0.45) / 0.28) ** 2))
    width = x * (jaw + puff)
    return np.stack([width, np.broadcast_to(y, width.shape)], axis=-1)


def _hair_behind(head: _Head, signer: Signer) -> list[Shape]:
    looks = signer.looks
    colour = head.camera.lit(looks.hair, 0.8)
    long = np.array(
        [[-1.05, -0.5], [1.05, -0.5], [1.28, 0.9], [1.2, 1.75], [-1.2, 1.75], [-1.28, 0.9]]
    )
    outlines = {
        "short": [_ellipse(0, -0.22, 1.05, 0.86)],
        "receding": [_ellipse(0, -0.05, 1.04, 0.66)],
        "bob": [_ellipse(0, 0.02, 1.2, 1.04), long * (0.95, 0.62)],
        "long": [_ellipse(0, -0.1, 1.16, 1.0), long],
        "bun": [_ellipse(0, -1.05, 0.42, 0.3), _ellipse(0, -0.2, 1.06, 0.9)],
    }
    return [shape(head.outline(points), colour) for points in outlines[looks.hair_style]]


def _hair_in_front(head: _Head, signer: Signer) -> list[Shape]:
    style = signer.looks.hair_style
    line = {"short": -0.62, "receding": -0.9, "bob": -0.5, "long": -0.6, "bun": -0.68}[style]
    turn = np.linspace(np.pi + 0.12, 2 * np.pi - 0.12, 15)
    crown = 1.04 if style in ("receding", "bun") else 1.1
    top = head.outline(crown * np.stack([np.cos(turn), np.sin(turn)], axis=-1))
    x = np.linspace(0.9, -0.9, 11)
    fringe = head.place(np.stack([x, line + 0.3 * x**2], axis=-1), depth=0.3)
    points = np.concatenate([top, fringe], axis=1)
    return [shape(points, head.camera.lit(signer.looks.hair), convex=False)]


def _opening(poses: Poses) -> FloatArray:
    """(n,) how far the eyes are open."""
    raised, drawn = np.maximum(poses.brows, 0.0), np.maximum(-poses.brows, 0.0)
    return np.asarray(np.clip(poses.eyes * (1.0 + 0.3 * raised - 0.35 * drawn), 0.08, 1.5))


def _brow(poses: Poses, side: float) -> FloatArray:
    """(n, 5, 2) middle line of a brow, from the nose outwards."""
    raised, drawn = np.maximum(poses.brows, 0.0), np.maximum(-poses.brows, 0.0)
    x = np.linspace(0.14, 0.68, 5)
    arch = -0.27 - 0.07 * np.sin(np.pi * (x - 0.14) / 0.54)
    inner = np.linspace(1.0, 0.0, 5)
    y = arch - 0.2 * raised[:, None] + drawn[:, None] * (0.05 + 0.15 * inner)
    return np.stack([side * (x - 0.06 * drawn[:, None] * inner), y], axis=-1)


def _eyes(head: _Head, poses: Poses, signer: Signer) -> list[Shape]:
    lit = head.camera.lit
    shapes = []
    looks = signer.looks
    brow_colour = lit((0.75 * looks.hair[0], 0.75 * looks.hair[1], 0.75 * looks.hair[2]))
    opening = _opening(poses)
    for side in (-1.0, 1.0):
        centre = np.array([0.42 * side, -0.06])
        white = np.broadcast_to(_ellipse(0, 0, 0.21, 0.095), (len(poses), 14, 2)).copy()
        white[..., 1] *= opening[:, None]
        shapes.append(shape(head.place(white + centre), lit(_WHITE)))
        iris = np.broadcast_to(_ellipse(0, 0, 0.105, 0.088, 10), (len(poses), 10, 2)).copy()
        iris[..., 1] *= np.minimum(opening, 1.1)[:, None]
        shapes.append(shape(head.place(iris + centre), lit(looks.iris, 0.55)))
        brow = _brow(poses, side)
        upper, lower = brow + np.array([0.0, -0.035]), (brow + np.array([0.0, 0.045]))[:, ::-1]
        points = head.place(np.concatenate([upper, lower], axis=1))
        shapes.append(shape(points, brow_colour, convex=False))
    return shapes


def _glasses(head: _Head, signer: Signer) -> list[Shape]:
    colour = head.camera.lit((105.0, 92.0, 84.0))
    shapes = []
    for side in (-1.0, 1.0):
        ring = np.concatenate(
            [
                _ellipse(0.42 * side, -0.04, 0.32, 0.2),
                _ellipse(0.42 * side, -0.04, 0.3, 0.182)[::-1],
            ]
        )
        # Outer and inner ring joined by a slit: an outline that fills as a rim.
        rim = np.concatenate([ring[:14], ring[:1], ring[-1:], ring[14:]])
        shapes.append(shape(head.place(rim), colour, convex=False))
    return shapes


def _mouth_rings(poses: Poses) -> tuple[FloatArray, FloatArray]:
    """Outlines of the lips and of the gap between them, (n, 16, 2) around the mouth's centre."""
    opened, wide, rounded, _ = np.moveaxis(poses.mouth, -1, 0)
    width = np.clip(0.34 + 0.12 * wide - 0.14 * rounded, 0.12, 0.5)
    inside = np.clip(0.13 * opened, 0.0, 0.2)
    ring = _ellipse(0, 0, 1, 1, 16)
    lips, gap = np.empty((len(poses), 16, 2)), np.empty((len(poses), 16, 2))
    for points, x, y in ((lips, width, inside + 0.055), (gap, 0.8 * width, inside + 0.008)):
        points[..., 0] = ring[:, 0] * x[:, None]
        points[..., 1] = ring[:, 1] * y[:, None]
        # Corners go up in a smile and down in a frown.
        points[..., 1] -= 0.05 * (wide * (1 - rounded))[:, None] * ring[:, 0] ** 2
    return lips, gap


def _mouth(head: _Head, poses: Poses, signer: Signer) -> list[Shape]:
    lips, gap = _mouth_rings(poses)
    lit, looks = head.camera.lit, signer.looks
    shapes = []
    hollow = np.maximum(-poses.mouth[:, 3], 0.0)
    if hollow.max() > 0.05:
        for side in (-1.0, 1.0):
            dent = _ellipse(0, 0, 0.2, 0.26) * hollow[:, None, None] + (0.66 * side, 0.42)
            shapes.append(shape(head.place(dent), lit(looks.skin, 0.72)))
    shapes.append(shape(head.place(lips + _MOUTH_CENTRE), lit(looks.lips), convex=False))
    shapes.append(shape(head.place(gap + _MOUTH_CENTRE), lit(_DARK), convex=False))
    return shapes


def _head_shapes(head: _Head, poses: Poses, signer: Signer) -> list[Shape]:
    looks, lit = signer.looks, head.camera.lit
    shapes = []
    for side in (-1.0, 1.0):
        ear = head.outline(_ellipse(0.99 * side, 0.05, 0.13, 0.2, 10))
        shapes.append(shape(ear, lit(looks.skin, 0.82)))
    face = head.outline(_face_outline(poses.mouth[:, 3]))
    shapes.append(shape(face, lit(looks.skin, 0.8)))
    away = -np.sign(signer.scene.light_side) if signer.scene.light_side else 1.0
    light = _face_outline(poses.mouth[:, 3]) * (0.93, 0.96) - (0.06 * away, 0.03)
    shapes.append(shape(head.outline(light), lit(looks.skin)))
    if looks.beard:
        x = np.linspace(-0.92, 0.92, 9)
        upper = np.stack([x, 0.62 - 0.42 * np.abs(x) ** 2 - 0.3 * (np.abs(x) < 0.5)], axis=-1)
        turn = np.linspace(0.25, np.pi - 0.25, 9)
        lower = np.stack([0.86 * np.cos(turn), 0.99 * np.sin(turn)], axis=-1)
        points = head.place(np.concatenate([upper, lower]))
        shapes.append(shape(points, lit(looks.hair, 0.95), convex=False))
    nose = np.array([[-0.03, -0.05], [0.03, -0.05], [0.13, 0.26], [0.0, 0.31], [-0.13, 0.26]])
    shapes.append(shape(head.place(nose, depth=0.5), lit(looks.skin, 0.86)))
    shapes += _eyes(head, poses, signer)
    if looks.glasses:
        shapes += _glasses(head, signer)
    shapes += _mouth(head, poses, signer)
    return [*shapes, *_hair_in_front(head, signer)]


def _torso_shapes(poses: Poses, signer: Signer, camera: Camera) -> list[Shape]:
    body, looks = signer.body, signer.looks
    num_frames = len(poses)

    def place(points: FloatArray) -> FloatArray:
        # The hips stay where they are: what is higher up leans further.
        share = np.clip(1.0 - points[..., 1] / 2.8, 0.0, 1.0)
        flat = points + share[..., None] * poses.lean[:, None, :]
        return camera.project(np.concatenate([flat, 0.0 * flat[..., :1]], axis=-1))

    shoulder = poses.shoulders[..., 1].mean(axis=1) - poses.lean[:, 1]
    right = np.array(
        [
            [0.22, -0.06],
            [0.42, 0.0],
            [body.shoulders - 0.12, -0.13],
            [body.shoulders + 0.06, -0.09],
            [body.shoulders + 0.15, 0.06],
            [body.shoulders + 0.08, 0.55],
            [body.waist + 0.02, 1.3],
            [body.waist, 2.0],
            [body.waist + 0.1, 3.2],
        ]
    )
    half = np.broadcast_to(right, (num_frames, *right.shape)).copy()
    half[:, 2:5, 1] += shoulder[:, None]
    trunk = np.concatenate([half, (half * (-1.0, 1.0))[:, ::-1]], axis=1)
    neck = np.array([[-0.21, -0.5], [0.21, -0.5], [0.25, 0.05], [-0.25, 0.05]])
    turn = np.linspace(0, np.pi, 9)
    neckline = np.stack([0.3 * np.cos(turn), looks.collar * np.sin(turn)], axis=-1)
    collar = np.concatenate([neckline, [[-0.24, -0.1], [0.24, -0.1]]])
    away = -1.0 if signer.scene.light_side > 0 else 1.0
    shaded = np.array(
        [
            [0.45, 0.3],
            [body.shoulders + 0.08, 0.55],
            [body.waist + 0.02, 1.3],
            [body.waist + 0.1, 3.2],
            [0.5, 3.2],
        ]
    )
    return [
        shape(place(trunk), camera.lit(looks.clothes), convex=False),
        shape(place(shaded * (away, 1.0)), camera.lit(looks.clothes, 0.9)),
        shape(place(collar), camera.lit(looks.skin, 0.84)),
        shape(place(neck), camera.lit(looks.skin, 0.78)),
    ]


def face_points(poses: Poses, signer: Signer, camera: Camera) -> dict[str, FloatArray]:
    """Pixels of points of the face: (n, k, 2) each.

    Returns:
        `nose`: its tip. `mouth`: 8 points around the lips from the signer's left corner over the
        lower lip, and 4 around the gap. `face`: of the signer's left side, then of the right one,
        3 points of the brow from the nose outwards, and of the eye the inner and outer corner, the
        upper and the lower lid; last the chin.
    """
    head, count = _Head(poses, signer, camera), len(poses)
    lips, gap = _mouth_rings(poses)
    opening = _opening(poses)
    face = []
    for side in (1.0, -1.0):  # the signer's left is the viewer's right
        eye = np.array([[-0.21 * side, 0.0], [0.21 * side, 0.0], [0.0, -0.095], [0.0, 0.095]])
        eye = np.broadcast_to(eye, (count, 4, 2)).copy()
        eye[..., 1] *= opening[:, None]
        face += [_brow(poses, side)[:, ::2], eye + np.array([0.42 * side, -0.06])]
    mouth = np.concatenate([lips[:, ::2], gap[:, ::4]], axis=1) + _MOUTH_CENTRE
    return {
        "nose": head.place(np.array([[0.0, 0.31]]), depth=0.5),
        "mouth": head.place(mouth),
        "face": np.concatenate(
            [head.place(np.concatenate(face, axis=1)), head.outline(np.array([[0.0, 1.0]]))], axis=1
        ),
    }


def head_shapes(poses: Poses, signer: Signer, camera: Camera) -> list[Shape]:
    """Face, ears and the hair before them, from back to front."""
    return _head_shapes(_Head(poses, signer, camera), poses, signer)


def portrait_shapes(poses: Poses, signer: Signer, camera: Camera) -> list[Shape]:
    """Everything but the arms, from back to front."""
    head = _Head(poses, signer, camera)
    return [
        *_hair_behind(head, signer),
        *_torso_shapes(poses, signer, camera),
        *_head_shapes(head, poses, signer),
    ]
