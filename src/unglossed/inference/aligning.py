"""Given subtitles laid onto the signing that they belong to, by one search over a recording.

Subtitles of a broadcast come early or late, and stay for as long as reading takes. Where signing is
was found; which part of it a subtitle belongs to is what costs least in all: being moved, being
stretched, gaps within it, less what the model finds alike. The costs are those of SEA ("segment,
embed, align"), with its weights of duration, gap and similarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.corpora.segments import Segment
from unglossed.files import find_path
from unglossed.inference.context import find_rows
from unglossed.inference.cutting import MotionCutter
from unglossed.inference.search import text_scores
from unglossed.inference.sentences import Progress, SentenceTranslator
from unglossed.inference.spans import Span
from unglossed.inference.translator import SignTranslator
from unglossed.inference.windows import Plain, kept_rate, kept_seconds, read_blocks
from unglossed.media.signal import Clip, WholeFile
from unglossed.models.context import pad_rows
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import pad_features, pad_labels

DURATION, GAP, SIMILARITY = 1.0, 5.0, 10.0
"""Weights of a second of other length, of a second between the parts of one subtitle, and of a part
that is sure to be of the subtitle's text."""
UNPLACED = 8.0
"""What it costs, in seconds, to leave a subtitle without signing."""
NEAREST = 50
"""Parts of signing that are looked at for a subtitle."""
LAGS = [step / 2 for step in range(-8, 21)]
"""Seconds by which subtitles may be late: 4 early to 10 late."""
MOST_PARTS = 8
"""Of one subtitle."""
SHARPNESS = 0.3
"""By what the mean log-probabilities of the texts near a part are divided before their softmax."""
LONGEST_SECONDS = 10.0
"""Of a part that is found without a model."""
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Placed:
    """A subtitle where its signing is.

    Attributes:
        segment: With its new times, or its old ones moved by the lag of all.
        is_placed: Whether signing was found for it.
    """

    segment: Segment
    is_placed: bool


def align(
    cues: Sequence[Segment],
    signing: Sequence[tuple[float, float]],
    similarity: NDArray[np.float64] | None = None,
) -> list[Placed]:
    """Lay subtitles onto signing.

    How late all subtitles are is found first: the lag in `LAGS` with which they cost least, then
    the median of what they are moved by beside it.

    Args:
        cues: subtitles in the order of time.
        signing: begin and end of each part, in the order of time.
        similarity: (cues, parts) in 0..1, how likely a part is of a cue's text; None: not known.

    Returns:
        The subtitles in their order, each where its signing is.
    """
    if not cues:
        return []
    parts = np.array(signing, np.float64).reshape(-1, 2)
    alike = np.zeros((len(cues), len(parts))) if similarity is None else similarity
    known = np.array([(cue.start_seconds, cue.end_seconds) for cue in cues])
    lag = min(LAGS, key=lambda one: (_search(known - one, parts, alike)[1], abs(one)))
    spans, _ = _search(known - lag, parts, alike)
    moved = [
        start - parts[span[0], 0]
        for start, span in zip(known[:, 0], spans, strict=True)
        if span is not None
    ]
    if moved:
        lag = float(np.median(moved))
        spans, _ = _search(known - lag, parts, alike)
    times = known - lag
    placed = []
    for cue, (start, end), span in zip(cues, times.tolist(), spans, strict=True):
        if span is not None:
            start, end = float(parts[span[0], 0]), float(parts[span[1] - 1, 1])
        start = max(0.0, start)
        placed.append(Placed(Segment(start, max(end, start + 0.1), cue.text), span is not None))
    return placed


def _search(
    times: NDArray[np.float64], parts: NDArray[np.float64], alike: NDArray[np.float64]
) -> tuple[list[tuple[int, int] | None], float]:
    """For each cue the first of its parts and the one behind its last, and what all of it costs.

    None: a cue has none. `best[j]` is the least cost of the cues so far with parts before j alone.
    """
    count = len(parts)
    middles = parts.mean(axis=1) if count else np.zeros(0)
    best = np.zeros(count + 1)
    choices: list[NDArray[np.int32]] = []
    for (start, end), row in zip(times, alike, strict=True):
        cost = best + UNPLACED
        choice = np.full(count + 1, -1, np.int32)
        near = np.argsort(np.abs(middles - (start + end) / 2), kind="stable")[:NEAREST]
        low, high = (int(near.min()), int(near.max()) + 1) if len(near) else (0, 0)
        likely = np.concatenate([[0.0], np.cumsum(row)])
        for last in range(low + 1, high + 1):
            gaps = 0.0
            for first in range(last - 1, max(low, last - MOST_PARTS) - 1, -1):
                if first < last - 1:
                    gaps += max(0.0, parts[first + 1, 0] - parts[first, 1])
                begin, stop = parts[first, 0], parts[last - 1, 1]
                own = abs(begin - start) + abs(stop - end)
                own += DURATION * abs((stop - begin) - (end - start)) + GAP * gaps
                own -= SIMILARITY * (likely[last] - likely[first])
                if best[first] + own < cost[last]:
                    cost[last], choice[last] = best[first] + own, first
        least = np.minimum.accumulate(cost)  # what costs less with fewer parts stays so with more
        choice[1:][least[:-1] <= cost[1:]] = -2
        choices.append(choice)
        best = least
    spans: list[tuple[int, int] | None] = []
    place = count
    for choice in reversed(choices):
        while choice[place] == -2:
            place -= 1
        first = int(choice[place])
        spans.append(None if first == -1 else (first, place))
        place = place if first == -1 else first
    return spans[::-1], float(best[count])


