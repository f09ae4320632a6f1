"""Pack a corpus: its frames, resized, as JPEG pictures in shards, with rows and a manifest.

An interrupted packing is resumed by the next: shards are written whole, one after the other, and
the same corpus gives the same bytes. `packed` and `media.packed` read what is written here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
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

from unglossed.corpora.output import locked, read_document, refuse_foreign, write_document
from unglossed.corpora.packed import (
    MANIFEST,
    PLAN,
    ROWS,
    SHARDS,
    Manifest,
    Plan,
    Shard,
    file_size,
)
from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import file_checksum, whole_file, write_text
from unglossed.media.array_files import is_array_file
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

MAX_SHARD_BYTES = 256_000_000
_LONGEST_KEY = 80  # with number and suffix it fits into the 100 bytes of a tar header
# Fields of rows that came after the first packed corpora.
_NEWER = ("frame_rate", "references", "deinterlace", "array", "array_is_clip")


@dataclass(frozen=True)
class Packing:
    """What `pack_corpus` did.

    Attributes:
        out: The packed corpus's folder.
        manifest: What it holds.
        num_new_clips: Clips that this call packed; 0 if an earlier one had ended.
        verified: Whether checksums of what was there were compared, and not only sizes.
    """

    out: Path
    manifest: Manifest
    num_new_clips: int
    verified: bool = True

    def __str__(self) -> str:
        size = sum(shard.size for shard in self.manifest.shards) / 1e6
        facts = f"{self.manifest.num_clips} clips in {len(self.manifest.shards)} shards"
        done = f"{self.num_new_clips} of them now" if self.num_new_clips else "packed before"
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
    interruption, or a clip that could not be read, the same call resumes: existing shards are
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
        progress: Show a bar on stderr.

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
    corpus.require_media("`corpus pack`")
    chosen = {name: corpus.split(name) for name in splits or corpus.splits}
    samples = list(chain(*chosen.values()))
    require_frames(spec, samples)
    if any(sample.array is not None for sample in samples):
        raise InputError(f"{spec}: found ?beside, expected it behind the packed corpus's spec")
    plan = Plan(
        source=source_of(spec),
        splits=tuple(chosen),
        short_side=short_side,
        quality=quality,
        max_shard_bytes=max_shard_bytes,
        source_rows=fingerprint(samples, corpus.root),
    )
    output = _Output(out, plan, corpus.root)
    try:
        refuse_foreign(out, (MANIFEST, PLAN))
        with locked(out, "packing"):
            output.begin(all_splits=not splits)
            if output.manifest is not None and output.looks_finished(output.manifest):
                return Packing(out, output.manifest, 0, verified=False)
            shards, num_new = output.pack(chosen, num_workers, progress)
            return Packing(out, output.finish(corpus, samples, shards), num_new)
    except OSError as error:
        raise InputError(f"{error.filename or out}: packing stopped: {error.strerror}") from error


def require_frames(spec: str, samples: Iterable[Sample]) -> None:
    """Refuse clips that are known by their names to have no frames.

    Args:
        spec: The corpus, for messages.
        samples: Its clips.

    Raises:
        InputError: One is an audio file or an array.
    """
    for sample in samples:
        if sample.media.suffix.lower() in AUDIO_SUFFIXES:
            raise InputError(f"{spec}: found audio ({sample.media}), expected frames or videos")
        if is_array_file(sample.media):
            raise InputError(f"{spec}: found arrays ({sample.media}), expected frames or videos")


class _Output:
    """The folder that is packed into: what it holds already, and what is still to be written.

    Files come in this order: the plan, for each shard the shard and its index, the table of rows,
    the manifest. A shard without an index is packed again; a manifest means that all is packed.
    """

    def __init__(self, folder: Path, plan: Plan, root: Path) -> None:
        self.folder, self.plan, self.root = folder, plan, root
        self.manifest: Manifest | None = None

    def begin(self, *, all_splits: bool) -> None:
        """Compare the plan with that of the manifest or an unfinished packing, and write it down.

        Args:
            all_splits: The splits are those that the corpus has, not ones that the user named.

        Raises:
            InputError: Another corpus is there, or the same packed in another way.
        """
        plan_path, manifest_path = self.folder / PLAN, self.folder / MANIFEST
        if manifest_path.is_file():
            self.manifest = read_document(Manifest, manifest_path)
            self._compare(self.manifest, manifest_path, ())
            plan_path.unlink(missing_ok=True)
            return
        before = None
        if plan_path.is_file():
            before = read_document(Plan, plan_path)
            # Which rows have changed shows shard by shard.
            changeable = ("source_rows", "splits") if all_splits else ("source_rows",)
            self._compare(before, plan_path, changeable)
        if self.plan != before:
            write_document(self.plan, plan_path)

    def _compare(self, before: Plan, path: Path, changeable: Collection[str]) -> None:
        before = before.model_copy(update={"source": source_of(before.source)})
        for name in Plan.model_fields:
            found, wanted = getattr(before, name), getattr(self.plan, name)
            if found != wanted and name not in changeable:
                what = f"{name} {found!r}, not {wanted!r}"
                if name == "source_rows":
                    what = "other rows than the source has now"
                raise InputError(
                    f"{path}: packing began with {what}: expected the same corpus and settings as"
                    " then, or another folder"
                )

    def looks_finished(self, manifest: Manifest) -> bool:
        """Whether the table and all shards are there, of their sizes; bytes are not read."""
        return (self.folder / ROWS).is_file() and all(
            file_size(path) == shard.size and shard.describes(_index_of(path))
            for shard in manifest.shards
            for path in [self.folder / SHARDS / shard.name]
        )

    def pack(
        self, splits: Mapping[str, Sequence[Sample]], num_workers: int | None, progress: bool
    ) -> tuple[list[Shard], int]:
        """Write the missing shards; return all shards, and the number of new clips."""
        with Progress(console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task("packing", total=sum(map(len, splits.values())))

            def counted(clips: Iterable[PackedClip]) -> Iterator[PackedClip]:
                for clip in clips:
                    yield clip
                    bar.advance(task)

            shards: dict[str, list[Shard]] = {}
            rest = {}
            for split, samples in splits.items():
                shards[split] = list(self._finished(split, samples))
                num_packed = sum(shard.num_clips for shard in shards[split])
                rest[split] = samples[num_packed:]
                bar.advance(task, num_packed)
            # One run of workers over all splits, which are cut from its results.
            left = list(chain(*rest.values()))
            encode = partial(
                encode_clip, short_side=self.plan.short_side, quality=self.plan.quality
            )
            workers = min(num_workers or num_cores(), len(left))
            with closing(map_in_order(encode, left, workers)) as encoded:
                clips = counted(encoded)
                for split, samples in rest.items():
                    shards[split] += self._write(split, len(shards[split]), samples, clips)
        return list(chain(*shards.values())), len(left)

    def _path(self, split: str, number: int) -> Path:
        return self.folder / SHARDS / f"{key_of(split)}-{number:06d}.tar"

    def _finished(self, split: str, samples: Sequence[Sample]) -> Iterator[Shard]:
        """The shards of a split that are packed, up to the first that is not whole.

        An index that was lost or damaged after packing had ended is made anew.
        """
        packed = {shard.name: shard for shard in self.manifest.shards} if self.manifest else {}
        keys = [key_of(sample.id) for sample in samples]
        first = 0
        for number in count():
            path = self._path(split, number)
            index = None if first == len(keys) else _sound_index(path, packed.get(path.name))
            if index is None:
                return
            end = first + len(index.clips)
            rows = self._rows(samples, first, end)
            if not index.rows and path.name in packed:  # the manifest vouches for the rows
                index = replace(index, rows=rows)
                write_text(index_path(path), index.to_json())
            if list(index.clips) != keys[first:end] or index.rows != rows:
                return
            first = end
            yield Shard.of(path, index)

    def _rows(self, samples: Sequence[Sample], first: int, end: int) -> str:
        """Checksum of a shard's rows and the next one, which is why the shard ended there."""
        return fingerprint(samples[first : end + 1], self.root)

    def _write(
        self, split: str, number: int, samples: Sequence[Sample], clips: Iterator[PackedClip]
    ) -> Iterator[Shard]:
        """Write a split's clips to shards, the first of them with this number."""
        clips = islice(clips, len(samples))
        first = 0
        clip = next(clips, None)
        while clip is not None:
            path = self._path(split, number)
            with whole_file(path) as unfinished, ShardWriter(unfinished) as writer:
                while clip is not None and (
                    not writer.clips or writer.num_bytes + clip.size() <= self.plan.max_shard_bytes
                ):
                    writer.add(clip)
                    clip = next(clips, None)
                index = writer.finish()
            end = first + len(index.clips)
            index = replace(index, rows=self._rows(samples, first, end))
            write_text(index_path(path), index.to_json())
            first = end
            number += 1
            yield Shard.of(path, index)

    def finish(
        self, corpus: Corpus, samples: Sequence[Sample], shards: Sequence[Shard]
    ) -> Manifest:
        """Remove shards of rows that the corpus no longer has; write the table and the manifest."""
        names = {shard.name for shard in shards}
        for path in (self.folder / SHARDS).glob("*.tar"):
            if path.name not in names:
                index_path(path).unlink(missing_ok=True)
                path.unlink()
        shard_of = (shard.name for shard in shards for _ in range(shard.num_clips))
        lines = []
        for sample, name in zip(samples, shard_of, strict=True):
            media = f"{SHARDS}/{name}/{key_of(sample.id)}"
            row = {"id": sample.id, "media": media, **_row_of(sample)}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        write_text(self.folder / ROWS, "".join(lines))
        manifest = Manifest(
            **self.plan.model_dump(),
            language=corpus.language,
            normalisation=corpus.normalisation,
            notes=corpus.notes,
            frame_rate=FRAME_RATE,
            num_clips=len(samples),
            num_frames=sum(shard.num_frames for shard in shards),
            rows_sha256=file_checksum(self.folder / ROWS),
            shards=tuple(shards),
        )
        write_document(manifest, self.folder / MANIFEST)
        (self.folder / PLAN).unlink(missing_ok=True)
        return manifest


