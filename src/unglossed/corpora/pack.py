"""Pack a corpus: its frames, resized, as JPEG pictures in shards, with rows and a manifest.

What one process has packed another goes on with: shards are written whole, one after the other,
and the same corpus gives the same bytes. Reading is the work of `packed` and `media.packed`.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from unglossed.corpora.packed import (
    MANIFEST,
    PLAN,
    ROWS,
    SHARDS,
    Manifest,
    Plan,
    Shard,
    file_size,
    read_document,
    read_manifest,
    write_document,
)
from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import exclusive, whole_file, write_text
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import FRAME_RATE
from unglossed.media.packed import (
    PackedClip,
    ShardIndex,
    ShardWriter,
    index_path,
    read_index,
    scan_shard,
)
from unglossed.media.signal import frames_in_parts, kept_indices
from unglossed.model_folders import file_checksum

_LONGEST_KEY = 80  # with number and suffix it fits into the 100 bytes of a tar header


def key_of(id: str) -> str:
    """Name of a clip in its shard, another for each id.

    Dots would end the key, slashes are folders, and a dash at the begin is taken for an option:
    what is no ASCII letter, digit, dash or underscore is written as in a URL, so that
    `urllib.parse.unquote` gives the id back. Keys that would be too long end in a checksum instead.
    """
    key = urllib.parse.quote(id, safe="").replace(".", "%2E").replace("~", "%7E")
    if key.startswith("-"):
        key = "%2D" + key[1:]
    if len(key) > _LONGEST_KEY:
        checksum = hashlib.sha256(id.encode()).hexdigest()[:32]
        key = f"{key[: _LONGEST_KEY - 33]}~{checksum}"
    return key


def row_of(sample: Sample) -> dict[str, str | list[str]]:
    """What a row says beside the media; what the corpus does not tell has no field."""
    row = {
        "id": sample.id,
        "text": [sample.text, *sample.references] if sample.references else sample.text,
        "split": sample.split,
        "language": sample.language,
        "signer": sample.signer,
        "gloss": sample.gloss,
    }
    return {name: value for name, value in row.items() if value is not None}


def encode_clip(sample: Sample, short_side: int, quality: int) -> PackedClip:
    """Read, cut, resize and encode a clip's frames on the grid of 25 a second.

    Raises:
        InputError: The clip cannot be read, or its frames differ in size.
    """
    pictures: list[bytes] = []
    sizes = set()
    try:
        for frames in frames_in_parts(sample, kept_indices(sample, 1.0)):
            for frame in frames:
                picture = _reduce(frame, short_side)
                sizes.add(picture.shape[:2])
                pictures.append(_encode(picture, quality))
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            raise InputError(
                f"{sample.media}: found frames of different sizes ({found}), expected one size"
            )
    except InputError as error:
        raise InputError(f"{error} (clip {sample.id!r})") from None
    (height, width), *_ = sizes
    return PackedClip(key_of(sample.id), row_of(sample), width, height, pictures)


def _reduce(frame: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = round(width * scale), round(height * scale)
    resized = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _encode(picture: NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
        (
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
            *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ),
    )
    assert done, picture.shape
    return bytes(data)


_LOCK = ".lock"
# Fields of rows that came after the first packed corpora.
_NEWER = ("frame_rate", "references", "deinterlace")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep others from packing into a folder, which is made; a process that is killed lets go.

    Raises:
        InputError: Another process packs into it.
    """

    def refuse() -> None:
        raise InputError(
            f"{out}: another process is packing into this folder: wait until it has ended"
        ) from None

    def remove() -> None:
        with suppress(OSError):  # Windows does not remove a file that is open
            path.unlink()

    path = out / _LOCK
    with ExitStack() as stack:
        with suppress(OSError):  # who cannot write here will be told so, if there is need to
            stack.enter_context(exclusive(path, refuse))
            stack.callback(remove)  # before the lock is let go
        yield


def begin(plan: Plan, out: Path, *, all_splits: bool) -> bool:
    """Look at what there is in a folder, and note down the plan if it differs.

    Args:
        plan: What is to be packed.
        out: The folder.
        all_splits: The splits are those that the corpus has, not ones that the user named.

    Returns:
        Whether all is packed already.

    Raises:
        InputError: Something else is there: another corpus, or the same packed in another way.
    """
    if (out / MANIFEST).is_file():
        manifest = read_document(Manifest, out / MANIFEST)
        _compare(plan, manifest, out / MANIFEST, set())
        (out / PLAN).unlink(missing_ok=True)
        return (out / ROWS).is_file() and all(
            _looks_finished(out / SHARDS / shard.name, shard) for shard in manifest.shards
        )
    if (out / PLAN).is_file():
        before = read_document(Plan, out / PLAN)
        # Which rows have changed shows shard by shard.
        changeable = {"source_rows", "splits"} if all_splits else {"source_rows"}
        _compare(plan, before, out / PLAN, changeable)
        if plan != before:
            write_document(plan, out / PLAN)
        return False
    refuse_foreign(out)
    write_document(plan, out / PLAN)
    return False


