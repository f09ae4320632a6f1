"""What training needs of a corpus: labels in its rows, and clips that can be read.

Clips are compared with the media that they lie in: can these be read, and do the times fit?
`check` does this for a whole corpus, `train` for the splits that it uses, before its first stage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, groupby, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.check_times import Limits, check_times, place_of_clip, tell_seconds
from unglossed.corpora.faults import Fault, FaultKind, Faults
from unglossed.corpora.languages import base_language, language_of, tokenisation
from unglossed.corpora.parallel import counting_bar, map_in_order, num_cores
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.media.array_settings import ArraySettings, Told
from unglossed.media.array_signal import ArraySignal, rate_of
from unglossed.media.probe import MediaFacts
from unglossed.media.signal import Signal, common_kind, media_facts, signal_class, signal_in
from unglossed.media.two_stream_signal import TwoStreamSignal
from unglossed.media.two_streams import ARRAY, STREAMS, VIDEO

TRAINING_SPLITS = {"train": "to learn from", "dev": "to choose the best checkpoint"}
"""Splits that every recipe needs, and what for."""


@dataclass(frozen=True)
class Needs:
    """What a recipe needs of a corpus.

    Attributes:
        signal: Kind of signal that clips are read as.
        array: What arrays have to hold; None: the recipe reads none.
        glosses_for: The stage that learns glosses; None: there is none.
        transcripts_for: The stage that learns transcripts; None: there is none.
        start_token: Token of a pre-trained tokenizer with which texts start; None: its own.
        languages: Of the texts, where there may be several.
    """

    signal: str = "video"
    array: ArraySettings | None = None
    glosses_for: str | None = None
    transcripts_for: str | None = None
    start_token: str | None = None
    languages: tuple[str, ...] = ()


def find_unfit(corpus: Corpus, needs: Needs | None = None) -> Iterator[Fault]:
    """Find why a corpus cannot be trained on, by a recipe with these needs or by any.

    Without needs a missing split is only a warning: the corpus may be there to be evaluated on.
    """
    for language in corpus.languages:
        try:
            tokenisation(language)
        except InputError as error:
            yield Fault(FaultKind.UNKNOWN_LANGUAGE, corpus.spec, str(error))
    trained = [one for split in TRAINING_SPLITS for one in corpus.splits.get(split, ())]
    languages = Counter(sample.language for sample in trained).most_common()
    found = ", ".join(f"{code} ({count:,})" for code, count in languages)
    if needs is not None and needs.languages:
        of_train = {sample.language for sample in corpus.splits.get("train", ())}
        if of_train != set(needs.languages) or len(languages) > len(needs.languages):
            text = (
                f"found texts of train and dev in {found}, expected in train all of the recipe's"
                f" `languages` and no others: {', '.join(needs.languages)}"
            )
            yield Fault(FaultKind.UNFIT, corpus.spec, text)
    elif needs is not None and len(languages) > 1:  # each would start with the first one's code
        text = (
            f"found texts of train and dev in several languages: {found}, expected one: choose it"
            f" with ?language={languages[0][0]} in the spec, or name all in the recipe's"
            " `languages`"
        )
        yield Fault(FaultKind.UNFIT, corpus.spec, text)
    for split, purpose in TRAINING_SPLITS.items():
        if split not in corpus.splits:
            found = ", ".join(corpus.splits) or "none"
            text = f"no split {split!r}, which `train` needs {purpose}: it will refuse this corpus"
            kind = FaultKind.MISSING_SPLIT if needs is None else FaultKind.UNFIT
            yield Fault(kind, corpus.spec, f"{text} (found {found})")
        elif needs is not None:
            yield from _find_untold(corpus, split, "gloss", "glosses", needs.glosses_for)
            yield from _find_untold(
                corpus, split, "transcript", "transcripts", needs.transcripts_for
            )


def _find_untold(
    corpus: Corpus, split: str, field: str, names: str, stage: str | None
) -> Iterator[Fault]:
    samples = corpus.splits[split]
    without = [one.id for one in samples if not (getattr(one, field) or "").split()]
    if stage is not None and without:
        text = (
            f"found {len(without)} of {len(samples)} {split} clips without {names}"
            f" (first: {without[0]}), expected {names} for stages.{stage}"
        )
        yield Fault(FaultKind.UNFIT, corpus.spec, text)


def find_other_language(corpus: Corpus, needs: Needs) -> Iterator[Fault]:
    """Find whether a recipe's texts start with the code of another language than the corpus's.

    Only a warning: whether its tokenizer has a better code is known once it is loaded.
    """
    found = needs.start_token and language_of(needs.start_token)
    if found and found not in map(base_language, corpus.languages):
        text = (
            f"tokenizer.start_token: found {needs.start_token!r}, but the texts are in"
            f" {corpus.language!r}: `train` will refuse this if the tokenizer has their code"
        )
        yield Fault(FaultKind.OTHER_LANGUAGE, corpus.spec, text)


# Headers are quick: a process gets many at a time, and is not worth its start for fewer.
_CHUNK_SIZE = 64
_FEWEST_CHUNKS = 4
_MOST_SHOWN = 5
_MOST_MISSING = 1000  # `MediaFacts` lists no more
# An end less than half a frame past the media's end cuts nothing.


class Finding(NamedTuple):
    """What is wrong with a medium or, if its place among them is given, with a clip in it."""

    kind: FaultKind
    text: str
    place: int | None = None


class Look(NamedTuple):
    """What a look at one medium found; without facts it cannot be read at all."""

    facts: MediaFacts | None
    findings: tuple[Finding, ...] = ()


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
        deep: As of `check_corpus`, and so are `limits`, `num_workers` and `progress`.
        limits: Lengths that clips should have.
        needs: What a recipe needs; None: clips are video if any of them is.
        num_workers: Processes that look at media.
        progress: Show a bar.
        on_lengths: Called with the clips' lengths in seconds (clips,), NaN where not known.

    Returns:
        Number of media.
    """
    signal = "video" if needs is None else needs.signal
    if any(one.array is not None for one in samples) if needs is None else signal == "streams":
        return _check_streams(
            spec,
            samples,
            faults,
            needs=needs,
            limits=limits,
            on_lengths=on_lengths,
            deep=deep,
            num_workers=num_workers,
            progress=progress,
        )
    clips: dict[Path, list[Sample]] = {}
    for sample in samples:
        clips.setdefault(sample.media, []).append(sample)
    found = look_at_media(
        list(clips),
        list(clips.values()),
        deep=deep,
        signal=signal,
        array=None if needs is None else needs.array,
        num_workers=num_workers,
        progress=progress,
    )
    looks = dict(zip(clips, found, strict=True))
    for path, look in looks.items():
        for kind, text, place in chain(look.findings, _find_in(look.facts, clips[path])):
            where = str(path) if place is None else place_of_clip(clips[path][place])
            faults.add(Fault(kind, where, text))
    for fault in _find_other_signal(spec, looks, needs):
        faults.add(fault)

    @cache
    def span(media: Path, frame_rate: float | None) -> tuple[float, float]:
        facts = looks[media].facts
        if facts is None:
            return math.nan, math.nan
        return signal_class(signal)().span_of(facts, frame_rate)

    spans = [span(sample.media, sample.frame_rate) for sample in samples]
    lengths = check_times(
        samples, np.array(spans, np.float64).reshape(-1, 2), limits or Limits(), faults
    )
    if on_lengths is not None:
        on_lengths(lengths)
    return len(looks)


