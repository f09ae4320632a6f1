"""Times of clips against the lengths of their media, of a recipe, and against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.faults import Fault, FaultKind, Faults
from unglossed.corpora.sample import Sample
from unglossed.media.frames import FRAME_RATE

_HALF_FRAME = 0.5 / FRAME_RATE
_TINY = 1e-6


@dataclass(frozen=True)
class Limits:
    """Lengths that clips and texts should have; others are reported."""

    min_seconds: float = 0.0
    max_seconds: float = math.inf
    max_characters: float = math.inf


def check_lengths(samples: Sequence[Sample], faults: Faults, limits: Limits) -> None:
    """Compare the times of clips with the limits and one another; no medium is looked at."""
    check_times(samples, np.full((len(samples), 2), np.nan), limits, faults)


def check_times(
    samples: Sequence[Sample], spans: NDArray[np.float64], limits: Limits, faults: Faults
) -> NDArray[np.float64]:
    """Compare the clips' times with the lengths of their media, the limits, and one another.

    Args:
        samples: The clips.
        spans: Begin and end of each clip's medium in seconds, NaN where not known: (clips, 2).
        limits: Lengths that clips should have.
        faults: Where faults go.

    Returns:
        The clips' own lengths in seconds, NaN where not known: (clips,).
    """
    begins, durations = spans.T
    starts = np.array([sample.start_seconds for sample in samples], np.float64)  # None becomes NaN
    starts = np.nan_to_num(np.fmax(starts, begins))
    ends = np.array([sample.end_seconds for sample in samples], np.float64)  # None becomes NaN
    outside = starts >= durations
    stops = np.fmin(ends, durations)
    lengths = np.where(outside, np.nan, stops - starts)

    def past(verb: str, times: NDArray[np.float64]) -> Callable[[int], str]:
        return lambda index: (
            f"{verb} at {tell_seconds(times[index])}, but {samples[index].media.name} is only"
            f" {tell_seconds(durations[index])} long"
        )

    def long(expected: str, limit: float) -> Callable[[int], str]:
        return lambda index: (
            f"{tell_seconds(lengths[index])} long, expected at {expected} {tell_seconds(limit)}"
        )

    is_past = (ends > durations + _HALF_FRAME) & ~outside
    is_short, is_long = lengths < limits.min_seconds - _TINY, lengths > limits.max_seconds + _TINY
    for kind, where, told in (
        (FaultKind.BAD_TIMES, outside, past("begins", starts)),
        (FaultKind.PAST_END, is_past, past("ends", ends)),
        (FaultKind.TOO_SHORT, is_short, long("least", limits.min_seconds)),
        (FaultKind.TOO_LONG, is_long, long("most", limits.max_seconds)),
    ):
        for index in np.flatnonzero(where).tolist():
            faults.add(Fault(kind, place_of_clip(samples[index]), told(index)))
    boxes, media = (_numbered(row.box for row in samples), _numbered(row.media for row in samples))
    keys = (boxes, np.nan_to_num(stops, nan=-1.0).round(3), starts.round(3), media)
    languages = _numbered(row.language for row in samples)
    twice = dict(_repeated((languages, *keys)))
    for index, first in _repeated(keys):  # in other languages a clip may come again in its split
        if samples[index].split != samples[first].split:
            twice.setdefault(index, first)
    for index, first in sorted(twice.items()):
        found = f"its media and times are also those of {name_clip(samples[first])}"
        faults.add(Fault(FaultKind.SAME_CLIP, place_of_clip(samples[index]), found))
    return lengths


def _numbered(values: Iterable[object]) -> NDArray[np.int64]:
    """The same number for equal values."""
    numbers: dict[object, int] = {}
    return np.fromiter((numbers.setdefault(one, len(numbers)) for one in values), np.int64)


def _repeated(keys: Sequence[NDArray[np.generic]]) -> list[tuple[int, int]]:
    """The places at which all keys are as at an earlier place, and the first such place."""
    order = np.lexsort(keys)
    equal = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        equal &= key[order][1:] == key[order][:-1]
    firsts: dict[int, int] = {}
    for place in np.flatnonzero(equal).tolist():
        earlier, later = int(order[place]), int(order[place + 1])
        firsts[later] = firsts.get(earlier, earlier)
    return sorted(firsts.items())


def name_clip(sample: Sample) -> str:
    """How messages call a clip."""
    return f"{sample.split} clip {sample.id!r}"


def place_of_clip(sample: Sample) -> str:
    """Where a clip lies, and its id: what leads to its row with one search."""
    return f"{sample.media}, {name_clip(sample)}"


def tell_seconds(value: float) -> str:
    """Seconds as messages say them."""
    return f"{value:.2f} s"
