"""Sentences of a talk: stretches of speech between pauses, by the loudness of its audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unglossed.errors import InputError
from unglossed.inference.spans import SpanFinder
from unglossed.media.audio import read_audio

RATE = 16000
STEP_SECONDS = 0.02
"""Of which the loudness is one number."""
WINDOW_SECONDS = 60.0
"""Of audio that is held in memory."""
PAUSE_SECONDS = 0.35
LONGEST_SECONDS = 15.0
"""Of a stretch without a pause, behind which it is cut where it is the quietest."""
_DECIBELS_ABOVE = 12.0
_DECIBELS_BELOW = 30.0
_QUIETEST = -70.0  # decibels below full scale: less is silence, whatever lies around it
_MEMORY = 3000  # steps: a minute
_MARGIN_STEPS = 5


def find_pauses(
    media: Path,
    begin: float,
    end: float,
    *,
    longest: float = LONGEST_SECONDS,
) -> Iterator[tuple[float, float]]:
    """Begin and end, in seconds, of what is said between pauses.

    Loud is what lies 12 dB above the quiet tenth of the last minute, or within 30 dB of its loudest
    twentieth, whichever is less; never what is below -70 dB of full scale.

    Args:
        media: an audio file, or a video with audio.
        begin: where to begin, in seconds.
        end: where to end.
        longest: seconds of a stretch at most.

    Raises:
        InputError: the media cannot be read.
    """
    finder = SpanFinder(
        STEP_SECONDS, pause=PAUSE_SECONDS, shortest=0.15, longest=longest - 2 * _margin()
    )
    levels: deque[float] = deque(maxlen=_MEMORY)
    size = round(STEP_SECONDS * RATE)
    start = begin

    before = begin

    def told(span: tuple[int, int]) -> tuple[float, float]:
        nonlocal before
        first, last = (begin + place * STEP_SECONDS for place in span)
        found = max(before, first - _margin()), min(end, last + _margin())
        before = found[1]
        return found

    while start < end:
        stop = min(start + WINDOW_SECONDS, end)
        try:
            audio = read_audio(media, RATE, start, stop)
        except InputError:
            if stop < end or start == begin:
                raise
            break  # headers say a little more than there is
        rows = audio[: len(audio) // size * size].reshape(-1, size)
        power = np.square(rows, dtype=np.float64).mean(axis=1)
        found = 10 * np.log10(np.maximum(power, 1e-12))
        levels.extend(found.tolist())
        if not levels:
            break
        quiet, loud = np.percentile(np.fromiter(levels, float), (10, 95))
        threshold = max(min(quiet + _DECIBELS_ABOVE, loud - _DECIBELS_BELOW / 2), _QUIETEST)
        for level in found.tolist():
            inside = 1 / (1 + 10 ** ((threshold - level) / 10))
            yield from map(told, finder.push(inside))
        start = stop
    yield from map(told, finder.finish())


def _margin() -> float:
    return _MARGIN_STEPS * STEP_SECONDS