def _check_streams(
    spec: str,
    samples: Sequence[Sample],
    faults: Faults,
    *,
    needs: Needs | None,
    limits: Limits | None,
    on_lengths: Callable[[NDArray[np.float64]], object] | None,
    **settings: Any,
) -> int:
    """The same for clips of two streams, each by itself; one that lacks one of them is a warning.

    A clip is as long as its video, or else as its array.
    """
    parts = [TwoStreamSignal().parts(sample) for sample in samples]
    lengths = np.full(len(samples), np.nan)
    broken = np.zeros(len(samples), bool)
    num_media = 0
    for number, name in reversed(list(enumerate(STREAMS))):  # lengths of videos come last
        there = [place for place, pair in enumerate(parts) if pair[number] is not None]
        if not there:
            text = f"found no clip with {name} and one without, expected clips with both"
            if needs is not None:
                text = f"found no {name} of any clip, expected some: the recipe has `streams`"
                text += " (?beside=FOLDER)" if name == ARRAY else ""
            faults.add(Fault(FaultKind.UNFIT, spec, text))
            continue
        found: list[NDArray[np.float64]] = []
        array = needs.array if needs is not None and name == ARRAY else None
        num_media += check_clips(
            spec,
            [cast(Sample, parts[place][number]) for place in there],
            faults,
            limits=limits if name == VIDEO else None,
            needs=replace(needs or Needs(), signal=name, array=array),
            on_lengths=found.append,
            **settings,
        )
        lengths[there] = found[0]
        broken[there] |= np.isnan(found[0])
    for sample, pair in zip(samples, parts, strict=True):
        lacking = [name for name, part in zip(STREAMS, pair, strict=True) if part is None]
        if len(lacking) == len(STREAMS):
            text = "found neither video nor array, expected one of both"
            faults.add(Fault(FaultKind.UNREADABLE_MEDIA, str(sample.media), text))
        elif lacking:
            where = place_of_clip(sample)
            faults.add(Fault(FaultKind.MISSING_STREAM, where, f"there is no {lacking[0]}"))
    if on_lengths is not None:
        on_lengths(np.where(broken, np.nan, lengths))
    return num_media