def refuse_foreign(out: Path) -> None:
    """Refuse a folder with something in it that `pack` has not made.

    Raises:
        InputError: It is one, or it is a file.
    """
    if not out.exists() or (out / MANIFEST).is_file() or (out / PLAN).is_file():
        return
    # What `files` had begun to write when it was killed has a name with a dot, as the lock has.
    if not out.is_dir() or not all(path.name[0] == "." for path in out.iterdir()):
        raise InputError(f"{out}: exists already, expected a new or an empty folder")


def find_finished(
    out: Path, split: str, samples: Sequence[Sample], root: Path
) -> Iterator[tuple[Path, ShardIndex]]:
    """The shards of a split that are packed, up to the first that is not sound.

    An index that was lost or damaged after packing had ended is made anew.
    """
    packed: dict[str, Shard] = {}
    if (out / MANIFEST).is_file():
        manifest = read_document(Manifest, out / MANIFEST)
        packed = {shard.name: shard for shard in manifest.shards}
    keys = [key_of(sample.id) for sample in samples]
    first = 0
    for number in count():
        path = shard_path(out, split, number)
        index = None if first == len(keys) else _sound_index(path, packed.get(path.name))
        if index is None:
            return
        end = first + len(index.clips)
        # The row behind is the one before which the shard had to end.
        rows = fingerprint(samples[first : end + 1], root)
        if not index.rows and path.name in packed:  # the manifest vouches for the rows
            index = replace(index, rows=rows)
            write_text(index_path(path), index.to_json())
        if list(index.clips) != keys[first:end] or index.rows != rows:
            return
        first = end
        yield path, index


def shard_path(out: Path, split: str, number: int) -> Path:
    """Where a shard lies."""
    return out / SHARDS / f"{key_of(split)}-{number:06d}.tar"


def remove_others(out: Path, names: Collection[str]) -> None:
    """Remove shards that were packed of rows which the corpus no longer has."""
    for path in (out / SHARDS).glob("*.tar"):
        if path.name not in names:
            index_path(path).unlink(missing_ok=True)
            path.unlink()


def source_of(spec: str) -> str:
    """A spec whose paths are whole: however it is spelled, the same corpus has one."""
    kind, _, rest = spec.partition(":")
    path, _, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    options = dict(sorted(parse_qsl(query.replace("+", "%2B"))))
    if "media" in options:
        options["media"] = _whole(options["media"])
    told = urlencode(options, safe="/", quote_via=quote)
    return f"{kind}:{_whole(path)}" + (f"?{told}" if options else "")


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """A checksum of all that rows say, but for the folder that the corpus lies in."""
    checksum = hashlib.sha256()
    for sample in samples:
        facts = {**asdict(sample), "media": os.path.relpath(sample.media, root)}
        facts = {name: facts[name] for name in facts if facts[name] or name not in _NEWER}
        checksum.update(json.dumps(facts).encode())
    return checksum.hexdigest()


def _compare(plan: Plan, before: Plan, path: Path, changeable: Collection[str]) -> None:
    before = before.model_copy(update={"source": source_of(before.source)})
    for name in Plan.model_fields:
        found, wanted = getattr(before, name), getattr(plan, name)
        if found != wanted and name not in changeable:
            what = f"{name} {found!r}, not {wanted!r}"
            if name == "source_rows":
                what = "other rows than the source has now"
            raise InputError(
                f"{path}: packing began with {what}: expected the same corpus and settings as"
                " then, or another folder"
            )


def _looks_finished(path: Path, shard: Shard) -> bool:
    """Whether a shard has its size and its index; the bytes are not read."""
    index = _index_of(path)
    return (
        index is not None
        and file_size(path) == shard.size
        and (index.size, index.sha256) == (shard.size, shard.sha256)
    )


def _index_of(path: Path) -> ShardIndex | None:
    """The index of a shard; None if it is lost or damaged."""
    try:
        return read_index(path)
    except InputError:
        return None


def _sound_index(path: Path, packed: Shard | None) -> ShardIndex | None:
    """The index of a shard whose bytes are whole; None if it has to be packed.

    Args:
        path: The shard.
        packed: What the manifest says of it; from it and the shard an index is made anew.
    """
    size, index = file_size(path), _index_of(path)
    expected = packed or index
    if expected is None or size != expected.size or file_checksum(path) != expected.sha256:
        return None
    if index is None or (index.size, index.sha256) != (expected.size, expected.sha256):
        return scan_shard(path)
    return index


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())


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
