"""Figures as SVG: norms while training (FLa-LLM, Figure 2), and scores as curves.

The same numbers give the same bytes; text stays text, so that a browser can search it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from unglossed.files import whole_file

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "unglossed",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
# Okabe and Ito's colours, which the colour-blind tell apart as well.
_PARTS = {
    "encoder": ("encoder, last layer", "#0072b2"),
    "language_model": ("language model, last layer", "#d55e00"),
}
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
_PANELS = (
    ("gradient", "gradient norm"),
    ("parameters", "parameter norm"),
    ("change", "change since the start"),
)
_NUM_WINDOWS = 40


@dataclass(frozen=True)
class StageNorms:
    """Norms of one stage of one run.

    Attributes:
        name: of the stage.
        rows: of its `norms.jsonl`.
    """

    name: str
    rows: Sequence[Mapping[str, float]]

    @property
    def epochs(self) -> float:
        """Length of the stage, as far as it was measured."""
        return max((row["epoch"] for row in self.rows), default=0.0)


def draw_norms(path: Path, systems: Mapping[str, Sequence[Sequence[StageNorms]]]) -> None:
    """Draw gradient norm, parameter norm and change of the last layers over epochs.

    The change is relative to the parameters at the start of the stage. One row of panels a system.
    A line is the mean over runs of the means of short windows, the band goes from the lowest to the
    highest run.

    Args:
        path: the file to write.
        systems: by name, for each run (seed) its stages in their order.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11.0, 0.9 + 2.6 * len(systems)), layout="constrained")
        grid = figure.subplots(len(systems), len(_PANELS), sharey="col", squeeze=False)
        for axes_row, (system, runs) in zip(grid, systems.items(), strict=True):
            for axes, (quantity, label) in zip(axes_row, _PANELS, strict=True):
                _draw_panel(axes, runs, quantity)
                axes.set_title(f"{system}: {label}", fontsize=10)
                axes.set_xlabel("epoch")
                axes.grid(axis="y", color="#dddddd")
                if quantity == "gradient":
                    axes.set_yscale("log")
        _mark_decades(grid[0][0])
        handles = {
            label: line
            for axes in grid.flat
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside upper center", ncols=2, frameon=False)
        _save(figure, path)


def _mark_decades(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis, as many as have room."""
    low, high = axes.get_ylim()
    between = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=between))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_panel(axes: Axes, runs: Sequence[Sequence[StageNorms]], quantity: str) -> None:
    start = 0.0
    for number, stages in enumerate(zip(*runs, strict=True)):
        length = math.ceil(max(stage.epochs for stage in stages) - 1e-6)
        for part, (label, colour) in _PARTS.items():
            curves = [windows(stage, f"{part}_{quantity}", length) for stage in stages]
            if not all(len(x) for x, _ in curves):
                continue
            x = start + curves[0][0]
            values = np.stack([y for _, y in curves])
            axes.plot(x, values.mean(0), color=colour, linewidth=1.6, label=label)
            if len(curves) > 1:
                axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        if len(runs[0]) > 1:
            top = axes.get_xaxis_transform()
            axes.text(start, 1.0, f" {stages[0].name}", transform=top, fontsize=7.5, va="top")
        if number:
            axes.axvline(start, color="#777777", linewidth=0.8, linestyle="--")
        start += length
    axes.set_xlim(0, max(start, 1))


def windows(
    stage: StageNorms, key: str, epochs: float, num_windows: int = _NUM_WINDOWS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of a quantity over short windows of a stage; a window without a row is left out.

    Args:
        stage: its rows.
        key: of a row, as `encoder_gradient`.
        epochs: length that is cut into windows.
        num_windows: how many.

    Returns:
        Middle of each window in epochs, and its mean; both empty when nothing has the key.
    """
    found = [(row["epoch"], row[key]) for row in stage.rows if key in row]
    if not found:
        return np.empty(0), np.empty(0)
    at, values = np.array(found, np.float64).T
    # A row's epoch is its step's end, so the last step of a window lies on its border.
    place = np.ceil(at / epochs * num_windows - 1e-6).astype(int) - 1
    counts = np.bincount(place, minlength=num_windows)
    sums = np.bincount(place, weights=values, minlength=num_windows)
    filled = counts > 0
    middles = (np.arange(num_windows) + 0.5) * epochs / num_windows
    return middles[filled], sums[filled] / counts[filled]


@dataclass(frozen=True)
class Curve:
    """A line of a figure: its name, and for each place the scores of all seeds."""

    label: str
    points: Sequence[tuple[float, Sequence[float]]]


def draw_curves(path: Path, curves: Sequence[Curve], x_label: str, y_label: str) -> None:
    """Draw scores over a quantity (FLa-LLM, Figure 4): a line through means, a dot for each seed.

    Args:
        path: the file to write.
        curves: the lines, each from left to right.
        x_label: of the axis below.
        y_label: of the other one.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axes = figure.add_subplot(xlabel=x_label, ylabel=y_label)
        for number, curve in enumerate(curves):
            colour = _COLOURS[number % len(_COLOURS)]
            places = [x for x, _ in curve.points]
            means = [np.mean(values) for _, values in curve.points]
            axes.plot(places, means, "-", color=colour, linewidth=1.6, label=curve.label)
            for x, values in curve.points:
                axes.plot([x] * len(values), values, "o", color=colour, markersize=4, clip_on=False)
        axes.set_xticks(sorted({x for curve in curves for x, _ in curve.points}))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#dddddd")
        figure.legend(loc="outside upper center", ncols=len(curves), frameon=False)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