def look_at_media(
    media: Sequence[Path],
    clips: Sequence[Sequence[Sample]] = (),
    *,
    deep: bool = False,
    signal: str = "video",
    array: ArraySettings | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Look]:
    """Read the headers or listings of media, or decode them.

    Args:
        media: Frame folders, video or audio files, or clips in shards; each once.
        clips: If `deep`, those in each of the media, which are read as training reads them.
        deep: Decode every file from beginning to end.
        signal: Kind of signal that is read.
        array: What arrays have to hold.
        num_workers: Processes; None for one per core. Few files are looked at in this process.
        progress: Show a bar on stderr.

    Returns:
        A look at each, in the order of `media`.
    """
    size = 1 if deep else _CHUNK_SIZE
    pairs = list(zip_longest(media, clips if deep else (), fillvalue=()))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    num_workers = min(num_workers or num_cores(), math.ceil(len(chunks) / _FEWEST_CHUNKS))
    looks: list[Look] = []
    with counting_bar(progress) as bar:
        task = bar.add_task("decoding media" if deep else "looking at media", total=len(media))
        look = partial(_look_at, deep=deep, signal=signal, array=array)
        for found in map_in_order(look, chunks, num_workers):
            looks += found
            bar.update(task, completed=len(looks))
    return looks


def _look_at(
    pairs: Sequence[tuple[Path, Sequence[Sample]]],
    deep: bool,
    signal: str,
    array: ArraySettings | None,
) -> list[Look]:
    return [_look(path, clips, deep, signal, array) for path, clips in pairs]


def _look(
    path: Path, clips: Sequence[Sample], deep: bool, signal: str, array: ArraySettings | None
) -> Look:
    facts = None
    try:
        facts = media_facts(path)
        if not deep:
            return Look(facts)
        facts = media_facts(path, signal, deep=True)
    except (InputError, OSError) as error:
        kind = FaultKind.UNREADABLE_MEDIA if facts is None else FaultKind.DAMAGED_MEDIA
        return Look(facts, (Finding(kind, _reason(path, error)),))
    reader = signal_in(facts, signal)
    if array is not None and isinstance(reader, ArraySignal):
        if array.fault(facts.shape, facts.told or Told()):
            return Look(facts)  # told for all media at once
        reader = ArraySignal(array)
    return Look(facts, tuple(_look_into(clips, facts, reader)))


def _look_into(clips: Sequence[Sample], facts: MediaFacts, signal: Signal) -> Iterator[Finding]:
    """Read the clips of a medium, but for those that begin past its end or have another rate."""
    for place, clip in enumerate(clips):
        begin, end = facts.span(clip.frame_rate)
        if max(clip.start_seconds or 0.0, begin) >= end or _other_rate(facts, clip):
            continue
        try:
            empty = signal.emptiness_in(clip)
        except (InputError, OSError) as error:
            yield Finding(FaultKind.DAMAGED_MEDIA, _reason(clip.media, error), place)
            continue
        if empty is not None:
            yield Finding(FaultKind.NO_CONTENT, f"{empty.told}: is it the right clip?", place)


