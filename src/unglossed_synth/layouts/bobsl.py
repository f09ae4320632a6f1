"""The layout of BOBSL: whole broadcasts, subtitles of two alignments, and a list of subsets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from unglossed.corpora.bobsl import ALIGNMENTS, MANUAL, SPLITS, SUBTITLES, VIDEOS
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout, join_sentences, write_subtitles
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_FIRST = 5085344787448740525  # episodes have numbers of 19 digits
_EARLY_SECONDS = 0.24
"""How much earlier than the signing a sentence is said."""


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    return [
        Recording(VIDEOS / f"{_FIRST + number}.mp4", group)
        for number, group in enumerate(join_sentences(clips, seed))
    ]


def _sample_id(segment: Segment) -> str:
    return f"{segment.recording.path.stem}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    subsets: dict[str, list[str]] = {}
    for recording, group in groupby(segments, lambda segment: segment.recording):
        rows = list(group)
        split = recording.clips[0].split
        name = recording.path.stem
        subsets.setdefault("val" if split == "dev" else split, []).append(name)
        texts = [segment.clip.text[language] for segment in rows]
        times = [(segment.start_seconds, segment.end_seconds) for segment in rows]
        write_subtitles(folder / SUBTITLES / MANUAL / f"{name}.vtt", times, texts)
        said = [(max(start - _EARLY_SECONDS, 0.0), end - _EARLY_SECONDS) for start, end in times]
        for alignment in ALIGNMENTS[1:]:
            write_subtitles(folder / SUBTITLES / alignment / f"{name}.vtt", said, texts)
    subsets["challenge"] = [str(_FIRST - 1)]  # as in the release, without subtitles
    write_text(folder / SPLITS, json.dumps(subsets) + "\n")


BOBSL = Layout(
    languages=("en", "de", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
