"""What identifies a corpus, so that a run that is resumed knows the one that it was begun with.

A row is identified by its id, its labels and what is read of its medium; a medium by its size and
the bytes at its begin and end, so that a copy on another disk is the same one. Bytes that change in
the middle of a file are not noticed. A row takes tens of bytes of memory, for a million are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from unglossed.corpora.check_media import TRAINING_SPLITS
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import whole_file
from unglossed.media.frames import is_packed
from unglossed.media.packed import read_index
from unglossed.training.checkpoint import read_json, reading
from unglossed.training.keys import digest, part_of

FINGERPRINT_FILE = "corpus.json"
_VERSION = 1
_ENDS = 2**16  # bytes read at either end of a file
_THREADS = 8  # who waits for a file server waits for several files at a time
_ROWS_AT_ONCE = 4096  # are written together


@dataclass
class _Rows:
    """The rows of a split in the corpus's order, a column each.

    Attributes:
        names: Ids.
        labels: Checksums of their texts and other labels, as numbers of 64 bits.
        parts: Those of what is read of their media.
        media: Those of the media; None where nobody looked, or where one cannot be read.
    """

    names: list[str] = field(default_factory=list)
    labels: array[int] = field(default_factory=lambda: array("Q"))
    parts: array[int] = field(default_factory=lambda: array("Q"))
    media: list[str | None] = field(default_factory=list)

    def add(self, name: str, labels: str, part: str, medium: str | None) -> None:
        """Add a row; its checksums are hexadecimal."""
        self.names.append(name)
        self.labels.append(int(labels, 16))
        self.parts.append(int(part, 16))
        self.media.append(medium)

    def write(self, file: TextIO) -> None:
        """Write them as JSON, `rows` and `media`, some at a time."""
        columns = zip(self.names, self.labels, self.parts, strict=True)
        rows = ([name, f"{labels:016x}", f"{part:016x}"] for name, labels, part in columns)
        file.write('{"rows": [')
        _write_items(file, rows)
        file.write('], "media": [')
        _write_items(file, self.media)
        file.write("]}")

    def changes(self, after: _Rows) -> Iterator[tuple[str, list[str]]]:
        """How rows differ afterwards, and the names of those that do."""
        places = {name: place for place, name in enumerate(self.names)}
        kept = [(places[name], now) for now, name in enumerate(after.names) if name in places]
        yield "added", [name for name in after.names if name not in places]
        left = {before for before, _ in kept}
        yield "removed", [name for place, name in enumerate(self.names) if place not in left]
        columns: tuple[tuple[str, Sequence[Any], Sequence[Any]], ...] = (
            ("with other labels", self.labels, after.labels),
            (
                "with other times, boxes, frame rates or deinterlacing",
                self.parts,
                after.parts,
            ),
            ("with other media", self.media, after.media),
        )
        for kind, one, other in columns:
            pairs = ((self.names[place], one[place], other[now]) for place, now in kept)
            yield kind, [name for name, *both in pairs if both[0] != both[1] and None not in both]

    def in_order(self, after: _Rows) -> bool:
        """Whether the rows that are there before and after are in the same order."""
        if self.names == after.names:
            return True
        before, now = set(self.names), set(after.names)
        return [name for name in after.names if name in before] == [
            name for name in self.names if name in now
        ]


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a corpus, as it was when a run looked at it.

    Attributes:
        splits: Rows of each split that is trained or scored on.
        others: Checksum of the other splits' texts, which the recipe's extra_texts keep clear of.
    """

    splits: Mapping[str, _Rows]
    others: str

    @classmethod
    def take(
        cls, corpus: Corpus, *, media: bool, splits: Collection[str] = TRAINING_SPLITS
    ) -> Fingerprint:
        """Look at the rows of a corpus and, which takes a second for thousands of clips, media.

        Args:
            corpus: As read.
            media: Whether to look at media.
            splits: At which to look clip by clip.
        """
        chosen = {split: corpus.splits.get(split, ()) for split in splits}
        rows = [one for samples in chosen.values() for one in samples] if media else []
        paths = {path for one in rows for path in (one.media, one.array) if path is not None}
        with ThreadPoolExecutor(_THREADS) as pool:
            seen = dict(zip(paths, pool.map(_look_at, paths), strict=True))
        others = {
            sample.text
            for split, samples in corpus.splits.items()
            if split not in chosen
            for sample in samples
        }
        found = {split: _Rows() for split in chosen}
        for split, samples in chosen.items():
            for sample in samples:
                part = digest(part_of(sample))
                medium = seen.get(sample.media)
                if sample.array is not None:  # what is not used leaves it as it always was
                    medium = digest([medium, seen.get(sample.array)]) if media else None
                found[split].add(sample.id, _labels_of(sample), part, medium)
        return cls(found, digest(sorted(others)))

    @classmethod
    def read(cls, path: Path) -> Fingerprint | None:
        """Read what a run has noted of its corpus; None where there is no such file.

        Raises:
            InputError: it is damaged.
        """
        if not path.exists():
            return None
        expected = "what the run's corpus was: --accept-changes goes on with the corpus as it is"
        facts = read_json(path, expected)
        with reading(path, expected):
            if facts["version"] != _VERSION:
                raise ValueError
            splits = {split: _Rows() for split in TRAINING_SPLITS}
            for split, rows in splits.items():
                found = facts["splits"][split]
                media: dict[str, str] = {}  # one text for each medium, not one for each row
                for (name, labels, part), medium in zip(found["rows"], found["media"], strict=True):
                    seen = None if medium is None else media.setdefault(medium, medium)
                    rows.add(name, labels, part, seen)
            return cls(splits, facts["others"])

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        head = json.dumps({"version": _VERSION, "others": self.others})
        with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f'{head[:-1]}, "splits": {{')
            for number, (split, rows) in enumerate(self.splits.items()):
                file.write(f"{', ' if number else ''}{json.dumps(split)}: ")
                rows.write(file)
            file.write("}}\n")

    def changes(self, now: Fingerprint, *, extra_texts: bool) -> list[str]:
        """What differs in a corpus now, one phrase a kind with its count and first clip.

        Texts of the other splits count only where a recipe has `extra_texts`.
        """
        told: list[str] = []
        for split, before in self.splits.items():
            after = now.splits[split]
            for kind, names in before.changes(after):
                if names:
                    clips = "clip" if len(names) == 1 else "clips"
                    told.append(f"{split}: {len(names):,} {clips} {kind} (first: {names[0]!r})")
            if not before.in_order(after):
                told.append(f"{split}: the clips are in another order")
        if extra_texts and not told and self.others != now.others:
            told.append("the texts of its other splits differ, which extra_texts avoid")
        return told


