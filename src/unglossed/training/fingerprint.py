"""By what a run knows its corpus again: rows and media of train and dev, in `corpus.json`.

A row is known by its id, its labels (text, references, glosses, transcript, language) and by what
is read of its medium (times, box, frame rate, deinterlacing); a medium by its size and the bytes at
its begin and end, so that a copy on another disk is the same one. Bytes that change in the middle
of a file are not noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unglossed.corpora.needs import TRAINING_SPLITS
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.packed import is_packed, read_index
from unglossed.training.features import digest, part_of

FILE = "corpus.json"
_VERSION = 1
_ENDS = 2**16  # bytes read at either end of a file
_THREADS = 8  # who waits for a file server waits for several files at a time

Row = tuple[str, str, str]
"""Id of a clip, checksum of its labels, and of its part of the medium."""


@dataclass(frozen=True)
class Fingerprint:
    """What a corpus was when a run looked at it.

    Attributes:
        rows: Of each split that is trained or scored on, in the corpus's order.
        media: Checksum of each clip's medium, in the same order; None: nobody looked, or it cannot
            be read.
        others: Checksum of the other splits' texts, which generated sentences keep clear of.
    """

    rows: Mapping[str, tuple[Row, ...]]
    media: Mapping[str, tuple[str | None, ...]]
    others: str

    def changes(self, now: Fingerprint, *, generates: bool) -> list[str]:
        """What differs in the rows of a corpus, one phrase a kind with its count and first clip.

        Args:
            now: the corpus as it is now.
            generates: whether generated sentences are trained on.
        """
        told: list[str] = []
        for split, rows in self.rows.items():
            before = {row[0]: row for row in rows}
            after = {row[0]: row for row in now.rows[split]}
            kept = [name for name in after if name in before]
            kinds = {
                "added": [name for name in after if name not in before],
                "removed": [name for name in before if name not in after],
                "with other labels": [n for n in kept if before[n][1] != after[n][1]],
                "with other times, boxes, frame rates or deinterlacing": [
                    n for n in kept if before[n][2] != after[n][2]
                ],
            }
            told += [_tell(split, kind, names) for kind, names in kinds.items() if names]
            if kept != [name for name in before if name in after]:
                told.append(f"{split}: the clips are in another order")
        if generates and not told and self.others != now.others:
            told.append("the texts of its other splits differ, which generated sentences avoid")
        return told

    def media_changes(self, now: Fingerprint) -> list[str]:
        """What differs in the media of the clips that there were and are, as `changes`."""
        told = []
        for split, rows in self.rows.items():
            before = dict(zip((row[0] for row in rows), self.media[split], strict=True))
            after = zip((row[0] for row in now.rows[split]), now.media[split], strict=True)
            names = [
                name
                for name, medium in after
                if medium is not None and before.get(name, medium) not in (medium, None)
            ]
            if names:
                told.append(_tell(split, "with other media", names))
        return told

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        splits = {
            split: {"rows": self.rows[split], "media": self.media[split]} for split in self.rows
        }
        facts = {"version": _VERSION, "others": self.others, "splits": splits}
        write_text(path, json.dumps(facts, ensure_ascii=False) + "\n")


def take_fingerprint(corpus: Corpus, *, media: bool) -> Fingerprint:
    """Look at a corpus: at its rows, and where asked at its media.

    Args:
        corpus: its rows.
        media: whether to look at media, which takes a second for some thousand clips.
    """
    splits = {split: corpus.splits.get(split, ()) for split in TRAINING_SPLITS}
    paths = {sample.media for samples in splits.values() for sample in samples} if media else set()
    with ThreadPoolExecutor(_THREADS) as pool:
        seen = dict(zip(paths, pool.map(_look_at, paths), strict=True))
    others = sorted(
        {s.text for name, samples in corpus.splits.items() if name not in splits for s in samples}
    )
    return Fingerprint(
        rows={split: tuple(map(_row, samples)) for split, samples in splits.items()},
        media={
            split: tuple(seen.get(sample.media) for sample in samples)
            for split, samples in splits.items()
        },
        others=digest(others),
    )


def read_fingerprint(path: Path) -> Fingerprint | None:
    """Read what a run knows its corpus by; None where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["version"] != _VERSION:
            raise ValueError
        splits = facts["splits"]
        found = Fingerprint(
            {split: tuple(map(_checked, splits[split]["rows"])) for split in TRAINING_SPLITS},
            {split: tuple(splits[split]["media"]) for split in TRAINING_SPLITS},
            facts["others"],
        )
        if any(len(found.rows[split]) != len(found.media[split]) for split in TRAINING_SPLITS):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path}: is damaged, expected what the run's corpus was: --accept-changes goes on with"
            " the corpus as it is"
        ) from None
    return found


def _checked(row: list[str]) -> Row:
    name, labels, part = row
    return name, labels, part


def _tell(split: str, kind: str, names: list[str]) -> str:
    clips = "clip" if len(names) == 1 else "clips"
    return f"{split}: {len(names):,} {clips} {kind} (first: {names[0]!r})"


def _row(sample: Sample) -> Row:
    labels = [sample.text, sample.gloss, sample.transcript, sample.language]
    references = [sample.references] if sample.references else []
    return sample.id, digest([*labels, *references]), digest(part_of(sample))


def _look_at(media: Path) -> str | None:
    """Checksum of a medium; None where it cannot be read, which is told elsewhere."""
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
    """What a medium is known by: of a file its ends, of a folder its files' names and sizes."""
    if not media.is_dir():
        yield from _ends_of(media)
        return
    with os.scandir(media) as entries:
        # Hidden files are what file managers leave.
        files = sorted((one.name, one.stat().st_size) for one in entries if one.name[0] != ".")
    yield json.dumps(files).encode()
    for name in _first_and_last(name for name, _ in files):
        yield from _ends_of(media / name)


def _first_and_last(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return [*listed[:1], *listed[1:][-1:]]


def _ends_of(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        yield str(size).encode()
        file.seek(0)
        yield file.read(_ENDS)
        file.seek(max(size - _ENDS, 0))
        yield file.read(_ENDS)
