"""Checks a copy of a corpus before an hour of training is lost: one pass, all faults.

The reader reports what is wrong with rows; here come texts, media, times, and what splits share.
Nothing is changed on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.check_media import Look, look_at_media
from unglossed.corpora.check_report import Report
from unglossed.corpora.check_text import find_mojibake, find_odd_text, may_be_damaged
from unglossed.corpora.faults import Fault, FaultKind, Faults
from unglossed.corpora.packed import verify_shards
from unglossed.corpora.registry import find_reader
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.media.video import FRAME_RATE

_MOST_NAMES = 5
_MOST_GAPS = 5
_MOST_MISSING = 1000  # `MediaFacts` lists no more
# An end less than half a frame past the media's end cuts nothing.
_HALF_FRAME = 0.5 / FRAME_RATE
_TINY = 1e-6


@dataclass(frozen=True)
class Limits:
    """Lengths that a user wants clips and texts to have.

    Attributes:
        min_seconds: Shorter clips are reported.
        max_seconds: Longer clips are reported.
        max_characters: Longer texts are reported; None: any length is fine.
    """

    min_seconds: float = 0.0
    max_seconds: float = math.inf
    max_characters: int | None = None


def check_corpus(
    spec: str,
    *,
    deep: bool = False,
    limits: Limits | None = None,
    num_workers: int | None = None,
    max_examples: int = 5,
    progress: bool = False,
) -> Report:
    """Find every fault of a corpus.

    Args:
        spec: As in `read_corpus`.
        deep: Decode every file as well, from begin to end.
        limits: Lengths that clips should have; None: any.
        num_workers: Processes that look at media; None for one per core.
        max_examples: Faults of each kind that the report names.
        progress: Show a bar on standard error.

    Returns:
        All faults. A corpus whose structure cannot be read is one of them.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path.
    """
    faults = Faults(max_examples)
    read = find_reader(spec, faults)
    try:
        corpus = read()
    except InputError as error:
        where, colon, text = str(error).partition(": ")
        if not colon:
            where, text = spec, where
        faults.add(Fault(FaultKind.UNREADABLE, where, text))
        return Report(spec, faults, {}, 0, deep)
    limits = limits or Limits()
    samples = [sample for rows in corpus.splits.values() for sample in rows]
    _check_texts(samples, limits, faults)
    _check_splits(corpus, faults)
    numbers: dict[Path, int] = {}
    medium_of = np.fromiter(
        (numbers.setdefault(sample.media, len(numbers)) for sample in samples),
        np.int64,
        len(samples),
    )
    media = list(numbers)
    looks = look_at_media(media, deep=deep, num_workers=num_workers, progress=progress)
    _check_media(media, looks, faults)
    _check_clips(samples, medium_of, looks, limits, faults)
    if deep and corpus.name == "packed":
        for fault in verify_shards(corpus.root):
            faults.add(fault)
    num_samples = {name: len(rows) for name, rows in corpus.splits.items()}
    return Report(spec, faults, num_samples, len(media), deep)


def _check_texts(samples: Sequence[Sample], limits: Limits, faults: Faults) -> None:
    most = limits.max_characters or math.inf
    for sample in samples:
        text = sample.text
        damage = find_mojibake(text) if may_be_damaged(text) else None
        if damage:
            kind = FaultKind.MOJIBAKE if damage[1] else FaultKind.ODD_TEXT
            faults.add(Fault(kind, _name(sample), damage[0]))
        oddity = find_odd_text(text)
        if oddity:
            faults.add(Fault(FaultKind.ODD_TEXT, _name(sample), oddity))
        if len(text) > most:
            found = f"found {len(text)} characters, expected at most {most}"
            faults.add(Fault(FaultKind.TOO_LONG, _name(sample), found))


def _check_splits(corpus: Corpus, faults: Faults) -> None:
    """Note which sentences and which signers two splits have in common."""
    texts = {name: {row.text for row in rows} for name, rows in corpus.splits.items()}
    signers = {
        name: {row.signer for row in rows if row.signer} for name, rows in corpus.splits.items()
    }
    for first, second in combinations(corpus.splits, 2):
        where = f"{second} and {first}"
        shared = texts[second] & texts[first]
        if shared:
            found = (
                f"{len(shared):,} of {len(texts[second]):,} distinct {second} sentences also occur"
                f" in {first}, such as {_cut(min(shared))!r}"
            )
            faults.add(Fault(FaultKind.SHARED_SENTENCE, where, found))
        names = sorted(signers[second] & signers[first])
        if names:
            shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
            found = (
                f"{len(names):,} of {len(signers[second]):,} {second} signers also sign in"
                f" {first}: {shown}"
            )
            faults.add(Fault(FaultKind.SHARED_SIGNER, where, found))


def _check_media(media: Sequence[Path], looks: Sequence[Look], faults: Faults) -> None:
    is_video = any(look.facts is not None and look.facts.kind != "audio" for look in looks)
    for path, look in zip(media, looks, strict=True):
        if look.kind is not None:
            faults.add(Fault(look.kind, str(path), look.text))
        elif is_video and look.facts is not None and look.facts.kind == "audio":
            found = "found sound alone, expected pictures as the other clips have"
            faults.add(Fault(FaultKind.UNREADABLE_MEDIA, str(path), found))
        if look.facts is not None and look.facts.missing_frames:
            missing = look.facts.missing_frames
            ranges = list(_ranges(missing))
            shown = ", ".join(ranges[:_MOST_GAPS]) + (", …" if len(ranges) > _MOST_GAPS else "")
            more = " or more" if len(missing) == _MOST_MISSING else ""
            found = f"{len(missing):,}{more} of the numbers are missing: {shown}"
            faults.add(Fault(FaultKind.FRAME_GAP, str(path), found))


def _check_clips(
    samples: Sequence[Sample],
    medium_of: NDArray[np.int64],
    looks: Sequence[Look],
    limits: Limits,
    faults: Faults,
) -> None:
    """Compare the clips' times with the lengths of their media, the limits, and one another.

    Args:
        samples: The clips.
        medium_of: Number of each clip's medium: (clips,).
        looks: What was found at each medium.
        limits: Lengths that clips should have.
        faults: Where faults go.
    """
    durations = np.array(
        [look.facts.duration_seconds if look.facts else np.nan for look in looks], np.float64
    )[medium_of]
    starts = np.nan_to_num(np.array([sample.start_seconds for sample in samples], np.float64))
    ends = np.array([sample.end_seconds for sample in samples], np.float64)  # None becomes NaN

    def report(kind: FaultKind, where: NDArray[np.bool_], found: Callable[[int], str]) -> None:
        for index in np.flatnonzero(where).tolist():
            faults.add(Fault(kind, _name(samples[index]), found(index)))

    def too_late(index: int) -> str:
        name = samples[index].media.name
        return f"but {name} is only {_seconds(durations[index])} long"

    outside = starts >= durations
    report(
        FaultKind.BAD_TIMES,
        outside,
        lambda index: f"begins at {_seconds(starts[index])}, {too_late(index)}",
    )
    report(
        FaultKind.PAST_END,
        (ends > durations + _HALF_FRAME) & ~outside,
        lambda index: f"ends at {_seconds(ends[index])}, {too_late(index)}",
    )
    stops = np.fmin(ends, durations)
    lengths = np.where(outside, np.nan, stops - starts)
    least, most = limits.min_seconds, limits.max_seconds
    report(
        FaultKind.TOO_SHORT,
        lengths < least - _TINY,
        lambda index: f"{_seconds(lengths[index])} long, expected at least {_seconds(least)}",
    )
    report(
        FaultKind.TOO_LONG,
        lengths > most + _TINY,
        lambda index: f"{_seconds(lengths[index])} long, expected at most {_seconds(most)}",
    )
    boxes: dict[object, int] = {}
    box_of = np.fromiter((boxes.setdefault(row.box, len(boxes)) for row in samples), np.int64)
    keys = (box_of, np.nan_to_num(stops, nan=-1.0).round(3), starts.round(3), medium_of)
    for index, first in _repeated(keys):
        found = f"its media and times are also those of {_name(samples[first])}"
        faults.add(Fault(FaultKind.SAME_CLIP, _name(samples[index]), found))


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


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Rising numbers in words: neighbours as one range."""
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}"


def _name(sample: Sample) -> str:
    return f"{sample.split} clip {sample.id!r}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
