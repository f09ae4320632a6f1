"""The page of results that `gpu.py` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAMES = {"visual_initialing": "stage 1", "llm_fine_tuning": "stage 2"}


@dataclass(frozen=True)
class Pair:
    """A step of ours against one of a plain loop.

    Attributes:
        baseline_seconds: Median of the plain loop.
        seconds: Median of ours.
        ratio: How many times as fast ours is, median over pairs.
        apart: Difference of the losses of the first step, as a share.
    """

    baseline_seconds: float
    seconds: float
    ratio: float
    apart: float


@dataclass(frozen=True)
class Stage:
    """A stage as it was trained.

    Attributes:
        seconds: Of a step, reading, logging and all.
        peak_gigabytes: Memory of the GPU that tensors had at most; 0 where there is none.
        waited: Share of the time that waited for data, 0..1.
    """

    seconds: float
    peak_gigabytes: float
    waited: float


@dataclass(frozen=True)
class Measured:
    """All that is on the page; `steps` and `stages` are by the stage's name."""

    card: str
    driver: str
    torch: str
    date: str
    command: str
    precision: str
    tests: str
    matmul_flops: float
    cnn_frames: float
    frame_flops: float
    steps: Mapping[str, Pair]
    stages: Mapping[str, Stage]
    epochs: Mapping[str, int]
    batches: Mapping[str, int]
    train_clips: int
    kept_frames: float
    cores: int

    def hours(self, name: str) -> float:
        """Hours of all epochs of a stage on PHOENIX14T, without scores on dev."""
        steps = -(-self.train_clips // self.batches[name]) * self.epochs[name]
        return steps * self.stages[name].seconds / 3600


def page(found: Measured) -> str:
    """The page, in Markdown."""
    first = found.stages["visual_initialing"]
    rate = found.batches["visual_initialing"] * found.kept_frames / first.seconds
    alone, within = (
        frames * found.frame_flops / found.matmul_flops for frames in (found.cnn_frames, rate)
    )
    lines = [
        "# FLa-LLM at full size on a GPU",
        "",
        f"{found.card}, driver {found.driver}, torch {found.torch}, {found.cores} CPU cores,"
        f" {found.precision}; {found.date}.",
        "",
        "```sh",
        found.command,
        "```",
        "",
        "Random weights, and a stand-in of PHOENIX14T, made by"
        " [`stand_in.py`](../../benchmarks/stand_in.py):",
        "times are those of the real ones, scores mean nothing. Pictures are read from memory, not",
        "from a disk.",
        "",
        f"Tests marked `gpu`: {found.tests}.",
        "",
        "## Training, as `unglossed train` does it",
        "",
        "| | a step | clips a step | GPU memory | waits for data | all epochs of PHOENIX14T |",
        "|---|---|---|---|---|---|",
    ]
    for name, stage in found.stages.items():
        memory = f"{stage.peak_gigabytes:.1f} GB" if stage.peak_gigabytes else "-"
        lines.append(
            f"| {NAMES[name]}, `{name}` | {1000 * stage.seconds:.1f} ms | {found.batches[name]} |"
            f" {memory} | {stage.waited:.0%} | {found.epochs[name]} epochs: {found.hours(name):.1f}"
            " hours |"
        )
    hours = sum(map(found.hours, found.stages))
    lines += [
        "",
        f"Together {hours:.1f} hours, without storing features and scores on dev. A step is the"
        " median over",
        "epochs after the first.",
        "",
        f"- Stage 1 trains {rate:,.0f} frames/s: {within:.0%} in the CNN of what matrix products"
        " reach on this",
        f"  card, {found.matmul_flops / 1e12:.1f} TFLOP/s in {found.precision}.",
        f"- The CNN alone, forward and backward: {found.cnn_frames:,.0f} frames/s, {alone:.0%} of"
        " it.",
        "",
        "## A step against a plain loop of the same model",
        "",
        "Batches that lie in memory already, nothing dropped out, the two in turns, medians. Clips"
        " are of",
        "unequal length, and the plain loop of stage 1 normalises their padding as well.",
        "",
        "| | plain | ours | ours is | first losses apart |",
        "|---|---|---|---|---|",
    ]
    for name, pair in found.steps.items():
        lines.append(
            f"| {NAMES[name]} | {1000 * pair.baseline_seconds:.1f} ms |"
            f" {1000 * pair.seconds:.1f} ms | {pair.ratio:.2f} times as fast | {pair.apart:.1e} |"
        )
    return "\n".join(lines) + "\n"
