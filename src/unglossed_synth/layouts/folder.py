"""A folder of videos with captions beside them, another kind of caption in each split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from pympi import Eaf

from unglossed.files import whole_file, write_text
from unglossed_synth.layouts.layout import (
    DATE,
    Layout,
    join_sentences,
    to_milliseconds,
    write_subtitles,
)
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_TIER = "translation"


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    train = [(clip,) for clip in clips if clip.split == "train"]
    joined = join_sentences([clip for clip in clips if clip.split != "train"], seed)
    return [
        Recording(Path(group[0].split, f"video{number:05d}.mp4"), group)
        for number, group in enumerate([*train, *joined], start=1)
    ]


def _sample_id(segment: Segment) -> str:
    stem = segment.recording.path.stem
    return stem if segment.clip.split == "train" else f"{stem}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for recording, group in groupby(segments, lambda segment: segment.recording):
        suffix, write = _CAPTIONS[recording.clips[0].split]
        write((folder / recording.path).with_suffix(suffix), list(group), language)


def _write_plain(path: Path, segments: Sequence[Segment], language: str) -> None:
    write_text(path, "".join(f"{segment.clip.text[language]}\n" for segment in segments))


def _write_subtitles(path: Path, segments: Sequence[Segment], language: str) -> None:
    times = [(segment.start_seconds, segment.end_seconds) for segment in segments]
    write_subtitles(path, times, [segment.clip.text[language] for segment in segments])


def _write_annotations(path: Path, segments: Sequence[Segment], language: str) -> None:
    annotations = Eaf(author="unglossed")
    annotations.adocument["DATE"] = DATE
    media = path.with_suffix(".mp4").name
    annotations.add_linked_file(f"./{media}", f"./{media}", "video/mp4")
    annotations.add_tier(_TIER)
    annotations.remove_tier("default")
    for segment in segments:
        times = map(to_milliseconds, (segment.start_seconds, segment.end_seconds))
        annotations.add_annotation(_TIER, *times, segment.clip.text[language])
    with whole_file(path) as partial:
        annotations.to_file(str(partial))


_CAPTIONS: dict[str, tuple[str, Callable[[Path, Sequence[Segment], str], None]]] = {
    "train": (".txt", _write_plain),
    "dev": (".vtt", _write_subtitles),
    "test": (".srt", _write_subtitles),
    "test_seen": (".eaf", _write_annotations),
}

FOLDER = Layout(
    languages=("de", "en", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
