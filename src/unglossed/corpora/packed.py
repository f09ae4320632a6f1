"""A packed corpus, as `pack` writes it: a manifest, a table of rows, and shards of pictures.

Reads the manifest, the rows and the shards' indexes; `media.packed` opens a shard to read a clip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from unglossed.corpora.faults import Fault, FaultKind
from unglossed.corpora.output import read_document
from unglossed.corpora.reading import ALL, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.table import add_table
from unglossed.errors import InputError
from unglossed.files import file_checksum
from unglossed.media.packed import ShardIndex, read_index

MANIFEST = "manifest.json"
PLAN = "unfinished.json"
ROWS = "rows.jsonl"
SHARDS = "shards"


class Plan(BaseModel):
    """What is packed, and how (see `pack_corpus`); written before the first shard.

    Attributes:
        version: Of the layout.
        source: Spec of the corpus that is packed, with whole paths.
        source_rows: SHA-256 over the rows that are packed.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    version: Literal[1] = 1
    source: str
    splits: tuple[str, ...]
    short_side: int
    quality: int
    max_shard_bytes: int
    source_rows: str


class Shard(BaseModel):
    """One shard in the manifest: its name in the folder `shards`, size in bytes, and content."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    size: int
    sha256: str
    num_clips: int
    num_frames: int

    @staticmethod
    def of(path: Path, index: ShardIndex) -> Shard:
        """The entry of a shard, from its index."""
        num_frames = sum(frames for _, _, frames in index.clips.values())
        return Shard(
            name=path.name,
            size=index.size,
            sha256=index.sha256,
            num_clips=len(index.clips),
            num_frames=num_frames,
        )

    def describes(self, index: ShardIndex | None) -> bool:
        """Whether an index is of this shard, as far as size and checksum tell."""
        return index is not None and (index.size, index.sha256) == (self.size, self.sha256)


class Manifest(Plan):
    """What a packed corpus holds: clips and frames over all splits, shards in the rows' order.

    Attributes:
        language: Of the texts.
        normalisation: What scoring does to them, see `evaluation.metrics`.
        notes: What the source's reader left out.
        frame_rate: Frames a second of every clip.
        rows_sha256: Checksum of the table.
    """

    language: str
    normalisation: str
    notes: tuple[str, ...]
    frame_rate: float
    num_clips: int
    num_frames: int
    rows_sha256: str
    shards: tuple[Shard, ...]


def read_packed(reading: Reading) -> Corpus:
    """Read a packed corpus; language and normalisation are those of its source.

    `?media=` names another folder that holds the folder `shards`.

    Raises:
        InputError: Manifest, table or index are missing or malformed, or packing has not ended; a
            shard is missing or of another size than the manifest says; rows and shards differ, or
            the rows are not as they were packed.
    """
    root = reading.media_root or reading.root
    manifest = read_manifest(reading.root)
    clips = _list_clips(reading, root, manifest)
    path = reading.root / ROWS
    paths = {shard: root / shard for shard in clips}
    used: dict[str, set[str]] = {shard: set() for shard in clips}
    num_rows = 0

    def find_media(name: str) -> Path | None:
        nonlocal num_rows
        num_rows += 1
        if not reading.has_media:
            return None
        shard, _, key = name.rpartition("/")
        if key not in clips.get(shard, ()):
            return None
        if reading.faults is not None:
            used[shard].add(key)
        return paths[shard] / key

    rows = Rows(reading, manifest.language, many=True)
    add_table(rows, reading, path, find_media)
    if num_rows != manifest.num_clips:
        reading.report(
            FaultKind.MALFORMED_ROW,
            str(path),
            f"found {num_rows} rows, expected {manifest.num_clips} as {MANIFEST} says",
        )
    if (checksum := file_checksum(path)) != manifest.rows_sha256:
        text = _differs(checksum, manifest.rows_sha256)
        reading.report(FaultKind.DAMAGED_MEDIA, str(path), text)
    for shard, keys in used.items():
        rows.leftover(paths[shard], clips[shard], keys)
    corpus = rows.corpus("packed", manifest.normalisation)
    corpus = replace(corpus, notes=manifest.notes + corpus.notes)
    if reading.language == ALL:
        return corpus
    if len(corpus.languages) > 1:
        return _choose_language(reading, corpus)
    if reading.language in (None, manifest.language):
        return corpus
    # The texts are in another language than the source said.
    splits = {
        name: tuple(replace(sample, language=reading.language) for sample in samples)
        for name, samples in corpus.splits.items()
    }
    return replace(corpus, language=reading.language, splits=splits)


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a packed corpus.

    Raises:
        InputError: It is not there or malformed, or packing has not ended.
    """
    if (root / MANIFEST).is_file():
        return read_document(Manifest, root / MANIFEST)
    if (root / PLAN).is_file():
        raise InputError(
            f"{root}: packing was interrupted, expected {MANIFEST}:"
            " run the same `unglossed corpus pack` again, it goes on"
        )
    raise InputError(
        f"{root}: found no {MANIFEST}, expected a folder that `unglossed corpus pack` made"
    )


