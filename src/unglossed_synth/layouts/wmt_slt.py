"""The layout of WMT-SLT's training data: whole videos, and SubRip files beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from unglossed.corpora.wmt_slt import PARTS, SUBTITLES, VIDEOS
from unglossed_synth.layouts.layout import Layout, join_sentences, write_subtitles
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    recordings = []
    for number, group in enumerate(join_sentences(clips, seed)):
        split = group[0].split
        # Training data are in two parts; others have a folder of their own.
        part = PARTS[number % 2] if split == "train" else Path(split)
        name = f"focusnews.{number:03d}" if part == PARTS[1] else f"srf.2020-03-{number + 1:02d}"
        recordings.append(Recording(part / VIDEOS / f"{name}.mp4", group))
    return recordings


def _sample_id(segment: Segment) -> str:
    return f"{segment.recording.path.stem}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for recording, group in groupby(segments, lambda segment: segment.recording):
        rows = list(group)
        path = folder / recording.path.parents[1] / SUBTITLES / f"{recording.path.stem}.srt"
        times = [(segment.start_seconds, segment.end_seconds) for segment in rows]
        write_subtitles(path, times, [segment.clip.text[language] for segment in rows])


WMT_SLT = Layout(
    languages=("de", "en", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
