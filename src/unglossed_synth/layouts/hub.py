"""The layout of a hub's data set: a folder of videos for each split, and a metadata file in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.hub import FILE_COLUMNS, METADATA, TEXT_COLUMNS
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout
from unglossed_synth.planning import SPLITS, Clip
from unglossed_synth.recording import Recording, Segment


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    return [Recording(_folder(clip.split) / f"{clip.id}.mp4", (clip,)) for clip in clips]


def _folder(split: str) -> Path:
    return Path("data", "validation" if split == "dev" else split)


def _sample_id(segment: Segment) -> str:
    return segment.recording.path.with_suffix("").as_posix()


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for split in SPLITS:
        rows = [
            {
                FILE_COLUMNS[0]: segment.recording.path.name,
                TEXT_COLUMNS[0]: segment.clip.text[language],
                "signer": segment.clip.signer,
            }
            for segment in segments
            if segment.clip.split == split
        ]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(folder / _folder(split) / METADATA[0], "".join(lines))


HUB = Layout(
    languages=("en", "de", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