def _write_items(file: TextIO, items: Iterable[Any]) -> None:
    """Write the items of a list in JSON, without its brackets, as `json.dumps` does."""
    left, comma = iter(items), ""
    while some := list(islice(left, _ROWS_AT_ONCE)):
        file.write(f"{comma}{json.dumps(some, ensure_ascii=False)[1:-1]}")
        comma = ", "


def _labels_of(sample: Sample) -> str:
    labels = [sample.text, sample.gloss, sample.transcript, sample.language]
    references = [sample.references] if sample.references else []
    return digest([*labels, *references])


def _look_at(media: Path) -> str | None:
    """Checksum of a medium; None where it cannot be read, which is reported elsewhere."""
    try:
        if is_packed(media):
            index = read_index(media.parent)
            return digest([index.sha256, index.clips.get(media.name)])
        checksum = hashlib.blake2b(digest_size=8)
        for part in _parts(media):
            checksum.update(part)
    except (InputError, OSError, ValueError):
        return None
    return checksum.hexdigest()


def _parts(media: Path) -> Iterator[bytes]:
    """What identifies a medium: a file's ends; a folder's files, by names, sizes and some ends."""
    if media.is_dir():
        with os.scandir(media) as entries:
            # Hidden files are what file managers leave.
            files = sorted((one.name, one.stat().st_size) for one in entries if one.name[0] != ".")
        yield json.dumps(files).encode()
        ends = [media / name for name, _ in [*files[:1], *files[1:][-1:]]]
    else:
        ends = [media]
    for path in ends:
        if path.is_dir():
            continue
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            yield str(size).encode()
            file.seek(0)
            yield file.read(_ENDS)
            file.seek(max(size - _ENDS, 0))
            yield file.read(_ENDS)