def _other_rate(facts: MediaFacts, clip: Sample) -> str | None:
    """That the row of an array tells another rate than its file, if so."""
    try:
        rate_of(facts.frame_rate if facts.kind == "array" else None, clip.frame_rate)
    except InputError as error:
        return str(error)
    return None


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with a medium, without its own path; the name of a picture in it stays."""
    text = getattr(error, "strerror", None) or str(error)
    rest = text.removeprefix(str(path))
    return rest.lstrip("/: ") if rest != text else text


def _find_in(facts: MediaFacts | None, clips: Sequence[Sample]) -> Iterator[Finding]:
    """What the facts of a medium say of it as a whole."""
    if facts is None:
        return
    for place, clip in enumerate(clips):
        if other_rate := _other_rate(facts, clip):
            yield Finding(FaultKind.UNREADABLE_MEDIA, other_rate, place)
    if facts.has_opposite_channels:
        text = "their mean would be all but silent: those against the first are turned over"
        yield Finding(FaultKind.OPPOSITE_CHANNELS, text)
    if facts.num_interlaced and not all(clip.deinterlace for clip in clips):
        text = (
            f"{facts.num_interlaced:,} of {facts.num_frames:,} frames are marked as interlaced:"
            " moving hands are combed; ?deinterlace=yes in the corpus makes each frame whole"
        )
        yield Finding(FaultKind.INTERLACED, text)
    if facts.size_changes:
        text = f"at {first_of(map(tell_seconds, facts.size_changes))}"
        yield Finding(FaultKind.SIZE_CHANGES, text)
    if missing := facts.missing_frames:
        more = " or more" if len(missing) == _MOST_MISSING else ""
        shown = first_of(_ranges(missing))
        text = f"{len(missing):,}{more} of the numbers are missing: {shown}"
        yield Finding(FaultKind.FRAME_GAP, text)
    if facts.pictures_each > 1:
        text = (
            f"{facts.pictures_each} pictures seem to have each number, and all are read as frames"
            " that follow each other: keep one picture a frame in the folder"
        )
        yield Finding(FaultKind.REPEATED_NUMBER, text)


def first_of(words: Iterable[str]) -> str:
    """The first of many words, and whether there are more."""
    shown = list(islice(words, _MOST_SHOWN + 1))
    return ", ".join(shown[:_MOST_SHOWN]) + (", …" if len(shown) > _MOST_SHOWN else "")


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Rising numbers in words: neighbours as one range."""
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}"


def _find_other_signal(spec: str, looks: dict[Path, Look], needs: Needs | None) -> Iterator[Fault]:
    """Find media without what the recipe reads, or what most others have."""
    facts = {path: look.facts for path, look in looks.items() if look.facts is not None}
    expected = common_kind(facts.values()) if needs is None else needs.signal
    wanted = signal_class(expected)()
    wrong = [path for path, fact in facts.items() if not wanted.is_in(fact)]
    if not wrong:
        if needs is not None and needs.array is not None:
            yield from _find_other_arrays(spec, facts, needs.array)
        return
    found = signal_in(facts[wrong[0]]).kind
    if needs is not None and len(wrong) == len(facts):
        text = (
            f"found {found} only in all {len(wrong):,} media, such as {wrong[0]}, expected"
            f" {expected}: the recipe has {_why(found, expected)}"
        )
        yield Fault(FaultKind.UNFIT, spec, text)
        return
    rest = "as the other clips have" if needs is None else "as the recipe reads"
    for path in wrong:
        text = f"found {signal_in(facts[path]).kind} only, expected {expected} {rest}"
        yield Fault(FaultKind.UNREADABLE_MEDIA, str(path), text)


def _why(found: str, expected: str) -> str:
    """Which key of a recipe makes it read something else than was found."""
    if "array" in (found, expected):
        return "`array`" if expected == "array" else "no `array`"
    return "`audio`" if expected == "audio" else "no `audio`"


def _find_other_arrays(
    spec: str, facts: dict[Path, MediaFacts], array: ArraySettings
) -> Iterator[Fault]:
    """Find arrays that do not hold what the recipe reads."""
    faults = {
        path: text
        for path, fact in facts.items()
        if (text := array.fault(fact.shape, fact.told or Told())) is not None
    }
    if faults and len(faults) == len(facts):
        path, text = next(iter(faults.items()))
        all_of = f"all {len(facts):,} media, such as {path}: {text}"
        yield Fault(FaultKind.UNFIT, spec, f"the recipe cannot read {all_of}")
        return
    for path, text in faults.items():
        yield Fault(FaultKind.UNREADABLE_MEDIA, str(path), text)
