"""The layout of MuST-C: German speech, and its translation line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout, join_sentences, signer_number
from unglossed_synth.planning import SPLITS, Clip
from unglossed_synth.recording import Recording, Segment
from unglossed_synth.speech import SPOKEN_LANGUAGE


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    return [
        Recording(_split_folder(language, group[0].split) / "wav" / f"talk_{number}.wav", group)
        for number, group in enumerate(join_sentences(clips, seed), start=1)
    ]


def _sample_id(segment: Segment) -> str:
    return f"{segment.recording.path.stem}_{segment.index}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    for split in SPLITS:
        chosen = [segment for segment in segments if segment.clip.split == split]
        text_folder = folder / _split_folder(language, split) / "txt"
        name = _split_name(split)
        lines = {
            "yaml": [
                f"- {{duration: {segment.end_seconds - segment.start_seconds:.6f}"
                f", offset: {segment.start_seconds:.6f}"
                f", speaker_id: spk.{signer_number(segment.clip.signer)}"
                f", wav: {segment.recording.path.name}}}"
                for segment in chosen
            ],
            SPOKEN_LANGUAGE: [segment.clip.text[SPOKEN_LANGUAGE] for segment in chosen],
            language: [segment.clip.text[language] for segment in chosen],
        }
        for suffix, content in lines.items():
            write_text(text_folder / f"{name}.{suffix}", "".join(f"{line}\n" for line in content))


def _split_folder(language: str, split: str) -> Path:
    return Path(f"{SPOKEN_LANGUAGE}-{language}", "data", _split_name(split))


def _split_name(split: str) -> str:
    return "tst-COMMON" if split == "test" else split


MUST_C = Layout(
    languages=("en", "zh"),  # German is what is spoken
    media=("wav",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
