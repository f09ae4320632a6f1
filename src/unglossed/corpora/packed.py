"""A packed corpus, as `pack` writes it: a manifest, a table of rows, and shards of pictures.

Reads the manifest, the rows and the shards' indexes; a shard itself is opened by who reads a clip.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from unglossed.corpora.faults import Fault, FaultKind
from unglossed.corpora.reading import ALL, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.table import add_table
from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.packed import read_index
from unglossed.model_folders import file_checksum

MANIFEST = "manifest.json"
PLAN = "unfinished.json"
ROWS = "rows.jsonl"
SHARDS = "shards"


class Plan(BaseModel):
    """What is packed, and how; written before the first shard.

    Attributes:
        version: Of the layout.
        source: Spec of the corpus that is packed, with whole paths.
        splits: Splits that are packed.
        short_side: Most pixels of a picture's short side.
        quality: Of the JPEG pictures, 1 to 100.
        max_shard_bytes: A shard that would grow beyond this ends before the clip.
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


class Manifest(Plan):
    """What a packed corpus holds.

    Attributes:
        language: Of the texts.
        normalisation: What scoring does to them, see `evaluation.normalisation`.
        notes: What the source's reader left out.
        frame_rate: Frames a second of every clip.
        num_clips: Over all splits.
        num_frames: Likewise.
        rows_sha256: Checksum of the table.
        shards: In the order of the rows.
    """

    language: str
    normalisation: str
    notes: tuple[str, ...]
    frame_rate: float
    num_clips: int
    num_frames: int
    rows_sha256: str
    shards: tuple[Shard, ...]


PlanType = TypeVar("PlanType", bound=Plan)


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
    if len(corpus.languages) > 1:
        return _choose_language(reading, corpus)
    if reading.language in (None, ALL, manifest.language):
        return corpus
    return _in_language(corpus, reading.language)


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a packed corpus.

    Raises:
        InputError: It is not there or malformed, or packing has not ended.
    """
    if not (root / MANIFEST).is_file():
        if (root / PLAN).is_file():
            raise InputError(
                f"{root}: packing was interrupted, expected {MANIFEST}:"
                " run the same `unglossed corpus pack` again, it goes on"
            )
        raise InputError(
            f"{root}: found no {MANIFEST}, expected a folder that `unglossed corpus pack` made"
        )
    return read_document(Manifest, root / MANIFEST)


def read_document(kind: type[PlanType], path: Path) -> PlanType:
    """Read a plan or a manifest.

    Raises:
        InputError: It cannot be read, or is malformed: the message names the field.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {f'{field}: ' if field else ''}{first['msg']}") from None


def write_document(document: Plan, path: Path) -> None:
    """Write a plan or a manifest, whole or not at all."""
    write_text(path, document.model_dump_json(indent=2) + "\n")


def file_size(path: Path) -> int | None:
    """Bytes of a file; None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def verify_shards(root: Path, shards: Path | None = None) -> tuple[Fault, ...]:
    """Compare the checksums of all shards with the manifest; every byte is read.

    Args:
        root: Folder of the packed corpus.
        shards: Folder of its shards; None: the one in it.

    Returns:
        A fault for each file that is missing or differs.

    Raises:
        InputError: As `read_manifest`.
    """
    manifest = read_manifest(root)
    shards = shards or root / SHARDS
    faults = []
    for path, checksum in {shards / one.name: one.sha256 for one in manifest.shards}.items():
        try:
            found = file_checksum(path)
        except OSError as error:
            faults.append(Fault(FaultKind.UNREADABLE_MEDIA, str(path), f"{error.strerror}"))
            continue
        if found != checksum:
            text = _differs(found, checksum)
            faults.append(Fault(FaultKind.DAMAGED_MEDIA, str(path), text))
    return tuple(faults)


def _differs(found: str, expected: str) -> str:
    return (
        f"found SHA-256 {found[:16]}..., expected {expected[:16]}... as {MANIFEST} says: delete it"
        " and pack again, which makes it anew"
    )


def _in_language(corpus: Corpus, language: str) -> Corpus:
    """The same corpus, its texts taken to be in another language than its source said."""
    splits = {
        name: tuple(replace(sample, language=language) for sample in samples)
        for name, samples in corpus.splits.items()
    }
    return replace(corpus, language=language, splits=splits)


def _choose_language(reading: Reading, corpus: Corpus) -> Corpus:
    """The part of a corpus in several languages that was asked for."""
    if reading.language == ALL:
        return corpus
    if reading.language in corpus.languages:
        kept = {
            name: tuple(row for row in rows if row.language == reading.language)
            for name, rows in corpus.splits.items()
        }
        return replace(
            corpus,
            language=reading.language,
            splits={name: rows for name, rows in kept.items() if rows},
        )
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
    for shard in manifest.shards:
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
        if (index.size, index.sha256) != (shard.size, shard.sha256):
            raise InputError(
                f"{path}: its index and {MANIFEST} differ in size or checksum,"
                " expected both from one packing: the same `unglossed corpus pack` again makes it"
                " anew"
            )
        clips[f"{SHARDS}/{shard.name}"] = index.clips
    return clips
