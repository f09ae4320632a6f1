"""The layout of OpenASL: whole videos, one table of sentences, and boxes around the signers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.openasl import BOXES, TABLE, VIDEO_FOLDERS
from unglossed.files import write_text
from unglossed.media.augment import generator_for
from unglossed_synth.layouts.layout import Layout, join_sentences, video_ids
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_LABELS = Path("data")
_FIELDS = ("vid", "yid", "start", "end", "raw-text", "tokenized-text", "gloss", "split")


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    groups = join_sentences(clips, seed)
    ids = video_ids(len(groups), seed)
    recordings = []
    for video_id, group in zip(ids, groups, strict=True):
        across, down = generator_for(seed, 0, f"place in {video_id}").random(2).tolist()
        path = Path(VIDEO_FOLDERS[0], f"{video_id}.mp4")
        recordings.append(Recording(path, group, corner=(across, down)))
    return recordings


def _sample_id(segment: Segment) -> str:
    start, end = map(_clock, (segment.start_seconds, segment.end_seconds))
    return f"{segment.recording.path.stem}-{start}-{end}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    rows = [_FIELDS]
    rows += [
        (
            _sample_id(segment),
            segment.recording.path.stem,
            _clock(segment.start_seconds),
            _clock(segment.end_seconds),
            segment.clip.text[language],
            segment.clip.text[language],
            segment.gloss or "",
            "valid" if segment.clip.split == "dev" else segment.clip.split,
        )
        for segment in segments
    ]
    write_text(folder / _LABELS / TABLE, "".join("\t".join(row) + "\n" for row in rows))
    boxes = {_sample_id(segment): segment.box for segment in segments}
    write_text(folder / _LABELS / BOXES, json.dumps(boxes) + "\n")


def _clock(seconds: float) -> str:
    """A time as HH:MM:SS.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


OPENASL = Layout(
    languages=("en", "de", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
