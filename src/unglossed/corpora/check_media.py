"""Compares clips with the media that they lie in: can these be read, and do the times fit?

`check` does this for a whole corpus, `train` for the splits that it uses, before its first stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unglossed.corpora.faults import Fault, FaultKind, Faults
from unglossed.corpora.needs import Needs
from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.frames import FRAME_RATE
from unglossed.media.probe import MediaFacts
from unglossed.media.signal import common_kind, media_facts, signal_class, signal_in

Finding = tuple[int, FaultKind, str]
"""Place of a clip among those of its medium, what is wrong with it, and what was found."""


def look_into_clips(
    clips: Sequence[Sample], facts: MediaFacts, *, signal: str
) -> Iterator[Finding]:
    """Read the clips of a medium that can be decoded.

    Args:
        clips: That lie in it; those which begin past its end are left aside.
        facts: What the medium is.
        signal: Kind of signal that is read, as far as the medium holds it.

    Yields:
        What is wrong with a clip.
    """
    for place, clip in enumerate(clips):
        begin, end = facts.span(clip.frame_rate)
        if max(clip.start_seconds or 0.0, begin) >= end:
            continue
        try:
            empty = signal_in(facts, signal).emptiness_in(clip)
        except (InputError, OSError) as error:
            yield place, FaultKind.DAMAGED_MEDIA, reason_of(clip.media, error)
            continue
        if empty is not None:
            yield place, FaultKind.NO_CONTENT, f"{empty.told}: is it the right clip?"


def reason_of(path: Path, error: Exception) -> str:
    """What is wrong with a medium, without its own path; the name of a picture in it stays."""
    text = getattr(error, "strerror", None) or str(error)
    rest = text.removeprefix(str(path))
    return rest.lstrip("/: ") if rest != text else text


# Headers are quick: a process gets many at a time, and is not worth its start for fewer.
_CHUNK_SIZE = 64
_FEWEST_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one medium found.

    Attributes:
        facts: Length, size and so on; None: it cannot be read at all.
        kind: UNREADABLE_MEDIA or DAMAGED_MEDIA; None: nothing is wrong.
        text: What is wrong, without the medium's own path.
        findings: What is wrong with clips in it.
    """

    facts: MediaFacts | None
    kind: FaultKind | None = None
    text: str = ""
    findings: tuple[Finding, ...] = ()


def look_at_media(
    media: Sequence[Path],
    clips: Sequence[Sequence[Sample]] = (),
    *,
    deep: bool = False,
    signal: str = "video",
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Look]:
    """Read the headers or listings of media, or decode them.

    Args:
        media: Frame folders, video or sound files, or clips in shards; each once.
        clips: If `deep`, those in each of the media, which are read as training reads them.
        deep: Decode every file from beginning to end.
        signal: Kind of signal that is read.
        num_workers: Processes; None for one per core. Few files are looked at in this process.
        progress: Show a bar on standard error.

    Returns:
        A look at each, in the order of `media`.
    """
    size = 1 if deep else _CHUNK_SIZE
    pairs = list(zip_longest(media, clips if deep else (), fillvalue=()))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    num_workers = min(num_workers or num_cores(), math.ceil(len(chunks) / _FEWEST_CHUNKS))
    looks: list[Look] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not progress
    ) as bar:
        task = bar.add_task("decoding media" if deep else "looking at media", total=len(media))
        for found in map_in_order(partial(_look_at, deep=deep, signal=signal), chunks, num_workers):
            looks += found
            bar.update(task, completed=len(looks))
    return looks


def _look_at(media: Sequence[tuple[Path, Sequence[Sample]]], deep: bool, signal: str) -> list[Look]:
    return [_look_deep(path, clips, signal) if deep else _look(path) for path, clips in media]


def _look(path: Path) -> Look:
    try:
        return Look(media_facts(path))
    except (InputError, OSError) as error:
        return Look(None, FaultKind.UNREADABLE_MEDIA, reason_of(path, error))


