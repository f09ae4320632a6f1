"""The layout of PHOENIX14T with its quirks: a frame folder or video for each sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.phoenix14t import (
    FRAMES,
    INNER_FOLDER,
    VIDEOS,
    AnnotationRow,
    annotation_path,
    format_annotations,
)
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout
from unglossed_synth.planning import SPLITS, Clip
from unglossed_synth.recording import Recording, Segment

_STRAY_FILE = "createDnnTrainingLabels-profile.py.lprof"


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    base = Path(INNER_FOLDER)
    if media == "mp4":
        return [Recording(base / VIDEOS / clip.split / f"{clip.id}.mp4", (clip,)) for clip in clips]
    # The folder keeps its official name at every size, as other readers have it fixed.
    return [
        Recording(base / FRAMES / clip.split / clip.id, (clip,), "images{:04d}.png")
        for clip in clips
    ]


def _sample_id(segment: Segment) -> str:
    return segment.clip.id


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for split in SPLITS:
        rows = [
            AnnotationRow(
                name=segment.clip.id,
                # As in the release, where there is no folder "1".
                video=f"{segment.clip.id}/1/*.png",
                start="-1",
                end="-1",
                speaker=segment.clip.signer,
                orth=segment.gloss or "",
                translation=segment.clip.text[language],
            )
            for segment in segments
            if segment.clip.split == split
        ]
        write_text(annotation_path(folder / INNER_FOLDER, split), format_annotations(rows))
    first = segments[0].recording
    if first.picture:
        (folder / first.path / _STRAY_FILE).write_bytes(b"")


PHOENIX14T = Layout(
    languages=("de", "en", "zh"),
    media=("png", "mp4"),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
