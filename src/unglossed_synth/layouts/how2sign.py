"""The layout of How2Sign: whole videos, and the times of their sentences in tab-separated files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.how2sign import REALIGNED, label_path, video_folder
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout, join_sentences, signer_number, video_ids
from unglossed_synth.planning import SPLITS, Clip
from unglossed_synth.recording import Recording, Segment

_FIELDS = ("VIDEO_ID", "VIDEO_NAME", "SENTENCE_ID", "SENTENCE_NAME", *REALIGNED, "SENTENCE")


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    groups = join_sentences(clips, seed)
    recordings = []
    for video_id, group in zip(video_ids(len(groups), seed), groups, strict=True):
        name = f"{video_id}{_view(group[0])}.mp4"
        recordings.append(Recording(video_folder(Path(), _split(group[0].split)) / name, group))
    return recordings


def _sample_id(segment: Segment) -> str:
    return f"{_sentence_id(segment)}{_view(segment.clip)}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for split in SPLITS:
        chosen = [segment for segment in segments if segment.clip.split == split]
        rows = [_FIELDS]
        rows += [
            (
                _video_id(segment),
                segment.recording.path.stem,
                _sentence_id(segment),
                _sample_id(segment),
                f"{segment.start_seconds:.2f}",
                f"{segment.end_seconds:.2f}",
                segment.clip.text[language],
            )
            for segment in chosen
        ]
        path = label_path(folder, _split(split))
        write_text(path, "".join("\t".join(row) + "\n" for row in rows))


def _split(name: str) -> str:
    return "val" if name == "dev" else name


def _view(clip: Clip) -> str:
    """Who signs, seen from where: the end of all names."""
    return f"-{signer_number(clip.signer)}-rgb_front"


def _video_id(segment: Segment) -> str:
    return segment.recording.path.stem.removesuffix(_view(segment.clip))


def _sentence_id(segment: Segment) -> str:
    return f"{_video_id(segment)}_{segment.index}"


HOW2SIGN = Layout(
    languages=("en", "de", "zh"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
