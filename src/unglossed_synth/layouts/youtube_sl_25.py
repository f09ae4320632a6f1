"""The layout of YouTube-SL-25: videos with captions, and a list of their sign languages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from unglossed.corpora.youtube_sl_25 import METADATA, UNKNOWN, WRITTEN
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout, join_sentences, video_ids, write_subtitles
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_SIGNED = {"en": ("ase", "bfi"), "de": ("gsg", "asq"), "zh": ("hks", "tss")}


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    groups = join_sentences(clips, seed)
    return [
        Recording(Path(group[0].split, f"{video_id}.mp4"), group)
        for video_id, group in zip(video_ids(len(groups), seed), groups, strict=True)
    ]


def _sample_id(segment: Segment) -> str:
    return f"{segment.recording.path.stem}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    lines = []
    for number, (recording, group) in enumerate(
        groupby(segments, lambda segment: segment.recording)
    ):
        rows = list(group)
        sign = _SIGNED[language][number % 2]
        assert WRITTEN[sign][0] == language
        lines.append(f"{recording.path.stem},{sign}\n")
        times = [(segment.start_seconds, segment.end_seconds) for segment in rows]
        # Some are called by the sign language; beside some lies a translation.
        infix = sign if number % 4 == 3 else language
        path = (folder / recording.path).with_suffix(f".{infix}.vtt")
        write_subtitles(path, times, [segment.clip.text[language] for segment in rows])
        if number % 4 == 1:
            other = "de" if language == "en" else "en"
            path = path.with_name(f"{recording.path.stem}.{other}.vtt")
            write_subtitles(path, times, [segment.clip.text[other] for segment in rows])
    # As in the release: a video that is gone, and one whose sign language nobody knew.
    lines += [
        f"gone_{_SIGNED[language][0]}_000,{_SIGNED[language][0]}\n",
        f"gone_000000,{UNKNOWN}\n",
    ]
    write_text(folder / METADATA, "".join(lines))


YOUTUBE_SL_25 = Layout(
    languages=("en", "de", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
