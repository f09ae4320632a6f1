"""Looks at every medium of a corpus once, in parallel processes.

A million rows may share two thousand videos; here each video is opened once. What its facts mean
for the rows is `check`'s and `stats`'s work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unglossed.corpora.check_content import Finding, look_into_clips, reason_of
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.probe import MediaFacts, examine, probe

# Headers are quick: a process gets many at a time, and is not worth its start for fewer.
_CHUNK_SIZE = 64
_FEWEST_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one medium found.

    Attributes:
        facts: Length, size and so on; None: it cannot be read at all.
        kind: UNREADABLE_MEDIA or DAMAGED_MEDIA; None: nothing is wrong.
        text: What is wrong, without the medium's own path.
        findings: What is wrong with clips in it.
    """

    facts: MediaFacts | None
    kind: FaultKind | None = None
    text: str = ""
    findings: tuple[Finding, ...] = ()


def look_at_media(
    media: Sequence[Path],
    clips: Sequence[Sequence[Sample]] = (),
    *,
    deep: bool = False,
    sound: bool = False,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Look]:
    """Read the headers or listings of media, or decode them.

    Args:
        media: Frame folders, video or sound files, or clips in shards; each once.
        clips: If `deep`, those in each of the media, which are read as training reads them.
        deep: Decode every file from beginning to end.
        sound: Whether the sound of videos is what is read.
        num_workers: Processes; None for one per core. Few files are looked at in this process.
        progress: Show a bar on standard error.

    Returns:
        A look at each, in the order of `media`.
    """
    size = 1 if deep else _CHUNK_SIZE
    pairs = list(zip_longest(media, clips if deep else (), fillvalue=()))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    num_workers = min(num_workers or num_cores(), math.ceil(len(chunks) / _FEWEST_CHUNKS))
    looks: list[Look] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not progress
    ) as bar:
        task = bar.add_task("decoding media" if deep else "looking at media", total=len(media))
        for found in map_in_order(partial(_look_at, deep=deep, sound=sound), chunks, num_workers):
            looks += found
            bar.update(task, completed=len(looks))
    return looks


def _look_at(media: Sequence[tuple[Path, Sequence[Sample]]], deep: bool, sound: bool) -> list[Look]:
    return [_look_deep(path, clips, sound) if deep else _look(path) for path, clips in media]


def _look(path: Path) -> Look:
    try:
        return Look(probe(path))
    except (InputError, OSError) as error:
        return Look(None, FaultKind.UNREADABLE_MEDIA, reason_of(path, error))


def _look_deep(path: Path, clips: Sequence[Sample], sound: bool) -> Look:
    look = _look(path)
    if look.facts is None:
        return look
    try:
        facts = examine(path, sound=sound)
    except (InputError, OSError) as error:
        return Look(look.facts, FaultKind.DAMAGED_MEDIA, reason_of(path, error))
    is_sound = facts.kind == "audio" or (sound and facts.has_sound)
    return Look(facts, findings=tuple(look_into_clips(clips, facts, sound=is_sound)))
