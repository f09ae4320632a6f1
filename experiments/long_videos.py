"""How sentences are found and read in generated recordings, from files and live.

    unglossed synth data/broadcast --layout broadcast --sentences 1800 --seed 0 --level 1 \
        --size 84x104 --recording-sentences 100
    python -m experiments.long_videos MODEL data/broadcast --segmenter SEGMENTER [--live]

Each recording of a split is translated with its true times, with the segmenter and by motion; with
`--live` frame by frame as well, as a camera gives them: one at its time, computing counted.
Times are those of the machine; all else follows from model and corpus.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from unglossed.corpora.segments import Segment, read_segments
from unglossed.evaluation.metrics import format_score
from unglossed.evaluation.metrics import score as score_texts
from unglossed.evaluation.segments import score as score_spans
from unglossed.files import write_text
from unglossed.inference.live import LiveTranslator, LiveUpdate
from unglossed.inference.sentences import Sentence, SentenceTranslator
from unglossed.media.frames import open_frames
from unglossed_synth.meaning import Meaning
from unglossed_synth.parsing import slot_f1_meanings

LANGUAGE = "de"
CAMERA_RATE = 12.5
"""Frames a second that a page sends."""


@dataclass(frozen=True)
class Recording:
    """A generated recording and its sentences.

    Attributes:
        media: The video.
        segments: Its true sentences.
        meanings: What each means.
    """

    media: Path
    segments: list[Segment]
    meanings: list[Meaning]


@dataclass
class Found:
    """What a way of translating found in all recordings.

    Attributes:
        sentences: Of each recording.
        seconds: That it took.
        delays: How long after it could have been said each word was shown, of live captions.
        ideal_delays: The same where computing takes no time.
        erased: Characters of uncommitted text that were taken back, and characters of the end.
    """

    sentences: list[list[Sentence]] = field(default_factory=list)
    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)
    ideal_delays: list[float] = field(default_factory=list)
    erased: tuple[int, int] = (0, 0)
    taken_back: int = 0
    dropped: int = 0


def read_recordings(corpus: Path, split: str) -> list[Recording]:
    """The recordings of a split of a generated corpus of the layout broadcast."""
    rows = [json.loads(line) for line in (corpus / "generated.jsonl").read_text().splitlines()]
    recordings = []
    for media in sorted((corpus / split).glob("*.mp4")):
        name = str(media.relative_to(corpus))
        meanings = [Meaning.from_dict(row["meaning"]) for row in rows if row["media"] == name]
        recordings.append(Recording(media, read_segments(media.with_suffix(".srt")), meanings))
    return recordings


def nearest(found: Sequence[Sentence], segment: Segment) -> Sentence | None:
    """The sentence found that shares most time with a true one; None: none does."""

    def shared(one: Sentence) -> float:
        end = min(one.end_seconds, segment.end_seconds)
        return end - max(one.start_seconds, segment.start_seconds)

    best = max(found, key=shared, default=None)
    return best if best is not None and shared(best) > 0 else None


def run_live(live: LiveTranslator, media: Path) -> Iterator[tuple[LiveUpdate, float, float]]:
    """Updates, with the clock's time at which each is shown, and the frame's time.

    A frame that comes while another is being worked on waits; of several the newest.
    """
    frames = open_frames(media)
    times = frames.times + frames.begin_seconds
    due = np.arange(times[0], times[-1], 1 / CAMERA_RATE)
    kept = np.searchsorted(times, due).clip(0, len(times) - 1)
    pictures = frames.each(kept, lambda one: one, deinterlace=False)
    clock = 0.0
    waiting = None
    for seconds, picture in zip(due.tolist(), pictures, strict=True):
        if clock > seconds:  # still at work on an earlier one
            waiting = picture, seconds
            continue
        for frame, taken in [waiting, (picture, seconds)] if waiting else [(picture, seconds)]:
            clock = max(clock, taken if frame is picture else clock)
            begin = time.perf_counter()
            updates = live.push(frame, taken)
            clock += time.perf_counter() - begin
            yield from ((one, clock, taken) for one in updates)
        waiting = None
    begin = time.perf_counter()
    updates = live.finish()
    yield from ((one, clock + time.perf_counter() - begin, due[-1]) for one in updates)


def translate_live(sentences: SentenceTranslator, recordings: Sequence[Recording]) -> Found:
    """Live captions of all recordings, with their delays.

    The delay of a word is that of LAAL (Papi et al. 2022): the time at which it is committed, from
    the begin of its sentence, less when it would be due were the words spread evenly over it; words
    behind the first that comes after the sentence's end do not count.
    """
    found = Found()
    begin = time.perf_counter()
    for recording in recordings:
        live = LiveTranslator(sentences)
        closed: list[Sentence] = []
        shown: dict[int, list[tuple[str, float, float]]] = {}
        before: dict[int, str] = {}
        for update, clock, seen in run_live(live, recording.media):
            words = shown.setdefault(update.sentence, [])
            words += [(word, clock, seen) for word in update.committed.split()[len(words) :]]
            if " ".join(word for word, _, _ in words) != " ".join(update.committed.split()):
                found.taken_back += 1
            text = update.committed + update.uncommitted
            old = before.get(update.sentence, "")
            alike = next(
                (n for n, (a, b) in enumerate(zip(old, text, strict=False)) if a != b),
                min(len(old), len(text)),
            )
            found.erased = found.erased[0] + len(old) - alike, found.erased[1]
            before[update.sentence] = text
            if update.closed and update.committed:
                assert update.end_seconds is not None
                times = update.start_seconds, update.end_seconds
                closed.append(Sentence(update.sentence, *times, update.committed, update.score))
                found.erased = found.erased[0], found.erased[1] + len(update.committed)
            elif update.closed:
                del shown[update.sentence], before[update.sentence]
        found.sentences.append(closed)
        for segment in recording.segments:
            best = nearest(closed, segment)
            if best is None:
                continue
            words = shown[best.number]
            found.delays += laal([clock for _, clock, _ in words], segment)
            found.ideal_delays += laal([seen for _, _, seen in words], segment)
    found.seconds = time.perf_counter() - begin
    return found


def laal(moments: Sequence[float], segment: Segment) -> list[float]:
    """Delay of each word that counts, see `translate_live`."""
    length = segment.end_seconds - segment.start_seconds
    step = length / max(len(moments), len(segment.text.split()))
    rows = []
    for number, moment in enumerate(moments):
        delay = moment - segment.start_seconds
        rows.append(delay - number * step)
        if delay >= length:
            break
    return rows


def translate_files(
    sentences: SentenceTranslator, recordings: Sequence[Recording], way: str
) -> Found:
    """Translate recordings from their files, with true times where `way` is "true times"."""
    found = Found()
    begin = time.perf_counter()
    for one in recordings:
        settings: dict[str, Any] = {"cut": way}
        if way == "true times":
            settings = {"segments": one.segments}
        found.sentences.append(list(sentences.translate(one.media, **settings)))
    found.seconds = time.perf_counter() - begin
    return found


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--segmenter")
    parser.add_argument("--split", default="test")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--output", type=Path, help="file for the figures as JSON")
    chosen = parser.parse_args()
    sentences = SentenceTranslator.from_pretrained(chosen.model, chosen.segmenter)
    recordings = read_recordings(chosen.corpus, chosen.split)
    length = sum(open_frames(one.media).times[-1] for one in recordings)
    ways = ["true times", *(["segmenter"] if chosen.segmenter else []), "motion"]
    rows = {way: translate_files(sentences, recordings, way) for way in ways}
    if chosen.live:
        rows["live"] = translate_live(sentences, recordings)
    table = Table()
    names = ("sentences", "found", "F1@.50", "BLEU-4", "slot F1", "times real time", "delay s")
    for name in names:
        table.add_column(name)
    figures = {}
    for way, found in rows.items():
        pairs = zip(recordings, found.sentences, strict=True)
        spans = score_spans(
            ([Segment(s.start_seconds, s.end_seconds) for s in rows], one.segments)
            for one, rows in pairs
        )
        texts: list[str] = []
        for one, sentences_of in zip(recordings, found.sentences, strict=True):
            matches = [nearest(sentences_of, segment) for segment in one.segments]
            texts += ["" if match is None else match.text for match in matches]
        references = [[segment.text] for one in recordings for segment in one.segments]
        meanings = [meaning for one in recordings for meaning in one.meanings]
        figures[way] = {
            "found": sum(map(len, found.sentences)),
            "true": len(references),
            "f1_50": spans.f1[0.5],
            "bleu4": score_texts(texts, references, LANGUAGE).bleu4,
            "slot_f1": slot_f1_meanings(texts, meanings, LANGUAGE),
            "times_real_time": length / found.seconds,
            "delay": float(np.mean(found.delays)) if found.delays else None,
            "ideal_delay": float(np.mean(found.ideal_delays)) if found.delays else None,
            "normalised_erasure": found.erased[0] / max(found.erased[1], 1),
            "taken_back": found.taken_back,
        }
        row = figures[way]
        table.add_row(
            way,
            f"{row['found']} of {row['true']}",
            format_score(row["f1_50"], 3),
            format_score(row["bleu4"]),
            f"{row['slot_f1']:.3f}",
            f"{row['times_real_time']:.1f}",
            "" if row["delay"] is None else f"{row['delay']:.2f} ({row['ideal_delay']:.2f})",
        )
    Console().print(table)
    if chosen.live:
        live = figures["live"]
        print(
            f"live: {live['taken_back']} words taken back, normalised erasure of uncommitted"
            f" text {live['normalised_erasure']:.2f}"
        )
    if chosen.output:
        write_text(chosen.output, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
