"""Pack a corpus: its frames, resized, as JPEG pictures in shards, with rows and a manifest.

What one process has packed another goes on with: shards are written whole, one after the other,
and the same corpus gives the same bytes. Reading is the work of `packed` and `media.packed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from unglossed.checksums import file_checksum
from unglossed.corpora.pack_clip import encode_clip, key_of, row_of
from unglossed.corpora.pack_resume import (
    begin,
    find_finished,
    fingerprint,
    locked,
    refuse_foreign,
    remove_others,
    shard_path,
    source_of,
)
from unglossed.corpora.packed import (
    MANIFEST,
    PLAN,
    ROWS,
    SHARDS,
    Manifest,
    Plan,
    Shard,
    read_manifest,
    write_document,
)
from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import whole_file, write_text
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.packed import PackedClip, ShardIndex, ShardWriter, index_path
from unglossed.media.video import FRAME_RATE

MAX_SHARD_BYTES = 256_000_000


@dataclass(frozen=True)
class Packing:
    """What `pack_corpus` did.

    Attributes:
        out: The packed corpus's folder.
        manifest: What it holds.
        num_new_clips: Clips that this call packed; 0 if an earlier one had ended.
        verified: Whether the checksums of what was there were compared, and not its sizes alone.
    """

    out: Path
    manifest: Manifest
    num_new_clips: int
    verified: bool = True

    def __str__(self) -> str:
        size = sum(shard.size for shard in self.manifest.shards) / 1e6
        facts = f"{self.manifest.num_clips} clips in {len(self.manifest.shards)} shards"
        done = f"{self.num_new_clips} of them now"
        if not self.num_new_clips:
            done = "packed before"
        if not self.verified:
            done += " (sizes compared, contents not: `unglossed corpus check --deep` does that)"
        return f"{self.out}: {facts}, {size:.1f} MB, {done}"


def pack_corpus(
    spec: str,
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    short_side: int = 256,
    quality: int = 90,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    num_workers: int | None = None,
    progress: bool = True,
) -> Packing:
    """Pack a corpus into a folder that `packed:<folder>` reads.

    Each clip becomes its frames at 25 a second, cut to the sample's times and box. After an
    interruption, or a clip that could not be read, the same call goes on: shards that are there are
    verified by their checksums, and packed again if they differ or their rows were corrected. Bytes
    do not depend on interruptions or the number of workers.

    Args:
        spec: Corpus to pack.
        out: Folder to make; it may be empty, or hold what an earlier call with the same arguments
            left.
        splits: Splits to pack; None for all.
        short_side: Pictures whose short side is longer are reduced to it.
        quality: Of the JPEG pictures, 1 to 100.
        max_shard_bytes: A shard that would grow beyond this ends before the clip.
        num_workers: Processes that read clips; None for one per core.
        progress: Show a bar on standard error.

    Raises:
        InputError: An argument is out of range, a clip cannot be read or has no pictures, or `out`
            holds something else: another corpus, or the same packed with other arguments; or
            another process is packing into it.
    """
    for name, value, least, most in (
        ("--short-side", short_side, 16, 65500),
        ("--quality", quality, 1, 100),
        ("--shard-size", max_shard_bytes, 1, 2**40),
    ):
        if not least <= value <= most:
            raise InputError(f"{name}: found {value}, expected {least} to {most}")
    corpus = read_corpus(spec)
    chosen = {name: corpus.split(name) for name in splits or corpus.splits}
    samples = [sample for split in chosen.values() for sample in split]
    _refuse_sound(spec, samples)
    plan = Plan(
        source=source_of(spec),
        splits=tuple(chosen),
        short_side=short_side,
        quality=quality,
        max_shard_bytes=max_shard_bytes,
        source_rows=fingerprint(samples, corpus.root),
    )
    try:
        refuse_foreign(out)
        with locked(out):
            if begin(plan, out, all_splits=not splits):
                return Packing(out, read_manifest(out), 0, verified=False)
            shards, num_new = _pack(chosen, out, plan, corpus.root, num_workers, progress)
            return Packing(out, _finish(plan, corpus, samples, shards, out), num_new)
    except OSError as error:
        raise InputError(f"{error.filename or out}: packing stopped: {error.strerror}") from error


def _refuse_sound(spec: str, samples: Sequence[Sample]) -> None:
    for sample in samples:
        if sample.media.suffix.lower() in AUDIO_SUFFIXES:
            raise InputError(
                f"{spec}: found sound ({sample.media}), expected frames or videos: there is"
                " nothing to resize, use the corpus as it is"
            )


def _pack(
    splits: Mapping[str, Sequence[Sample]],
    out: Path,
    plan: Plan,
    root: Path,
    num_workers: int | None,
    progress: bool,
) -> tuple[list[Shard], int]:
    """Write the shards that are not there yet.

    Returns:
        All shards, and the number of clips that were packed.
    """
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("packing", total=sum(map(len, splits.values())))

        def counted(clips: Iterable[PackedClip]) -> Iterator[PackedClip]:
            for clip in clips:
                yield clip
                bar.advance(task)

        shards: dict[str, list[Shard]] = {split: [] for split in splits}
        rest = {}
        for split, samples in splits.items():
            for path, index in find_finished(out, split, samples, root):
                shards[split].append(_entry(path, index))
                bar.advance(task, len(index.clips))
            rest[split] = samples[sum(shard.num_clips for shard in shards[split]) :]
        # One run of workers over all splits, which are cut from its results.
        left = list(chain(*rest.values()))
        encode = partial(encode_clip, short_side=plan.short_side, quality=plan.quality)
        workers = min(num_workers or num_cores(), len(left))
        with closing(map_in_order(encode, left, workers)) as encoded:
            clips = counted(encoded)
            for split, samples in rest.items():
                number = len(shards[split])
                shards[split] += _write_shards(out, split, number, samples, clips, plan, root)
    return list(chain(*shards.values())), len(left)


def _write_shards(
    out: Path,
    split: str,
    number: int,
    samples: Sequence[Sample],
    clips: Iterator[PackedClip],
    plan: Plan,
    root: Path,
) -> Iterator[Shard]:
    """Write a split's clips to as many shards as they need, the first of them with this number."""
    clips = islice(clips, len(samples))
    first = 0
    clip = next(clips, None)
    while clip is not None:
        path = shard_path(out, split, number)
        with whole_file(path) as unfinished, ShardWriter(unfinished) as writer:
            while clip is not None and (
                not writer.clips or writer.num_bytes + clip.size() <= plan.max_shard_bytes
            ):
                writer.add(clip)
                clip = next(clips, None)
            index = writer.finish()
        end = first + len(index.clips)
        index = replace(index, rows=fingerprint(samples[first : end + 1], root))
        # The index comes last: a shard without one is packed again.
        write_text(index_path(path), index.to_json())
        first = end
        number += 1
        yield _entry(path, index)


