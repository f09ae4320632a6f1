"""The layout of CSL-News: a clip for each sentence, and all subtitles in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.csl_news import LABELS, VIDEOS
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout
from unglossed_synth.planning import SPLITS, Clip
from unglossed_synth.recording import Recording, Segment


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    recordings = []
    for number, clip in enumerate(clips):
        # Programme and day, and two numbers as the release has them.
        begin = 300 * (number % 20)
        name = f"Common-Concerns_{20200101 + number // 20}_{begin}-{begin + 250}_{number:06d}"
        recordings.append(Recording(Path(VIDEOS, f"{name}.mp4"), (clip,)))
    return recordings


def _sample_id(segment: Segment) -> str:
    return segment.recording.path.stem


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for split in SPLITS:
        rows = [
            {
                "video": segment.recording.path.name,
                "pose": segment.recording.path.with_suffix(".pkl").name,
                "text": segment.clip.text[language],
            }
            for segment in segments
            if segment.clip.split == split
        ]
        name = LABELS if split == "train" else LABELS.replace(".", f".{split}.")
        write_text(folder / name, json.dumps(rows, ensure_ascii=False, indent=4) + "\n")


CSL_NEWS = Layout(
    languages=("zh", "de", "en"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