def _look_deep(path: Path, clips: Sequence[Sample], signal: str) -> Look:
    look = _look(path)
    if look.facts is None:
        return look
    try:
        facts = media_facts(path, signal, deep=True)
    except (InputError, OSError) as error:
        return Look(look.facts, FaultKind.DAMAGED_MEDIA, reason_of(path, error))
    return Look(facts, findings=tuple(look_into_clips(clips, facts, signal=signal)))


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


def check_clips(
    spec: str,
    samples: Sequence[Sample],
    faults: Faults,
    *,
    deep: bool = False,
    limits: Limits | None = None,
    needs: Needs | None = None,
    num_workers: int | None = None,
    progress: bool = False,
    on_lengths: Callable[[NDArray[np.float64]], object] | None = None,
) -> int:
    """Look at the media of clips, each once, and compare the clips' times with them.

    Args:
        spec: The corpus, for messages.
        samples: The clips.
        faults: Where faults go.
        deep: Decode every file as well, from beginning to end.
        limits: Lengths that clips should have; None: any.
        needs: What a recipe needs; None: clips are video if any of them is.
        num_workers: Processes that look at media; None for one per core.
        progress: Show a bar on standard error.
        on_lengths: Called with the clips' lengths in seconds (clips,), NaN where not known.

    Returns:
        Number of media.
    """
    numbers: dict[Path, int] = {}
    medium_of = np.fromiter(
        (numbers.setdefault(sample.media, len(numbers)) for sample in samples),
        np.int64,
        len(samples),
    )
    media = list(numbers)
    signal = "video" if needs is None else needs.signal
    clips: list[list[Sample]] = [[] for _ in media]
    for sample, medium in zip(samples, medium_of.tolist(), strict=True):
        clips[medium].append(sample)
    looks = look_at_media(
        media, clips, deep=deep, signal=signal, num_workers=num_workers, progress=progress
    )
    _check_media(media, looks, clips, faults)
    for look, inside in zip(looks, clips, strict=True):
        for place, kind, text in look.findings:
            faults.add(Fault(kind, _place(inside[place]), text))
    _check_signal(spec, media, looks, needs, faults)
    spans = np.array([_span_of(look.facts, signal) for look in looks], np.float64)
    spans = spans.reshape(-1, 2)[medium_of]
    for place, sample in enumerate(samples):
        if sample.frame_rate is not None:
            spans[place] = _span_of(looks[medium_of[place]].facts, signal, sample.frame_rate)
    lengths = _check_times(samples, medium_of, spans, limits or Limits(), faults)
    if on_lengths is not None:
        on_lengths(lengths)
    return len(media)


def _span_of(
    facts: MediaFacts | None, signal: str, frame_rate: float | None = None
) -> tuple[float, float]:
    """Begin and end in seconds of what is read of a medium; NaN where that cannot be read."""
    if facts is None:
        return math.nan, math.nan
    return signal_class(signal)().span_of(facts, frame_rate)


def name_clip(sample: Sample) -> str:
    """How messages call a clip."""
    return f"{sample.split} clip {sample.id!r}"


