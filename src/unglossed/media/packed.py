"""Clips in tar shards: each a run of JPEG pictures, found through the shard's index.

A clip's path is `<shard>.tar/<key>`. Its first member, `<key>.json`, holds its row and the size and
checksum of each picture, so that nothing is scanned. The layout is that of WebDataset: a clip's
members follow each other and begin with its key.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.pictures import Size, decode_jpeg, find_reduction

INDEX_VERSION = 1

_REPAIR = "run the same `unglossed corpus pack` again to rebuild it"

_BLOCK = tarfile.BLOCKSIZE  # of a member's header; its data is padded to a multiple of it
_NAME = 100  # bytes of the header, its first, that hold the member's name


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the clips of a shard lie.

    Attributes:
        size: Bytes of the shard.
        sha256: Its checksum in hexadecimal digits.
        clips: By key: begin and length of the JSON member's data, and number of frames.
        rows: Checksum of the rows that the shard was made of; empty: unknown.
    """

    size: int
    sha256: str
    clips: dict[str, tuple[int, int, int]]
    rows: str = ""

    def to_json(self) -> str:
        """The text of an index file."""
        names = ("size", "sha256", "rows", "clips")
        facts = {"version": INDEX_VERSION} | {name: getattr(self, name) for name in names}
        return json.dumps(facts, separators=(",", ":")) + "\n"


def index_path(shard: Path) -> Path:
    """Where a shard's index lies: beside it."""
    return shard.with_suffix(".index.json")


def read_index(shard: Path) -> ShardIndex:
    """Read the index of a shard; cached until the file changes."""
    path = index_path(shard)
    try:
        status = path.stat()
    except OSError:
        raise InputError(f"{path}: not found, expected the index of a shard: {_REPAIR}") from None
    return _load_index(path, status.st_mtime_ns, status.st_size)


def scan_shard(shard: Path) -> ShardIndex:
    """Rebuild the index of a shard from the shard itself; every byte is read."""
    clips: dict[str, tuple[int, int, int]] = {}
    try:
        with shard.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    key, _, kind = member.name.partition(".")
                    if kind == "json":
                        clips[key] = member.offset_data, member.size, 0
                    else:
                        begin, length, number = clips[key]
                        clips[key] = begin, length, number + 1
    except (OSError, KeyError, tarfile.TarError) as error:
        raise InputError(f"{shard}: the shard cannot be read: {error}") from None
    return ShardIndex(size, checksum, clips)


def num_frames(media: Path) -> int:
    """Count the frames of a clip from the index alone."""
    return _find(media)[2]


def picture_size(media: Path) -> tuple[int, int]:
    """Width and height of a clip's pictures, from its row."""
    with _open(media.parent) as shard:
        head = _read_head(shard, media)
    return head.width, head.height


def read_frames(
    media: Path, wanted: Sequence[int], at_least: Size | None = None
) -> NDArray[np.uint8]:
    """Read some frames of a clip, see `Frames.read`.

    Raises:
        InputError: Shard, index or clip are missing or damaged.
    """
    # Opened for each clip, so that processes that were forked share no place in the file.
    with _open(media.parent) as shard:
        head = _read_head(shard, media)
        places = sorted(set(wanted))
        # Each is copied from a buffer that the next uses again: fresh memory is what costs here.
        reduction = find_reduction((head.width, head.height), at_least)
        height, width = -(-head.height // reduction), -(-head.width // reduction)
        frames = np.empty((len(places), height, width, 3), np.uint8)
        pictures = _read_pictures(shard, head, places)
        for frame, place, data in zip(frames, places, pictures, strict=True):
            # A damaged JPEG would be decoded to a picture that is partly grey.
            is_whole = zlib.crc32(data) == head.checksums[place]
            picture = decode_jpeg(data, reduction) if is_whole else None
            if picture is None or picture.shape != frame.shape:
                raise InputError(f"{media}: the shard is damaged at frame {place} of this clip")
            frame[...] = picture
    return frames if list(wanted) == places else frames[np.searchsorted(places, wanted)]


@dataclass(frozen=True, slots=True)
class PackedClip:
    """A clip to write.

    Attributes:
        key: Its name in the shard: no dot, no slash, at most 80 ASCII characters.
        row: What the clip's JSON member holds, besides what reading the pictures needs.
        width: Width of its pictures in pixels, as `height`.
        pictures: JPEG files, 25 for each second.
    """

    key: str
    row: Mapping[str, Any]
    width: int
    height: int
    pictures: list[bytes]

    def size(self) -> int:
        """Bytes of a shard that the clip takes, without its row."""
        return sum(_BLOCK + _padded(len(picture)) for picture in self.pictures)


class ShardWriter:
    """Writes a shard; the same clips give the same bytes."""

    def __init__(self, path: Path) -> None:
        self.num_bytes = 0
        self.clips: dict[str, tuple[int, int, int]] = {}
        self._file = path.open("wb")
        self._hash = hashlib.sha256()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, clip: PackedClip) -> None:
        """Write a clip's row and pictures."""
        facts = {
            **clip.row,
            "width": clip.width,
            "height": clip.height,
            "sizes": [len(picture) for picture in clip.pictures],
            "checksums": [zlib.crc32(picture) for picture in clip.pictures],
        }
        head = json.dumps(facts, ensure_ascii=False).encode()
        begin = self.num_bytes + _BLOCK
        self._add_member(f"{clip.key}.json", head)
        for number, picture in enumerate(clip.pictures):
            self._add_member(f"{clip.key}.{number:06d}.jpg", picture)
        self.clips[clip.key] = begin, len(head), len(clip.pictures)

    def finish(self) -> ShardIndex:
        """Write the end of the tar file, and return the shard's index."""
        self._write(bytes(2 * _BLOCK))
        self._file.close()
        return ShardIndex(self.num_bytes, self._hash.hexdigest(), self.clips)

    def _add_member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # time, owner and group are those of no one
        member.size = len(data)
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        self._write(data)
        self._write(bytes(_padded(len(data)) - len(data)))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.num_bytes += len(data)