def _index_of(path: Path) -> ShardIndex | None:
    """The index of a shard; None if it is lost or damaged."""
    try:
        return read_index(path)
    except InputError:
        return None


def _sound_index(path: Path, packed: Shard | None) -> ShardIndex | None:
    """The index of a shard whose bytes are whole; None if the shard has to be packed again.

    Args:
        path: The shard.
        packed: Its entry in the manifest, with which a damaged index is made anew.
    """
    index = _index_of(path)
    expected = packed or index
    if expected is None or file_size(path) != expected.size:
        return None
    if file_checksum(path) != expected.sha256:
        return None
    return index if packed is None or packed.describes(index) else scan_shard(path)


def key_of(id: str) -> str:
    """Name of a clip in its shard, another for each id.

    Dots would end the key, slashes are folders, and a dash at the start looks like an option: all
    but ASCII letters, digits, dashes and underscores is written as in a URL, so that
    `urllib.parse.unquote` gives the id back. Keys that would be too long end in a checksum instead.
    """
    key = quote(id, safe="").replace(".", "%2E").replace("~", "%7E")
    if key.startswith("-"):
        key = "%2D" + key[1:]
    if len(key) > _LONGEST_KEY:
        checksum = hashlib.sha256(id.encode()).hexdigest()[:32]
        key = f"{key[: _LONGEST_KEY - 33]}~{checksum}"
    return key


def _row_of(sample: Sample) -> dict[str, str | list[str]]:
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


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """A checksum of all that rows say, but for the folder that the corpus lies in."""
    checksum = hashlib.sha256()
    for sample in samples:
        facts = {**asdict(sample), "media": os.path.relpath(sample.media, root)}
        facts = {name: facts[name] for name in facts if facts[name] or name not in _NEWER}
        checksum.update(json.dumps(facts).encode())
    return checksum.hexdigest()


def source_of(spec: str) -> str:
    """A spec with whole paths and sorted options: the same for each spelling of a corpus."""
    kind, _, rest = spec.partition(":")
    path, _, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    options = dict(sorted(parse_qsl(query.replace("+", "%2B"))))
    if "media" in options:
        options["media"] = _whole(options["media"])
    told = urlencode(options, safe="/", quote_via=quote)
    return f"{kind}:{_whole(path)}" + (f"?{told}" if options else "")


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())


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
    return PackedClip(key_of(sample.id), _row_of(sample), width, height, pictures)


def _reduce(frame: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    frame = np.ascontiguousarray(frame)
    if scale >= 1:
        return frame
    size = round(width * scale), round(height * scale)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


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
