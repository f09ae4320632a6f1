"""From kept frames to the square view that the image backbone sees, and what is drawn for it.

Every geometric change of a clip is one affine map, the same for all its frames, so that each frame
is interpolated once. Clips are never mirrored, as signs are handed. Draws depend on nothing but
(seed, epoch, sample id): worker processes, batch order and a resumed run never change them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
_SHIFT_REFERENCE = 256
_ALIASING_SHRINK = 1.5


@dataclass(frozen=True)
class AugmentationConfig:
    """How far a training clip may be moved: each change is drawn once for the whole clip.

    The defaults are those of the code that FLa-LLM builds on (GFSLT-VLP).

    Attributes:
        probability: Chance of each of the three changes, in 0..1.
        rotation_degrees: Largest rotation either way about the picture's centre.
        resize_fraction: Largest change of scale: 0.2 draws a factor from 0.8 to 1.2.
        shift_pixels: Largest shift along each axis, in pixels of a picture 256 wide.
        colour: Largest change of brightness, contrast and tint: 0.3 draws gains from 0.7 to 1.3.
            Not in FLa-LLM; it helps where training has few signers and backgrounds.
    """

    probability: float = 0.5
    rotation_degrees: float = 30.0
    resize_fraction: float = 0.2
    shift_pixels: float = 10.0
    colour: float = 0.0


def render_view(
    frames: Frames | Sequence[Frames],
    resize: int,
    crop: int,
    augmentation: AugmentationConfig | None = None,
    generator: np.random.Generator | None = None,
) -> Frames:
    """Resize a clip to a square and crop it; in training also rotate, zoom, shift and colour it.

    The aspect ratio is not kept (as in GFSLT-VLP's code). Rotation happens in the clip's own
    proportions, before it is squeezed into the square, so that hands stay rigid. Pictures which
    shrink by more than 1.5 are first averaged down, because thin fingers would break up otherwise.

    Args:
        frames: (n, height, width, 3) uint8.
        resize: Side of the square before cropping, in pixels.
        crop: Side of the view, at most `resize`.
        augmentation: What training may change; None changes nothing.
        generator: Draws augmentation and crop in training. None, for evaluation: a centre crop
            without augmentation.

    Returns:
        (n, crop, crop, 3) uint8.
    """
    assert 0 < crop <= resize, (crop, resize)
    height, width = frames[0].shape[:2]
    spare = resize - crop
    if generator is None:
        left = top = spare // 2
        move = colours = None
    else:
        left, top = (int(value) for value in generator.integers(0, spare + 1, size=2))
        move = _draw_move(augmentation, height, width, generator) if augmentation else None
        colours = _draw_colours(augmentation, generator) if augmentation else None

    view = np.empty((len(frames), crop, crop, 3), np.uint8)
    shrink = max(height, width) / resize > _ALIASING_SHRINK
    if move is None:
        method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        for index, frame in enumerate(frames):
            square = cv2.resize(frame, (resize, resize), interpolation=method)
            view[index] = square[top : top + crop, left : left + crop]
        return view if colours is None else _recolour(view, colours)

    squeeze = np.diag([resize / width, resize / height, 1.0])
    cut = _translation(-left, -top)
    # What has been averaged down is already square: the move must happen in squeezed proportions.
    matrix = cut @ squeeze @ move @ (np.linalg.inv(squeeze) if shrink else np.eye(3))
    # Given the way back, OpenCV need not invert the map once more for every frame. It counts from
    # pixel centres, the maps above from the picture's corner: hence the half pixels.
    inverse = (_translation(-0.5, -0.5) @ np.linalg.inv(matrix) @ _translation(0.5, 0.5))[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # With a fourth channel, which is thrown away, OpenCV takes two thirds of the time.
    moved = np.empty((crop, crop, 4), np.uint8)
    for index, frame in enumerate(frames):
        if shrink:
            frame = cv2.resize(frame, (resize, resize), interpolation=cv2.INTER_AREA)
        four = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
        # Border pixels are repeated: a studio's plain wall goes on, and no black wedge appears.
        cv2.warpAffine(four, inverse, (crop, crop), moved, flags, borderMode=cv2.BORDER_REPLICATE)
        cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, view[index])
    return view if colours is None else _recolour(view, colours)


def _draw_move(
    config: AugmentationConfig, height: int, width: int, generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """Draw rotation, zoom and shift in the clip's own pixels; None when none of them happens."""
    # All numbers are drawn whether used or not: one change never shifts another's draw.
    happens = generator.random(3) < config.probability
    amounts = generator.uniform(-1.0, 1.0, 4)
    if not happens.any():
        return None
    angle = np.deg2rad(config.rotation_degrees * amounts[0]) if happens[0] else 0.0
    scale = 1.0 + config.resize_fraction * amounts[1] if happens[1] else 1.0
    shift = config.shift_pixels * amounts[2:] if happens[2] else np.zeros(2)
    turn = np.eye(3)
    turn[0, :2] = scale * np.cos(angle), -scale * np.sin(angle)
    turn[1, :2] = scale * np.sin(angle), scale * np.cos(angle)
    shift_x, shift_y = shift * (width, height) / _SHIFT_REFERENCE
    centre_x, centre_y = width / 2, height / 2
    return (
        _translation(centre_x + shift_x, centre_y + shift_y)
        @ turn
        @ _translation(-centre_x, -centre_y)
    )


def _draw_colours(
    config: AugmentationConfig, generator: np.random.Generator
) -> NDArray[np.uint8] | None:
    """Draw a table (1, 256, 3) from old to new values a channel; None when nothing changes."""
    if not config.colour:
        return None
    happens = generator.random() < config.probability
    contrast, brightness, *tint = config.colour * generator.uniform(-1.0, 1.0, 5)
    if not happens:
        return None
    values = (np.arange(256.0) - 128) * (1 + contrast) + 128 * (1 + brightness)
    table = values[:, None] * (1 + np.array(tint) / 2)  # (256, 3)
    return np.clip(table, 0, 255).astype(np.uint8)[None]


def _recolour(view: Frames, table: NDArray[np.uint8]) -> Frames:
    flat = view.reshape(-1, view.shape[2], 3)  # OpenCV takes one picture: all frames as one
    return np.asarray(cv2.LUT(flat, table), np.uint8).reshape(view.shape)


def _translation(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def generator_for(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Make the generator for every draw that concerns one sample in one epoch.

    Equal arguments give equal draws on every machine: they are hashed with BLAKE2b, as Python's own
    `hash` of a string differs between processes.
    """
    key = f"{seed}/{epoch}/{sample_id}".encode()
    digest = hashlib.blake2b(key, digest_size=16).digest()
    # PCG64 by name: `default_rng` is free to change its bit generator in a later numpy.
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