def _check_media(
    media: Sequence[Path],
    looks: Sequence[Look],
    clips: Sequence[Sequence[Sample]],
    faults: Faults,
) -> None:
    for path, look, inside in zip(media, looks, clips, strict=True):
        if look.kind is not None:
            faults.add(Fault(look.kind, str(path), look.text))
        if look.facts is None:
            continue
        if look.facts.has_opposite_channels:
            found = "their mean would be all but silent: those against the first are turned over"
            faults.add(Fault(FaultKind.OPPOSITE_CHANNELS, str(path), found))
        if look.facts.num_interlaced and not all(clip.deinterlace for clip in inside):
            found = (
                f"{look.facts.num_interlaced:,} of {look.facts.num_frames:,} frames are marked as"
                " interlaced: moving hands are combed; ?deinterlace=yes in the corpus makes each"
                " frame whole"
            )
            faults.add(Fault(FaultKind.INTERLACED, str(path), found))
        if look.facts.size_changes:
            times = [_seconds(time) for time in look.facts.size_changes[:_MOST_GAPS]]
            more = ", …" if len(look.facts.size_changes) > _MOST_GAPS else ""
            faults.add(Fault(FaultKind.SIZE_CHANGES, str(path), f"at {', '.join(times)}{more}"))
        if look.facts.missing_frames:
            missing = look.facts.missing_frames
            ranges = list(_ranges(missing))
            shown = ", ".join(ranges[:_MOST_GAPS]) + (", …" if len(ranges) > _MOST_GAPS else "")
            more = " or more" if len(missing) == _MOST_MISSING else ""
            found = f"{len(missing):,}{more} of the numbers are missing: {shown}"
            faults.add(Fault(FaultKind.FRAME_GAP, str(path), found))
        if look.facts.pictures_each > 1:
            found = (
                f"{look.facts.pictures_each} pictures seem to have each number, and all are read"
                " as frames that follow each other: keep one picture a frame in the folder"
            )
            faults.add(Fault(FaultKind.REPEATED_NUMBER, str(path), found))


def _check_signal(
    spec: str, media: Sequence[Path], looks: Sequence[Look], needs: Needs | None, faults: Faults
) -> None:
    """Report media without what the recipe reads, or what most others have."""
    facts = {
        path: look.facts for path, look in zip(media, looks, strict=True) if look.facts is not None
    }
    expected = common_kind(facts.values()) if needs is None else needs.signal
    wanted = signal_class(expected)()
    wrong = [path for path, fact in facts.items() if not wanted.is_in(fact)]
    if not wrong:
        return
    found = signal_in(facts[wrong[0]]).kind
    if needs is not None and len(wrong) == len(facts):
        text = (
            f"found {found} alone in all {len(wrong):,} media, such as {wrong[0]}, expected"
            f" {expected}: the recipe has {'' if expected == 'audio' else 'no '}`audio`"
        )
        faults.add(Fault(FaultKind.UNFIT, spec, text))
        return
    rest = "as the other clips have" if needs is None else "as the recipe reads"
    for path in wrong:
        text = f"found {found} alone, expected {expected} {rest}"
        faults.add(Fault(FaultKind.UNREADABLE_MEDIA, str(path), text))


def _check_times(
    samples: Sequence[Sample],
    medium_of: NDArray[np.int64],
    spans: NDArray[np.float64],
    limits: Limits,
    faults: Faults,
) -> NDArray[np.float64]:
    """Compare the clips' times with the lengths of their media, the limits, and one another.

    Args:
        samples: The clips.
        medium_of: Number of each clip's medium: (clips,).
        spans: Its begin and end in seconds, NaN where not known: (clips, 2).
        limits: Lengths that clips should have.
        faults: Where faults go.

    Returns:
        The clips' own lengths in seconds, NaN where not known: (clips,).
    """
    begins, durations = spans.T
    starts = np.array([sample.start_seconds for sample in samples], np.float64)  # None becomes NaN
    starts = np.nan_to_num(np.fmax(starts, begins))
    ends = np.array([sample.end_seconds for sample in samples], np.float64)  # None becomes NaN

    def report(kind: FaultKind, where: NDArray[np.bool_], found: Callable[[int], str]) -> None:
        for index in np.flatnonzero(where).tolist():
            faults.add(Fault(kind, _place(samples[index]), found(index)))

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
        found = f"its media and times are also those of {name_clip(samples[first])}"
        faults.add(Fault(FaultKind.SAME_CLIP, _place(samples[index]), found))
    return lengths


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


def _place(sample: Sample) -> str:
    """Where a clip lies, and its id: what leads to its row with one search."""
    return f"{sample.media}, {name_clip(sample)}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