def file_size(path: Path) -> int | None:
    """Bytes of a file; None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def verify_shards(root: Path, shards: Path | None = None) -> Iterator[Fault]:
    """Compare the checksums of all shards with the manifest; every byte is read.

    Args:
        root: Folder of the packed corpus.
        shards: Folder of its shards; None: the one in it.

    Yields:
        A fault for each file that is missing or differs.
    """
    for shard in read_manifest(root).shards:
        path = (shards or root / SHARDS) / shard.name
        try:
            found = file_checksum(path)
        except OSError as error:
            yield Fault(FaultKind.UNREADABLE_MEDIA, str(path), f"{error.strerror}")
            continue
        if found != shard.sha256:
            yield Fault(FaultKind.DAMAGED_MEDIA, str(path), _differs(found, shard.sha256))


def _differs(found: str, expected: str) -> str:
    return (
        f"found SHA-256 {found[:16]}..., expected {expected[:16]}... as {MANIFEST} says: delete it"
        " and pack again, which makes it anew"
    )


def _choose_language(reading: Reading, corpus: Corpus) -> Corpus:
    """The part of a corpus in several languages that was asked for."""
    if reading.language in corpus.languages:
        kept = {
            name: tuple(row for row in rows if row.language == reading.language)
            for name, rows in corpus.splits.items()
        }
        splits = {name: rows for name, rows in kept.items() if rows}
        return replace(corpus, language=reading.language, splits=splits)
    found, chosen = ", ".join(corpus.languages), reading.language
    choices = " or ".join(f"?language={code}" for code in corpus.languages)
    text = (
        f"found texts in {found}{f', not in {chosen}' if chosen else ''}, expected a choice:"
        f" {choices} in the spec, or ?language=* for all"
    )
    reading.report(FaultKind.MIXED_LANGUAGES, str(reading.root / ROWS), text)
    return corpus


def _list_clips(reading: Reading, root: Path, manifest: Manifest) -> dict[str, Collection[str]]:
    """The keys of all clips, by the shards that are there, which are named as the rows do."""
    clips: dict[str, Collection[str]] = {}
    for shard in manifest.shards if reading.has_media else ():
        path = root / SHARDS / shard.name
        size = file_size(path)
        if size is None:
            continue  # each of its rows is reported
        if size != shard.size:
            reading.report(
                FaultKind.DAMAGED_MEDIA,
                str(path),
                f"found {size} bytes, expected {shard.size} as {MANIFEST} says: cut short, or"
                " not the shard of this corpus",
            )
        index = read_index(path)
        if not shard.describes(index):
            raise InputError(
                f"{path}: its index and {MANIFEST} differ in size or checksum,"
                " expected both from one packing: the same `unglossed corpus pack` again makes it"
                " anew"
            )
        clips[f"{SHARDS}/{shard.name}"] = index.clips
    return clips
