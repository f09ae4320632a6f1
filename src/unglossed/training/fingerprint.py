"""The fingerprint of a run's corpus: checksums of rows and media of train and dev, `corpus.json`.

A row is known by its id, its labels and what is read of its medium; a medium by its size and the
bytes at its begin and end, so that a copy on another disk is the same one. Bytes that change in the
middle of a file are not noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unglossed.corpora.needs import TRAINING_SPLITS
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.frames import is_packed
from unglossed.media.packed import read_index
from unglossed.training.checkpoint import read_json, reading
from unglossed.training.features import digest, part_of

FINGERPRINT_FILE = "corpus.json"
_VERSION = 1
_ENDS = 2**16  # bytes read at either end of a file
_THREADS = 8  # who waits for a file server waits for several files at a time


_KINDS = (
    "with other labels",
    "with other times, boxes, frame rates or deinterlacing",
    "with other media",
)
"""How a clip can differ, in the order of the checksums of a `Row`."""


class Row(NamedTuple):
    """Checksums of a clip's labels, of what is read of its medium, and of the medium.

    The last is None where nobody looked, or where the medium cannot be read.
    """

    labels: str
    part: str
    medium: str | None


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a corpus, as it was when a run looked at it.

    Attributes:
        splits: Rows by id, in the corpus's order, of each split that is trained or scored on.
        others: Checksum of the other splits' texts, which the recipe's extra_texts keep clear of.
    """

    splits: Mapping[str, Mapping[str, Row]]
    others: str

    @classmethod
    def take(cls, corpus: Corpus, *, media: bool) -> Fingerprint:
        """Look at the rows of a corpus and, which takes a second for thousands of clips, media."""
        splits = {split: corpus.splits.get(split, ()) for split in TRAINING_SPLITS}
        paths = {one.media for samples in splits.values() for one in samples} if media else set()
        with ThreadPoolExecutor(_THREADS) as pool:
            seen = dict(zip(paths, pool.map(_look_at, paths), strict=True))
        others = {
            sample.text
            for split, samples in corpus.splits.items()
            if split not in splits
            for sample in samples
        }
        rows = {
            split: {sample.id: _row(sample, seen.get(sample.media)) for sample in samples}
            for split, samples in splits.items()
        }
        return cls(rows, digest(sorted(others)))

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
            splits = {}
            for split in TRAINING_SPLITS:
                found = facts["splits"][split]
                pairs = zip(found["rows"], found["media"], strict=True)
                splits[split] = {
                    name: Row(labels, part, medium) for (name, labels, part), medium in pairs
                }
            return cls(splits, facts["others"])

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        splits = {
            split: {
                "rows": [[name, row.labels, row.part] for name, row in rows.items()],
                "media": [row.medium for row in rows.values()],
            }
            for split, rows in self.splits.items()
        }
        facts = {"version": _VERSION, "others": self.others, "splits": splits}
        write_text(path, json.dumps(facts, ensure_ascii=False) + "\n")

    def changes(self, now: Fingerprint, *, generates: bool) -> list[str]:
        """What differs in a corpus now, one phrase a kind with its count and first clip.

        Texts of the other splits count only where a recipe `generates` sentences.
        """
        told: list[str] = []
        for split, before in self.splits.items():
            after = now.splits[split]
            kept = [name for name in after if name in before]
            kinds = {
                "added": [name for name in after if name not in before],
                "removed": [name for name in before if name not in after],
            }
            for number, kind in enumerate(_KINDS):
                pairs = ((name, before[name][number], after[name][number]) for name in kept)
                kinds[kind] = [name for name, *both in pairs if both[0] != both[1] and all(both)]
            for kind, names in kinds.items():
                if names:
                    clips = "clip" if len(names) == 1 else "clips"
                    told.append(f"{split}: {len(names):,} {clips} {kind} (first: {names[0]!r})")
            if kept != [name for name in before if name in after]:
                told.append(f"{split}: the clips are in another order")
        if generates and not told and self.others != now.others:
            told.append("the texts of its other splits differ, which extra_texts avoid")
        return told


def _row(sample: Sample, medium: str | None) -> Row:
    labels = [sample.text, sample.gloss, sample.transcript, sample.language]
    references = [sample.references] if sample.references else []
    return Row(digest([*labels, *references]), digest(part_of(sample)), medium)


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