def _entry(path: Path, index: ShardIndex) -> Shard:
    return Shard(
        name=path.name,
        size=index.size,
        sha256=index.sha256,
        num_clips=len(index.clips),
        num_frames=sum(frames for _, _, frames in index.clips.values()),
    )


def _finish(
    plan: Plan, corpus: Corpus, samples: Sequence[Sample], shards: list[Shard], out: Path
) -> Manifest:
    """Write the table, and the manifest, with which the corpus is packed."""
    remove_others(out, {shard.name for shard in shards})
    names = (shard.name for shard in shards for _ in range(shard.num_clips))
    lines = []
    for sample, name in zip(samples, names, strict=True):
        row = {"id": sample.id, "media": f"{SHARDS}/{name}/{key_of(sample.id)}", **row_of(sample)}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(out / ROWS, "".join(lines))
    manifest = Manifest(
        **plan.model_dump(),
        language=corpus.language,
        normalisation=corpus.normalisation,
        notes=corpus.notes,
        frame_rate=FRAME_RATE,
        num_clips=len(samples),
        num_frames=sum(shard.num_frames for shard in shards),
        rows_sha256=file_checksum(out / ROWS),
        shards=tuple(shards),
    )
    write_document(manifest, out / MANIFEST)
    (out / PLAN).unlink(missing_ok=True)
    return manifest
