"""What a layout of generated corpora is: where media go, and which label files lie beside them."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import pysubs2

from unglossed.files import write_text
from unglossed.media.augment import generator_for
from unglossed_synth.planning import Clip
from unglossed_synth.recording import Recording, Segment

MOST_SENTENCES = 4
"""Sentences of the longest video or talk; the shortest has two."""

DATE = "2000-01-01T00:00:00+00:00"
"""The day on which ELAN files say that they were written: the real one would change the bytes."""

_ID_CHARACTERS = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True)
class Layout:
    """One way to lay a generated corpus on disk.

    Attributes:
        languages: What its text files may hold, the usual language first.
        media: What its clips may be stored as, the usual kind first.
        arrange: Says which recordings to make of the clips, given seed, language and media.
        sample_id: The id that the layout's reader gives to a sentence.
        write_labels: Writes all but the media, given folder, sentences and language.
        reader: Kind of corpus that reads it, if it has another name.
        of_length: The layout with so many sentences in a recording at most, where one may choose.
    """

    languages: tuple[str, ...]
    media: tuple[str, ...]
    arrange: Callable[[Sequence[Clip], int, str, str], list[Recording]]
    sample_id: Callable[[Segment], str]
    write_labels: Callable[[Path, Sequence[Segment], str], None]
    reader: str | None = None
    of_length: Callable[[int], Layout] | None = None


def join_sentences(clips: Sequence[Clip], seed: int) -> list[tuple[Clip, ...]]:
    """Put the clips of each split together, two to four in one recording by one signer.

    The signers of a split take turns with its recordings, so that small corpora have long
    recordings as well: who signs a clip may therefore differ from the plan, but stays within the
    signers of its split. A split of one clip is one recording.

    Args:
        clips: All clips, in the order of the splits.
        seed: The corpus's seed.

    Returns:
        The clips of each recording, in the order of `clips`.
    """
    groups = []
    for split, planned in groupby(clips, lambda clip: clip.split):
        rest = list(planned)
        signers = list(dict.fromkeys(clip.signer for clip in rest))
        generator = generator_for(seed, 0, f"recordings of {split}")
        num_groups = 0
        while rest:
            size = int(generator.integers(2, MOST_SENTENCES + 1))
            if len(rest) - size == 1:  # nobody is to be left alone
                size += 1 if size < MOST_SENTENCES else -1
            signer = signers[num_groups % len(signers)]
            groups.append(tuple(replace(clip, signer=signer) for clip in rest[:size]))
            num_groups += 1
            del rest[:size]
    return groups


def video_ids(count: int, seed: int) -> list[str]:
    """Draw ids as video platforms give them: eleven characters.

    Some begin with one or two hyphens, as in the corpora that were made from such videos.
    """
    ids: dict[str, None] = {}
    generator = generator_for(seed, 0, "video ids")
    while len(ids) < count:
        places = generator.integers(0, len(_ID_CHARACTERS), 11)
        hyphens = {0: "--", 1: "-"}.get(len(ids) % 5, "")
        ids[(hyphens + "".join(_ID_CHARACTERS[place] for place in places))[:11]] = None
    return list(ids)


def signer_number(signer: str) -> int:
    """The number in a signer's name: 3 for "Signer03"."""
    return int(signer.removeprefix("Signer"))


def write_subtitles(path: Path, times: Sequence[tuple[float, float]], texts: Sequence[str]) -> None:
    """Write .srt or .vtt: texts with the seconds at which each begins and ends."""
    subtitles = pysubs2.SSAFile()
    for (start, end), text in zip(times, texts, strict=True):
        subtitles.append(pysubs2.SSAEvent(to_milliseconds(start), to_milliseconds(end), text))
    write_text(path, subtitles.to_string(path.suffix.removeprefix(".")))


def to_milliseconds(seconds: float) -> int:
    """Round to whole milliseconds."""
    return round(1000 * seconds)
