"""Pieces of HTML for the report: line charts, bars, film strips and heat maps.

Everything is text or an image inside the text; colours come from the page's style sheet, so that
light and dark both work. Each function escapes what it is given.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.inference.output import UNSPACED_LANGUAGES, WordAttention

Points = tuple[tuple[float, float], ...]

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 66, 14, 34
NUM_SHADES = 8


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, its points (x, y) by rising x, and its colour `a` or `b`."""

    name: str
    points: Points
    colour: str


def line_chart(lines: Sequence[Line], x_label: str) -> str:
    """A chart with one y axis, the name of each line at its end, and values as tooltips.

    Lines without points are left out; with none at all the chart says so.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return '<p class="hint">not measured</p>'
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    x_low, x_high = min(0.0, min(xs)), max(max(xs), 1.0)
    y_ticks = axis_ticks(min(0.0, min(ys)), max(ys), 5)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in axis_ticks(x_low, x_high, 6):
        if tick <= x_high:
            x, _ = place(tick, y_low)
            parts.append(f'<text x="{x}" y="{HEIGHT - 19}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
    )
    names = _spread([place(*line.points[-1])[1] for line in drawn])
    for line, name_y in zip(drawn, names, strict=True):
        places = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<g class="{line.colour}"><polyline points="{path}"/>')
        for (x, y), (at, value) in zip(places, line.points, strict=True):
            told = escape(f"{line.name}, {x_label} {at:g}: {value:.4g}")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3"><title>{told}</title></circle>')
        end = places[-1][0] + 8
        parts.append(f'<text class="end" x="{end}" y="{name_y + 4}">{escape(line.name)}</text></g>')
    return "".join([*parts, "</svg>"])


def axis_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values, at most about `most`, that begin at or below `low` and reach `high`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * size for size in (1, 2, 5, 10) if power * size * most >= span)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _spread(heights: Sequence[float], distance: float = 14.0) -> list[float]:
    """Move labels apart that would lie on one another, downwards in their order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = list(heights)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    return moved


def meter(share: float) -> str:
    """A bar filled to a share of 0..1."""
    return f'<span class="meter"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'


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
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def heat_map(attention: Sequence[WordAttention]) -> str:
    """Words down, frames across; the strongest colour of a row is where its word looked most.

    Cells of one shade share one path, which keeps a report of many clips small.
    """
    num_frames = len(attention[0].weights)
    shades: dict[int, list[str]] = {}
    for row, word in enumerate(attention):
        highest = max(word.weights) or 1.0
        for column, weight in enumerate(word.weights):
            shade = round(NUM_SHADES * weight / highest)
            if shade:
                shades.setdefault(shade, []).append(f"M{column} {row}h1v1h-1z")
    paths = "".join(
        f'<path fill-opacity="{shade / NUM_SHADES:g}" d="{"".join(cells)}"/>'
        for shade, cells in sorted(shades.items())
    )
    return (
        f'<svg viewBox="0 0 {num_frames} {len(attention)}" preserveAspectRatio="none" role="img">'
        f"{paths}</svg>"
    )


def marked(text: str, other: str, language: str) -> str:
    """A text with the words (Chinese: characters) marked that the other lacks in this order."""
    joint = "" if language in UNSPACED_LANGUAGES else " "
    words, others = (list(text), list(other)) if not joint else (text.split(), other.split())
    shared: set[int] = set()
    for block in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
        shared.update(range(block.a, block.a + block.size))
    return joint.join(
        escape(word) if index in shared else f"<mark>{escape(word)}</mark>"
        for index, word in enumerate(words)
    )
