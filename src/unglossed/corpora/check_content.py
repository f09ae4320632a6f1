"""Reads clips as training reads them: can each be read, and is there anything in it?

Decoding a file from its begin does not tell: a segment is found by seeking. What is read is not
kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from unglossed.corpora.faults import FaultKind
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.audio import read_audio
from unglossed.media.clip import frames_in_parts, kept_indices
from unglossed.media.contents import Emptiness, emptiness_of_frames, emptiness_of_sound
from unglossed.media.probe import MediaFacts

_SAMPLING_RATE = 0.25
_FEWEST_FRAMES = 8  # of fewer all are looked at

Finding = tuple[int, FaultKind, str]
"""Place of a clip among those of its medium, what is wrong with it, and what was found."""


def look_into_clips(
    clips: Sequence[Sample], facts: MediaFacts, *, sound: bool
) -> Iterator[Finding]:
    """Read the clips of a medium that can be decoded.

    Args:
        clips: That lie in it; those which begin past its end are left aside.
        facts: What the medium is.
        sound: Whether its sound is what is read.

    Yields:
        What is wrong with a clip.
    """
    for place, clip in enumerate(clips):
        begin, end = facts.span(clip.frame_rate)
        if max(clip.start_seconds or 0.0, begin) >= end:
            continue
        try:
            empty = _sound_in(clip) if sound else _pictures_in(clip)
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


def _sound_in(clip: Sample) -> Emptiness | None:
    sound = read_audio(clip.media, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
    return emptiness_of_sound(sound)


def _pictures_in(clip: Sample) -> Emptiness | None:
    kept = kept_indices(clip, _SAMPLING_RATE)
    if len(kept) < _FEWEST_FRAMES:
        kept = kept_indices(clip, 1.0)
    frames = frames_in_parts(clip, np.unique(kept))
    empty = emptiness_of_frames(chain.from_iterable(frames))
    if clip.start_seconds is not None or clip.end_seconds is not None:
        for _ in frames:  # though the first may have settled that there is something
            pass
    return empty
