"""One self-contained page about a run: scores, learning curves, time, and what was translated how.

The page loads nothing: all pictures are in it as data. It measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from unglossed.evaluation.metrics import Scores, format_score
from unglossed.evaluation.reliability import Reliability
from unglossed.files import write_text
from unglossed.inference.output import UNSPACED_LANGUAGES, WordAttention
from unglossed.plots import (
    SECOND,
    Line,
    Picture,
    Points,
    heat_map,
    line_chart,
    reliability_chart,
    thumbnails,
)

NUM_THUMBNAILS = 8
THUMBNAIL_HEIGHT = 150


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one system on one split.

    `slot_f1` is in 0..1. A `yardstick` is no system of the run but something to compare with: the
    ceiling, shuffled videos, a text-only model.
    """

    system: str
    split: str
    scores: Scores
    slot_f1: float | None = None
    yardstick: bool = False


@dataclass(frozen=True)
class StageCurve:
    """Learning curves of one stage: points (epoch, value), empty where nothing was measured."""

    name: str
    train_loss: Points
    dev_loss: Points = ()
    dev_bleu4: Points = ()

    @classmethod
    def from_metrics(cls, name: str, rows: Sequence[Mapping[str, float]]) -> StageCurve:
        """Curves out of the rows of a stage's `metrics.jsonl`."""

        def points(key: str) -> Points:
            return tuple((row["epoch"], row[key]) for row in rows if row.get(key) is not None)

        return cls(name, points("loss"), points("eval_loss"), points("eval_bleu4"))


@dataclass(frozen=True)
class TimeRow:
    """A step of the run and the seconds that it took."""

    step: str
    seconds: float


@dataclass(frozen=True, eq=False)
class ClipCard:
    """A clip and its translation.

    Attributes:
        title: Name of the clip.
        frames: Kept frames, or spectrograms of audio, (height, width, 3) RGB each, over all of its
            time; some are shown.
        reference: What it should say; None where nobody knows.
        hypothesis: What the model said.
        score: The hypothesis' own score.
        attention: Words with weights over the clip's time.
        seconds: Length of the clip.
        size: How much the model read of it, such as "20 frames kept".
    """

    title: str
    frames: Sequence[NDArray[np.uint8]]
    reference: str | None
    hypothesis: str
    score: float | None = None
    attention: Sequence[WordAttention] | None = None
    seconds: float | None = None
    size: str = ""


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that the report shows, in the order in which it shows it.

    Attributes:
        title: Of the page.
        summary: What was run, in a sentence or two.
        language: Of the texts, a code such as `de`.
        scores: One row a system and split.
        curves: One entry a stage.
        times: One row a step.
        held_out: A clip outside of all splits.
        clips: Clips of a test split.
        notes: Remarks, one paragraph each.
        reliability: Of the system's confidence on a test split, where it is calibrated.
    """

    title: str
    summary: str
    language: str
    scores: Sequence[ScoreRow]
    curves: Sequence[StageCurve] = ()
    times: Sequence[TimeRow] = ()
    held_out: ClipCard | None = None
    clips: Sequence[ClipCard] = ()
    notes: Sequence[str] = ()
    reliability: Reliability | None = None


def write_report(output: Path, data: ReportData) -> None:
    """Write the page to the file `output`, whole or not at all."""
    write_text(output, render_report(data))


def render_report(data: ReportData) -> str:
    """The page as text: XHTML that needs no other file."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"score": format_score, "marked": marked, "heat_map": heat_map}
    shown = [card for card in (data.held_out, *data.clips) if card is not None and len(card.frames)]
    height, width = shown[0].frames[0].shape[:2] if shown else (1, 1)
    template = files("unglossed.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        data=data,
        aspect=f"{width} / {height}",
        with_slots=any(row.slot_f1 is not None for row in data.scores),
        best=max([1e-9, *(row.scores.bleu4 or 0.0 for row in data.scores)]),
        settings="; ".join(sorted({row.scores.settings for row in data.scores})),
        charts=[_charts(curve) for curve in data.curves],
        reliability=None if data.reliability is None else reliability_chart(data.reliability),
        thumbnails=lambda frames: thumbnails(frames, NUM_THUMBNAILS, THUMBNAIL_HEIGHT),
    )


def _charts(curve: StageCurve) -> Iterator[tuple[str, Picture | None]]:
    """The charts of a stage with their captions."""
    losses = [Line("train", curve.train_loss, SECOND), Line("dev", curve.dev_loss)]
    yield "Loss", line_chart(losses, "epoch")
    if curve.dev_bleu4:
        epoch, best = max(curve.dev_bleu4, key=lambda point: point[1])
        caption = f"BLEU-4 on dev, best {best:.2f} at epoch {epoch:g}"
        yield caption, line_chart([Line("dev", curve.dev_bleu4)], "epoch")


def marked(text: str, other: str, language: str) -> Markup:
    """A text with the words (Chinese: characters) marked that the other lacks in this order."""
    joint = "" if language in UNSPACED_LANGUAGES else " "
    words, others = (list(text), list(other)) if not joint else (text.split(), other.split())
    shared: set[int] = set()
    for block in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
        shared.update(range(block.a, block.a + block.size))
    return Markup(joint).join(
        word if index in shared else Markup("<mark>{}</mark>").format(word)
        for index, word in enumerate(words)
    )