def align_media(
    media: Path,
    cues: Sequence[Segment],
    sentences: SentenceTranslator | None = None,
    *,
    progress: Progress | None = None,
) -> list[Placed]:
    """Lay the subtitles of a video onto the signing in it.

    Args:
        media: the video.
        cues: its subtitles in the order of time.
        sentences: finds the signing, and what is alike; None: by motion, and nothing is known of
            what is alike.
        progress: is told how far the reading is.

    Raises:
        InputError: the video cannot be read, or the model reads no video.
    """
    clip = WholeFile(find_path(media))
    if not cues:
        return []
    if sentences is None:
        spans = list(find_motion(clip, progress))
        return align(cues, spans)
    found = list(sentences.find_sentences(clip, progress=progress))
    spans = [(one.start, one.end) for one in found]
    alike = similarities(sentences.translator, [one.features for one in found], spans, cues)
    return align(cues, spans, alike)


def find_motion(clip: Clip, progress: Progress | None = None) -> Iterator[tuple[float, float]]:
    """Begin and end of each stretch of a video in which hands move; no model is needed."""
    form = Plain()
    rate = kept_rate(form)
    cutter = MotionCutter(rate, LONGEST_SECONDS)
    due = kept_seconds(clip, form)

    def told(spans: Sequence[Span]) -> Iterator[tuple[float, float]]:
        for first, end in spans:
            yield float(due[first]), float(due[end - 1] + 1 / rate)

    for block in read_blocks(clip, form):
        yield from told(cutter.push(block.views, None))
        if progress is not None:
            progress(float(block.seconds[-1]), float(due[-1]))
    yield from told(cutter.finish())


@torch.no_grad()
def similarities(
    translator: SignTranslator,
    features: Sequence[Tensor],
    signing: Sequence[tuple[float, float]],
    cues: Sequence[Segment],
    *,
    nearest: int = 10,
) -> NDArray[np.float64]:
    """How likely each part of signing is of each subtitle's text, by the model: (cues, parts).

    The model scores the texts of the subtitles that are nearest in time, for each part; those
    scores become shares that sum to 1. All others are 0.

    Args:
        translator: its model scores the texts.
        features: of each part, (time, dim).
        signing: begin and end of each part.
        cues: the subtitles.
        nearest: subtitles that are scored for a part.
    """
    model, processor = translator.model, translator.processor
    found = np.zeros((len(cues), len(features)))
    middles = np.array([(cue.start_seconds + cue.end_seconds) / 2 for cue in cues])
    texts = processor.encode_texts([cue.text for cue in cues])
    near = [
        np.argsort(np.abs(middles - sum(part) / 2), kind="stable")[:nearest] for part in signing
    ]
    pairs = [(part, int(cue)) for part, rows in enumerate(near) for cue in rows]
    scores: dict[tuple[int, int], float] = {}
    rows_beside = find_rows(model, processor, features)
    kind = next(model.adapter.parameters()).dtype
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        group = pairs[start : start + _ROWS_AT_ONCE]
        batch, mask = pad_features([features[part] for part, _ in group])
        tokens = pad_labels([texts[cue] for _, cue in group]).to(model.device)
        pad = processor.tokenizer.pad_token_id
        tokens = tokens.masked_fill(tokens == IGNORED, pad)
        read = batch.to(model.device, kind), mask.to(model.device)
        beside = None
        if rows_beside is not None:
            beside = pad_rows([rows_beside[part] for part, _ in group]).to(model.device)
        values = text_scores(model, *read, tokens, beside)
        scores |= dict(zip(group, values.tolist(), strict=True))
    for part, rows in enumerate(near):
        own = np.array([scores[part, int(cue)] for cue in rows]) / SHARPNESS
        shares = np.exp(own - own.max())
        found[rows, part] = shares / shares.sum()
    return found
