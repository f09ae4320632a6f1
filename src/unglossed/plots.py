"""All drawings: histograms of a corpus as SVG files, and a report's pictures as `data:` addresses.

The same numbers give the same bytes; text stays text, so that a browser can search it. A report's
pictures are drawn on a clear ground, in colours that can be read on white and on black.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from unglossed.files import whole_file

if TYPE_CHECKING:
    from unglossed.evaluation.reliability import Reliability
    from unglossed.inference.output import WordAttention

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "unglossed",
    "text.parse_math": False,  # a dollar sign in a name begins no formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
ACCENT, SECOND, SOFT = "#2a9aa1", "#d0743a", "#808488"
_SOFT_KEYS = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_ON_ANY_GROUND: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unglossed",
    "font.family": "sans-serif",
    **dict.fromkeys(_SOFT_KEYS, SOFT),
}
_NO_DATE: Any = {"Date": None, "Creator": None}
_NO_SOFTWARE: Any = {"Software": None}
# Okabe and Ito's colours, which the colour-blind tell apart as well.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
_NUM_BINS = 40
_MOST_SIGNERS = 30
_TOP_QUANTILE = 0.995

NUM_SHADES = 8
Points = tuple[tuple[float, float], ...]


def draw_histograms(
    folder: Path,
    seconds: Mapping[str, NDArray[np.float64]],
    num_words: Mapping[str, NDArray[np.int64]],
    signers: Mapping[str, Counter[str]],
) -> None:
    """Write `words_per_sentence.svg` and, if known, `clip_seconds.svg`, `samples_per_signer.svg`.

    Args:
        folder: Where to; it is made if it is not there.
        seconds: Length of each clip, by split.
        num_words: Words of each sentence, by split.
        signers: Clips of each signer, by split.
    """
    known = {split: found for split, found in seconds.items() if found.size}
    with matplotlib.rc_context(_STYLE):
        if known:
            figure, axes = _figure("length of a clip (seconds)", "share of the split's clips (%)")
            top, more = _top(known)
            _draw_shares(axes, known, np.linspace(0, top, _NUM_BINS + 1), more)
            _save(figure, folder / "clip_seconds.svg")

        figure, axes = _figure("words in a sentence", "share of the split's sentences (%)")
        top, more = _top(num_words)
        step = max(1, round(top / _NUM_BINS))
        _draw_shares(axes, num_words, np.arange(0, top + 2 * step, step) - 0.5, more)
        _save(figure, folder / "words_per_sentence.svg")

        if any(signers.values()):
            figure, axes = _figure("samples", "signer")
            num_bars = _draw_signers(axes, signers)
            figure.set_figheight(1.4 + 0.26 * max(num_bars, 4))
            _save(figure, folder / "samples_per_signer.svg")


def _top(
    values: Mapping[str, NDArray[np.float64]] | Mapping[str, NDArray[np.int64]],
) -> tuple[float, bool]:
    """Where the axis ends, and whether a few clips are much longer and left to the last bar."""
    together = np.concatenate(list(values.values()))
    top, most = float(np.quantile(together, _TOP_QUANTILE)), float(together.max())
    return (top, True) if 0 < 1.5 * top < most else (max(most, 1e-3), False)


def _draw_shares(
    axes: Axes,
    values: Mapping[str, NDArray[np.float64]] | Mapping[str, NDArray[np.int64]],
    edges: NDArray[np.float64],
    more: bool,
) -> None:
    """Outline each split's shares, so that a small split is seen beside a large one."""
    for number, (split, found) in enumerate(values.items()):
        shares = np.histogram(np.minimum(found, edges[-1]), edges)[0] * (100 / len(found))
        colour = _COLOURS[number % len(_COLOURS)]
        axes.stairs(shares, edges, color=colour, linewidth=1.6, label=f"{split} ({len(found):,})")
    if more:
        axes.set_xlabel(f"{axes.get_xlabel()}; the last bar holds all longer ones")
    axes.set_xlim(max(0.0, float(edges[0])), float(edges[-1]))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd")


def _draw_signers(axes: Axes, signers: Mapping[str, Counter[str]]) -> int:
    """One bar a signer, its splits one after another in it; returns how many bars there are."""
    total: Counter[str] = Counter()
    for counts in signers.values():
        total.update(counts)
    names = sorted(sorted(total), key=lambda name: -total[name])[:_MOST_SIGNERS]
    if len(names) == len(total):
        names = sorted(names)
    else:
        axes.set_ylabel(f"the {len(names)} of {len(total):,} signers with the most samples")
    left = np.zeros(len(names))
    for number, (split, counts) in enumerate(signers.items()):
        widths = np.array([counts[name] for name in names], np.float64)
        if widths.any():
            colour = _COLOURS[number % len(_COLOURS)]
            axes.barh(range(len(names)), widths, left=left, color=colour, label=split)
        left += widths
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#dddddd")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return len(names)


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    with whole_file(path) as partial:
        figure.savefig(partial, format="svg", metadata=_NO_DATE)


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
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    with matplotlib.rc_context(_ON_ANY_GROUND):
        figure = Figure((4.8, 2.5), layout="constrained")
        axes = figure.add_subplot(xlabel=x_label)
        for line in drawn:
            axes.plot(*zip(*line.points, strict=True), ".-", label=line.name, color=line.colour)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        file = BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_DATE)
    told = [f"{line.name}, {x_label} {x:g}: {y:.4g}" for line in drawn for x, y in line.points]
    return Picture(_address("svg+xml", file.getvalue()), "; ".join(told))


def draw_reliability(path: Path, found: Reliability) -> None:
    """Write a reliability diagram, and risk against coverage beside it, as SVG."""
    with whole_file(path) as partial:
        partial.write_bytes(_reliability(found))


def reliability_chart(found: Reliability) -> Picture:
    """The same for a report."""
    told = [f"confidence {sure:.2f}: {right:.2f} good of {n}" for sure, right, n in found.bins]
    kept = f"coverage {found.kept.mean():.3f} at the threshold {found.threshold:.2f}"
    return Picture(_address("svg+xml", _reliability(found)), "; ".join([*told, kept]))


def _reliability(found: Reliability) -> bytes:
    with matplotlib.rc_context(_ON_ANY_GROUND):
        figure = Figure((8.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        sure, share, counts = (np.array(one) for one in zip(*found.bins, strict=True))
        left.plot([0, 1], [0, 1], "--", color=SOFT, label="as it should be")
        left.plot(sure, share, "-", color=ACCENT, label="sentences, by their number")
        left.scatter(sure, share, 10 + 190 * counts / counts.max(), color=ACCENT)
        left.axvline(found.threshold, color=SECOND, label="threshold")
        left.set(xlabel="confidence", ylabel=f"share with a chrF of {found.least_chrf:g} or more")
        coverage, risk = zip(*found.risk_coverage, strict=True)
        right.plot(coverage, risk, color=ACCENT)
        right.axvline(float(found.kept.mean()), color=SECOND, label="at the threshold")
        right.set(xlabel="share of sentences given (coverage)", ylabel="share not good (risk)")
        for axes in (left, right):
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=8)
        file = BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_DATE)
    return file.getvalue()


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
    weights = np.array([word.weights for word in attention])
    highest = weights.max(1, keepdims=True)
    shades = np.round(NUM_SHADES * weights / np.where(highest > 0, highest, 1)) / NUM_SHADES
    colour = np.broadcast_to(to_rgb(ACCENT), (*shades.shape, 3))
    file = BytesIO()
    imsave(file, np.dstack([colour, shades]), format="png", metadata=_NO_SOFTWARE)
    return _address("png", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
