"""Pictures of the report: learning curves, film strips and heat maps, as `data:` addresses.

Nothing in them depends on the time or on the page's colours: they are drawn on a clear ground, in
colours that can be read on white and on black.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.inference.output import WordAttention

Points = tuple[tuple[float, float], ...]

ACCENT, SECOND, SOFT = "#2a9aa1", "#d0743a", "#808488"
NUM_SHADES = 8


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, its points (x, y) by rising x, and its colour."""

    name: str
    points: Points
    colour: str = ACCENT


@dataclass(frozen=True)
class Picture:
    """A picture as a `data:` address, and its content in words."""

    address: str
    text: str


def line_chart(lines: Sequence[Line], x_label: str) -> Picture | None:
    """Draw lines over one x axis; None: none of them has a point."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "unglossed",
        "font.family": "sans-serif",
        "text.color": SOFT,
        **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), SOFT),
    }
    with rc_context(settings):
        figure = Figure((4.8, 2.5), layout="constrained")
        axes = figure.add_subplot(xlabel=x_label)
        for line in drawn:
            axes.plot(*zip(*line.points, strict=True), ".-", label=line.name, color=line.colour)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        file = BytesIO()
        metadata = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    told = [f"{line.name}, {x_label} {x:g}: {y:.4g}" for line in drawn for x, y in line.points]
    return Picture(_address("svg+xml", file.getvalue()), "; ".join(told))


def thumbnails(frames: Sequence[NDArray[np.uint8]], num: int, height: int) -> list[str]:
    """Evenly spread frames as `data:` addresses of JPEG pictures.

    Args:
        frames: (height, width, 3) RGB each.
        num: how many to show; fewer where there are fewer frames.
        height: of a thumbnail, in pixels; smaller frames are not enlarged.
    """
    num = min(num, len(frames))
    chosen = [frames[int((index + 0.5) * len(frames) / num)] for index in range(num)]
    return [_jpeg(frame, height) for frame in chosen]


def _jpeg(frame: NDArray[np.uint8], height: int) -> str:
    scale = min(1.0, height / frame.shape[0])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    fine, data = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    assert fine
    return _address("jpeg", data.tobytes())


def heat_map(attention: Sequence[WordAttention]) -> str:
    """Words down, frames across, a pixel each; each row is scaled to its strongest frame.

    The more a word attended to a frame, the less of the ground shines through.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.image import imsave

    weights = np.array([word.weights for word in attention])
    highest = weights.max(1, keepdims=True)
    shades = np.round(NUM_SHADES * weights / np.where(highest > 0, highest, 1)) / NUM_SHADES
    colour = np.broadcast_to(to_rgb(ACCENT), (*shades.shape, 3))
    file = BytesIO()
    metadata: Any = {"Software": None}
    imsave(file, np.dstack([colour, shades]), format="png", metadata=metadata)
    return _address("png", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
