"""Recordings of minutes: many sentences with rests between them, and subtitles of two kinds.

Beside each video lie subtitles with true times, so that it is a folder of videos with captions. In
a folder of their own lie those that a broadcaster would have: they come early or late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from unglossed_synth.layouts.layout import Layout, write_subtitles
from unglossed_synth.planning import TRAIN_SIGNERS, Clip
from unglossed_synth.recording import Recording, Segment

SENTENCES = 20
"""Sentences of a recording at most, unless another number is asked for."""

SUBTITLES = "subtitles"
"""Folder of the subtitles that come early or late, which has a folder for each split."""

FRAME_RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(50))
"""Frames a second: the recordings take turns."""

_CHARACTERS_PER_SECOND = {"zh": 6.0}
_OTHER_CHARACTERS_PER_SECOND = 15.0
_SHOWN_SECONDS = (1.0, 7.0)
_LEAST_SECONDS = 0.5


def broadcast(most_sentences: int) -> Layout:
    """The layout with so many sentences in a recording at most."""
    return Layout(
        languages=("de", "en", "zh"),
        media=("mp4",),
        arrange=partial(_arrange, most_sentences),
        sample_id=_sample_id,
        write_labels=_write_labels,
        reader="folder",
        of_length=broadcast,
    )


def _arrange(
    most_sentences: int, clips: Sequence[Clip], seed: int, language: str, media: str
) -> list[Recording]:
    return [
        Recording(
            Path(group[0].split, f"recording{place + 1:04d}.mp4"),
            group,
            # One turn later after each round of the signers, or each would have a rate of its own.
            frame_rate=FRAME_RATES[(place + place // len(TRAIN_SIGNERS)) % len(FRAME_RATES)],
        )
        for place, group in enumerate(_join_evenly(clips, most_sentences))
    ]


def _join_evenly(clips: Sequence[Clip], most: int) -> list[tuple[Clip, ...]]:
    """The clips of each recording, about as many in each; the signers of a split take turns."""
    groups = []
    for _, planned in groupby(clips, lambda clip: clip.split):
        rows = list(planned)
        signers = list(dict.fromkeys(clip.signer for clip in rows))
        count = math.ceil(len(rows) / most)
        limits = [len(rows) * number // count for number in range(count + 1)]
        for number, (first, last) in enumerate(pairwise(limits)):
            signer = signers[number % len(signers)]
            groups.append(tuple(replace(clip, signer=signer) for clip in rows[first:last]))
    return groups


def _sample_id(segment: Segment) -> str:
    return f"{segment.recording.path.stem}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for recording, group in groupby(segments, lambda segment: segment.recording):
        rows = list(group)
        texts = [segment.clip.text[language] for segment in rows]
        times = [(segment.start_seconds, segment.end_seconds) for segment in rows]
        write_subtitles((folder / recording.path).with_suffix(".srt"), times, texts)
        lagging = (folder / SUBTITLES / recording.path).with_suffix(".vtt")
        write_subtitles(lagging, _as_shown(rows, texts, language), texts)


def _as_shown(
    segments: Sequence[Segment], texts: Sequence[str], language: str
) -> list[tuple[float, float]]:
    """When a broadcaster would show each subtitle: late or early, as long as reading takes.

    They keep their order, none begins before the one before it is gone, and all are within the
    recording.
    """
    shown = segments[0].broadcast
    assert shown is not None
    length = float(shown.num_frames / segments[0].rate)
    starts = np.array([segment.start_seconds for segment in segments]) + shown.lags
    steps = _LEAST_SECONDS * np.arange(len(starts))
    starts = np.maximum.accumulate(np.maximum(starts - steps, 0.0)) + steps
    starts = np.minimum(starts, length - steps[::-1] - _LEAST_SECONDS)
    speed = _CHARACTERS_PER_SECOND.get(language, _OTHER_CHARACTERS_PER_SECOND)
    reading = np.clip([len(text) / speed for text in texts], *_SHOWN_SECONDS)
    ends = np.minimum(starts + reading, [*starts[1:], length])
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


BROADCAST = broadcast(SENTENCES)
