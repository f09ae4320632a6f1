"""From points in front of a camera to pixels: projection, outlines of limbs, background, light.

What the points belong to is `drawing`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed_synth.signer import Colour, Scene

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]
Image = NDArray[np.uint8]

# OpenCV takes fixed-point coordinates: this many bits behind the point.
SUBPIXEL_BITS = 4
_TOP = 1.5
_FRAME_HEIGHT = 4.0
_FRAME_WIDTH = 3.23
_PERSPECTIVE = 0.06
_ROUND_POINTS = 6


@dataclass(frozen=True)
class Camera:
    """A camera that sees head to waist in a picture of any size."""

    width: int
    height: int
    scene: Scene

    @property
    def scale(self) -> float:
        """Pixels to a head height at the distance of the body."""
        fit = min(self.height / _FRAME_HEIGHT, self.width / _FRAME_WIDTH)
        return fit * self.scene.zoom

    def project(self, points: FloatArray) -> FloatArray:
        """Turns (..., 3) points in head heights into (..., 2) pixels."""
        closer = 1.0 + _PERSPECTIVE * points[..., 2:]
        middle = np.array([0.0, _FRAME_HEIGHT / 2 - _TOP])
        flat = closer * (points[..., :2] - middle) + np.array(self.scene.shift)
        cos, sin = np.cos(self.scene.roll), np.sin(self.scene.roll)
        turned = flat @ np.array([[cos, sin], [-sin, cos]])
        return np.asarray(self.scale * turned + np.array([self.width, self.height]) / 2)

    def lit(self, colour: Colour, shade: float | FloatArray = 1.0) -> FloatArray:
        """Colour under this scene's light, (3,) or (n, 3) for n shades, 0 to 255."""
        light = np.array(colour) * self.scene.gain * np.array(self.scene.tint)
        return np.asarray(np.clip(np.asarray(shade)[..., None] * light, 0, 255))

    def background(self) -> Image:
        """Draws the empty picture (height, width, 3): a wall with a fall-off of light."""
        rng = np.random.default_rng(self.scene.texture_seed)
        across = np.linspace(-1, 1, self.width)[None, :] * self.scene.gradient[0]
        down = np.linspace(-1, 1, self.height)[:, None] * self.scene.gradient[1]
        blotches = rng.standard_normal((9, 7)) * 0.02 * self.scene.texture
        wall = cv2.resize(blotches, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        # Soft blotches only: writing grain to PNG would take longer than drawing the person.
        shade = 1.0 + across + down + np.asarray(wall)
        lit = self.lit(self.scene.background, shade)
        return lit.clip(0, 255).astype(np.uint8)


def fixed_point(points: FloatArray) -> IntArray:
    """Pixels to OpenCV's fixed-point numbers; keeps far-off points within its range."""
    scale = 1 << SUBPIXEL_BITS
    # OpenCV puts whole numbers at pixel centres.
    return np.rint(np.clip((points - 0.5) * scale, -(2**20), 2**20)).astype(np.int32)


def capsule(
    start: FloatArray, end: FloatArray, start_radius: float, end_radius: float
) -> FloatArray:
    """Outlines a tapered limb with round ends.

    Args:
        start: (..., 2) pixels.
        end: (..., 2) pixels.
        start_radius: in pixels.
        end_radius: in pixels.

    Returns:
        (..., 12, 2) corners of a convex polygon.
    """
    way = end - start
    heading = np.arctan2(way[..., 1], way[..., 0])[..., None]
    half = np.linspace(-np.pi / 2, np.pi / 2, _ROUND_POINTS)
    front, back = heading + half, heading + half + np.pi
    tip = end[..., None, :] + end_radius * np.stack([np.cos(front), np.sin(front)], axis=-1)
    tail = start[..., None, :] + start_radius * np.stack([np.cos(back), np.sin(back)], axis=-1)
    return np.concatenate([tip, tail], axis=-2)


def circles(centres: FloatArray, radius: float, num_points: int = 8) -> FloatArray:
    """Puts (..., k, 2) centres in circles of `num_points` points: (..., k * num_points, 2)."""
    turn = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    ring = radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    points = centres[..., None, :] + ring
    return points.reshape(*centres.shape[:-2], -1, 2)


@dataclass(frozen=True)
class Shape:
    """A filled outline that moves: n frames, each with a colour.

    Attributes:
        points: (n, k, 2) fixed-point corners, or n arrays (k_i, 2).
        colours: n RGB triples.
        convex: whether every outline is convex, which OpenCV fills faster.
    """

    points: IntArray | Sequence[IntArray]
    colours: Sequence[tuple[float, ...]]
    convex: bool = True

    def draw(self, image: Image, frame: int) -> None:
        """Fills the outline of one frame into an image."""
        if self.convex:
            cv2.fillConvexPoly(
                image, self.points[frame], self.colours[frame], cv2.LINE_AA, SUBPIXEL_BITS
            )
        else:
            cv2.fillPoly(
                image, [self.points[frame]], self.colours[frame], cv2.LINE_AA, SUBPIXEL_BITS
            )


def shape(
    points: FloatArray, colours: FloatArray, *, convex: bool = True, hull: bool = False
) -> Shape:
    """Makes a shape of (n, k, 2) pixels and (3,) or (n, 3) colours; `hull` wraps the points."""
    fixed = fixed_point(points)
    per_frame = np.broadcast_to(colours, (len(fixed), 3)).tolist()
    if hull:
        wrapped = [np.asarray(cv2.convexHull(corners), np.int32) for corners in fixed]
        return Shape(wrapped, per_frame)
    return Shape(fixed, per_frame, convex)
