"""One self-contained page about a run: scores, learning curves, time, and what was translated how.

The page loads nothing: pictures lie in it as data, charts as SVG. It measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from unglossed.evaluation.metrics import Scores, format_score
from unglossed.evaluation.plots import (
    Line,
    Points,
    heat_map,
    line_chart,
    marked,
    meter,
    thumbnails,
)
from unglossed.files import write_text
from unglossed.inference.output import WordAttention

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
        frames: Kept frames, or pictures of sound, (height, width, 3) RGB each, over all of its
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


def write_report(output: Path, data: ReportData) -> None:
    """Write the page to the file `output`, whole or not at all."""
    write_text(output, render_report(data))


def render_report(data: ReportData) -> str:
    """The page as text: XHTML that needs no other file."""
    sections = [
        f'<p class="lead">{escape(data.summary)}</p>',
        _scores(data.scores),
        _curves(data.curves),
        _held_out(data.held_out, data.language),
        _clips(data.clips, data.language),
        _times(data.times),
        _notes(data.notes),
    ]
    shown = [card for card in (data.held_out, *data.clips) if card is not None and len(card.frames)]
    height, width = shown[0].frames[0].shape[:2] if shown else (1, 1)
    template = files("unglossed.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(data.title),
        aspect=f"{width} / {height}",
        body="\n".join(filter(None, sections)),
    )


def _scores(rows: Sequence[ScoreRow]) -> str:
    if not rows:
        return ""
    with_slots = any(row.slot_f1 is not None for row in rows)
    heads = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "chrF", "ROUGE-L"]
    head = '<th>System</th><th class="name">Split</th>'
    head += "".join(f"<th>{name}</th>" for name in [*heads, *(["slot F1"] if with_slots else [])])
    head += '<th class="name">BLEU-4</th>'
    best = max([1e-9, *(row.scores.bleu4 or 0.0 for row in rows)])
    body = "".join(_score_row(row, with_slots, best) for row in rows)
    settings = sorted({row.scores.settings for row in rows})
    return (
        "<h2>Scores</h2>"
        '<div class="card"><div class="scroll"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div></div>"
        '<p class="hint">Against the references of the corpus. Rows in italics are yardsticks, not'
        f" systems. sacreBLEU: {escape('; '.join(settings))}. ROUGE-L is the one of COCO captioning"
        " (F with beta 1.2, mean over sentences).</p>"
    )


def _score_row(row: ScoreRow, with_slots: bool, best: float) -> str:
    scores = row.scores
    cells = [f"<td>{escape(row.system)}</td>", f'<td class="name">{escape(row.split)}</td>']
    cells += [f"<td>{format_score(value)}</td>" for value in scores.bleu[:3]]
    cells.append(f'<td class="main">{format_score(scores.bleu4)}</td>')
    cells += [f"<td>{value:.2f}</td>" for value in (scores.chrf, scores.rouge_l)]
    if with_slots:
        cells.append(f"<td>{'–' if row.slot_f1 is None else f'{row.slot_f1:.3f}'}</td>")
    cells.append(f'<td class="bar">{meter((scores.bleu4 or 0.0) / best)}</td>')
    kind = ' class="yardstick"' if row.yardstick else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _curves(curves: Sequence[StageCurve]) -> str:
    if not curves:
        return ""
    cards = []
    for curve in curves:
        losses = [Line("train", curve.train_loss, "b"), Line("dev", curve.dev_loss, "a")]
        figures = [f"<figcaption>Loss</figcaption>{line_chart(losses, 'epoch')}"]
        if curve.dev_bleu4:
            best = max(curve.dev_bleu4, key=lambda point: point[1])
            caption = f"BLEU-4 on dev, best {best[1]:.2f} at epoch {best[0]:g}"
            chart = line_chart([Line("dev", curve.dev_bleu4, "a")], "epoch")
            figures.append(f"<figcaption>{caption}</figcaption>{chart}")
        pair = "".join(f"<figure>{figure}</figure>" for figure in figures)
        cards.append(
            f'<div class="card"><h3>{escape(curve.name)}</h3><div class="pair">{pair}</div></div>'
        )
    return "<h2>Learning curves</h2>" + "".join(cards)


def _held_out(card: ClipCard | None, language: str) -> str:
    if card is None:
        return ""
    return "<h2>A clip that is in no split</h2>" + _clip(card, language)


def _clips(cards: Sequence[ClipCard], language: str) -> str:
    if not cards:
        return ""
    return (
        "<h2>Test clips</h2>"
        '<p class="hint">Marked: words that the other text does not have in this place.'
        " Below the pictures, one row a word: the stronger the colour, the more the word attended"
        " to that time; each row is scaled to its own strongest place.</p>"
        + "".join(_clip(card, language) for card in cards)
    )


def _clip(card: ClipCard, language: str) -> str:
    told = [card.size] if card.size else []
    if card.seconds is not None:
        told.insert(0, f"{card.seconds:.1f} s")
    if card.score is not None:
        told.append(f"score {card.score:.2f}")
    if card.reference is None:
        says = f"<dt>Hypothesis</dt><dd>{escape(card.hypothesis)}</dd>"
    else:
        says = (
            f"<dt>Reference</dt><dd>{marked(card.reference, card.hypothesis, language)}</dd>"
            f"<dt>Hypothesis</dt><dd>{marked(card.hypothesis, card.reference, language)}</dd>"
        )
    return (
        f'<div class="card clip"><h3>{escape(card.title)}<span>{", ".join(told)}</span></h3>'
        f'<dl class="says" lang="{escape(language)}">{says}</dl>{_look(card)}</div>'
    )


def _look(card: ClipCard) -> str:
    """Film strip, heat map and time axis on one common width, so that frame lies below frame."""
    if not len(card.frames):
        return ""
    pictures = "".join(
        f'<img alt="" src="{address}"/>'
        for address in thumbnails(card.frames, NUM_THUMBNAILS, THUMBNAIL_HEIGHT)
    )
    parts = [f'<div class="strip">{pictures}</div>']
    if card.attention:
        words = "".join(f"<span>{escape(word.word)}</span>" for word in card.attention)
        parts.append(f'<div class="words">{words}</div>')
        parts.append(f'<div class="heat">{heat_map(card.attention)}</div>')
    if card.seconds is not None:
        parts.append(f'<div class="axis"><span>0 s</span><span>{card.seconds:.1f} s</span></div>')
    return f'<div class="look">{"".join(parts)}</div>'


def _times(rows: Sequence[TimeRow]) -> str:
    if not rows:
        return ""
    total = sum(row.seconds for row in rows)
    longest = max(max(row.seconds for row in rows), 1e-9)
    body = "".join(
        f"<tr><td>{escape(row.step)}</td><td>{row.seconds:.1f} s</td>"
        f'<td class="bar">{meter(row.seconds / longest)}</td></tr>'
        for row in rows
    )
    return (
        f"<h2>Where the time went: {total / 60:.1f} minutes</h2>"
        f'<div class="card"><table><tbody>{body}</tbody></table></div>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<h2>Notes</h2><div class="card"><ul>{items}</ul></div>'
