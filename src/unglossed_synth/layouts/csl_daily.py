"""The layout of CSL-Daily: a frame folder or video for each sentence, its labels in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from unglossed.corpora.csl_daily import FIELDS, FRAMES, SPLITS, VIDEO_MAP, VIDEOS
from unglossed.files import write_text
from unglossed_synth.layouts.layout import Layout, signer_number
from unglossed_synth.phrases_zh import lexicon
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_PART_OF_SPEECH = "x"


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    numbers: dict[str, int] = {}
    takes: Counter[tuple[int, int]] = Counter()
    recordings = []
    for clip in clips:
        # As in the release: one number a sentence, whoever signs it however often.
        sentence = numbers.setdefault(clip.text[language], len(numbers))
        signer = signer_number(clip.signer)
        name = f"S{sentence:06d}_P{signer:04d}_T{takes[sentence, signer]:02d}"
        takes[sentence, signer] += 1
        if media == "mp4":
            recordings.append(Recording(VIDEOS / f"{name}.mp4", (clip,)))
        else:
            # The folder keeps its official name at every size, as other readers have it fixed.
            recordings.append(Recording(FRAMES / name, (clip,), "{:06d}.jpg", first_number=0))
    return recordings


def _sample_id(segment: Segment) -> str:
    return segment.recording.path.stem


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    rows: list[Iterable[str]] = [FIELDS]
    for index, segment in enumerate(segments):
        text = segment.clip.text[language]
        words = split_words(text)
        fields = {
            "index": str(index),
            "name": _sample_id(segment),
            "length": str(segment.length),
            "gloss": segment.gloss or "",
            "char": " ".join(text),
            "word": " ".join(words),
            "postag": " ".join([_PART_OF_SPEECH] * len(words)),
        }
        rows.append([fields[name] for name in FIELDS])
    splits = [("name", "split")]
    splits += [(_sample_id(segment), segment.clip.split) for segment in segments]
    for path, table in ((VIDEO_MAP, rows), (SPLITS, splits)):
        write_text(folder / path, "".join("|".join(row) + "\n" for row in table))


@cache
def _phrases() -> tuple[frozenset[str], int]:
    """The phrases of the forecasts, and the length of the longest."""
    phrases = frozenset(lexicon())
    return phrases, max(map(len, phrases))


def split_words(text: str) -> list[str]:
    """Part a Chinese sentence into the phrases of the forecasts, longest first, and characters."""
    phrases, longest = _phrases()
    words = []
    while text:
        length = next(n for n in range(longest, 0, -1) if n == 1 or text[:n] in phrases)
        words.append(text[:length])
        text = text[length:]
    return words


CSL_DAILY = Layout(
    languages=("zh",),  # a text is characters with nothing between them
    media=("jpg", "mp4"),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