class _Head(NamedTuple):
    """A clip's pictures by its JSON member, and where in the shard they begin."""

    width: int
    height: int
    sizes: list[int]
    checksums: list[int]
    begins: list[int]


@lru_cache(maxsize=4096)
def _load_index(path: Path, modified: int, size: int) -> ShardIndex:
    del modified, size  # part of the key of the cache, to notice that a file was replaced
    try:
        facts = json.loads(path.read_bytes())
        version = facts["version"]
        if version == INDEX_VERSION:
            rows = facts.get("rows", "")
            index = ShardIndex(facts["size"], facts["sha256"], facts["clips"], rows)
            for begin, length, frames in index.clips.values():
                if not (_BLOCK <= begin <= begin + length <= index.size and frames > 0):
                    raise ValueError(f"a clip lies at {begin}, outside the shard")
            return index
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: empty, truncated or not the index of a shard: {_REPAIR}"
        ) from None
    raise InputError(f"{path}: version {version!r}, expected {INDEX_VERSION}")


def _find(media: Path) -> tuple[int, int, int]:
    clips = read_index(media.parent).clips
    if media.name not in clips:
        raise InputError(f"{media}: no such clip, expected one of the {len(clips)} in this shard")
    return clips[media.name]


def _open(shard: Path) -> FileIO:
    try:
        return FileIO(shard)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InputError(f"{shard}: the shard cannot be read: {reason}") from None


def _read_head(shard: FileIO, media: Path) -> _Head:
    begin, length, frames = _find(media)
    try:
        member = _read_at(shard, begin - _BLOCK, _BLOCK + length)
        # An index of another shard, or another shard under this name, leads to another clip.
        name = member[:_NAME].rstrip(b"\0").decode()
        if name != f"{media.name}.json":
            raise ValueError(f"found {name!r} there")
        facts: dict[str, Any] = json.loads(member[_BLOCK:])
        sizes, checksums = facts["sizes"], facts["checksums"]
        steps = [_BLOCK + _padded(size) for size in sizes]
        first = begin + _padded(length) + _BLOCK
        begins = list(accumulate(steps[:-1], initial=first))
        if not len(sizes) == len(checksums) == frames:
            raise ValueError(f"found {len(sizes)} pictures, expected {frames}")
        if min(sizes) < 0 or begins[-1] + sizes[-1] > read_index(media.parent).size:
            raise ValueError("a picture lies outside the shard")
        return _Head(facts["width"], facts["height"], sizes, checksums, begins)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{media}: the row of the clip is damaged, or the index is of another shard ({error!r})"
        ) from None


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _read_pictures(shard: FileIO, head: _Head, places: list[int]) -> Iterator[bytes]:
    """Read pictures one by one, after announcing all of them to the disk or file server."""
    if hasattr(os, "posix_fadvise"):
        begin, last = head.begins[places[0]], places[-1]
        length = head.begins[last] + head.sizes[last] - begin
        os.posix_fadvise(shard.fileno(), begin, length, os.POSIX_FADV_WILLNEED)
    for place in places:
        yield _read_at(shard, head.begins[place], head.sizes[place])


def _read_at(shard: FileIO, begin: int, length: int) -> bytes:
    shard.seek(begin)
    return shard.read(length)
