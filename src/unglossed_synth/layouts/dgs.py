"""The layout of the Public DGS Corpus: ELAN files with several tiers, a video of each person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from pympi import Eaf

from unglossed.corpora.dgs import ANNOTATIONS, GLOSS_TIERS, TEXT_TIERS, VIDEOS, VIEWS
from unglossed.files import whole_file, write_text
from unglossed_synth.layouts.layout import DATE, Layout, join_sentences, to_milliseconds
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

_FIRST = 1413451  # conversations have numbers
_SPLITS = "split.json"


def _arrange(clips: Sequence[Clip], seed: int, language: str, media: str) -> list[Recording]:
    views = list(VIEWS.values())
    return [
        Recording(Path(VIDEOS, f"{_FIRST + number}{views[number % 2]}.mp4"), group)
        for number, group in enumerate(join_sentences(clips, seed))
    ]


def _names(recording: Recording) -> tuple[str, str]:
    """A conversation, and the person of it who signs."""
    id, _, view = recording.path.stem.partition("_")
    return id, next(person for person, own in VIEWS.items() if own == f"_{view}")


def _sample_id(segment: Segment) -> str:
    return f"{'_'.join(_names(segment.recording))}_{segment.index + 1}"


def _write_labels(folder: Path, segments: Sequence[Segment], language: str) -> None:
    splits: dict[str, list[str]] = {}
    for recording, group in groupby(segments, lambda segment: segment.recording):
        rows = list(group)
        id, person = _names(recording)
        splits.setdefault(recording.clips[0].split, []).append(id)
        annotations = Eaf(author="unglossed")
        annotations.adocument["DATE"] = DATE
        video = recording.path.name
        annotations.add_linked_file(f"./{video}", f"./{video}", "video/mp4")
        texts = {code: f"{TEXT_TIERS[code][0]}_{person}" for code in ("de", "en")}
        signs = f"{GLOSS_TIERS[0]}_{person}"
        for tier in (*texts.values(), signs):
            annotations.add_tier(tier)
        annotations.remove_tier("default")
        for segment in rows:
            begin, end = map(to_milliseconds, (segment.start_seconds, segment.end_seconds))
            for code, tier in texts.items():
                annotations.add_annotation(tier, begin, end, segment.clip.text[code])
            glosses = (segment.gloss or "").split()
            # The signs of a sentence share its time.
            limits = [
                begin + (end - begin) * place // len(glosses) for place in range(len(glosses))
            ]
            for gloss, first, last in zip(glosses, limits, [*limits[1:], end], strict=True):
                annotations.add_annotation(signs, first, last, gloss)
        path = folder / ANNOTATIONS / f"{id}.eaf"
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial:
            annotations.to_file(str(partial))
    write_text(folder / _SPLITS, json.dumps(splits) + "\n")


DGS = Layout(
    languages=("de", "en"),
    media=("mp4",),
    arrange=_arrange,
    sample_id=_sample_id,
    write_labels=_write_labels,
)
