"""The feature cache: what a frozen encoder gives, computed once a clip and view and kept on disk.

DIR/<settings>/settings.json             what the features depend on, see `feature_keys.py`
DIR/<settings>/<n>-<crc32>.safetensors   shards, each with features of some clips and views

A shard appears whole, its name holds the checksum of its content, and in it stands which settings
it is of. Other files are somebody else's: they are neither read nor deleted. Stages and runs that
share a folder share what is in it; of those that write at the same time one waits for the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.files import exclusive, whole_file, write_text
from unglossed.media.packed import is_packed, read_index
from unglossed.media.probe import revisions_of
from unglossed.training.damaged import Unreadable, refuse
from unglossed.training.data import ClipDataset, EpochIndex, Item

VERSION = 1
"""To be raised when pictures or sound reach the encoder in another way than before."""
_NO_MATTER = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})


def feature_settings(
    encoder: nn.Module, config: dict[str, Any], clips: ClipDataset, *, bfloat16: bool
) -> dict[str, Any]:
    """All that a clip's features depend on but the clip itself and the number of the view.

    Args:
        encoder: its weights count.
        config: the encoder's configuration.
        clips: how they are read, and varied if they are.
        bfloat16: whether the encoder computes in bfloat16.

    Returns:
        Plain values, as JSON has them.
    """
    processor, augmentation = clips.processor, clips.augmentation
    varied = varies(clips)
    settings = {
        "version": VERSION,
        "encoder": _plain(config),
        "weights": weights_digest(encoder),
        "precision": "bfloat16" if bfloat16 else "float32",
        "sampling_rate": processor.frame_share,
        "resize": processor.resize,
        "crop": processor.crop,
        "sample_rate": processor.audio_rate,
        "limit": clips.limit,
        "varied": varied,
        "seed": clips.seed if varied else None,
        "augmentation": vars(augmentation) if varied and augmentation else None,
    }
    if processor.signal is not None:  # what is not used leaves the settings as they always were
        settings["signal"] = processor.signal
    known: dict[str, Any] = json.loads(json.dumps(settings))
    return known


def varies(clips: ClipDataset) -> bool:
    """Whether two views of a clip differ: pictures in training do, sound never."""
    return clips.training and clips.signal.varies


def clip_keys(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """For each clip who it is, and of what media.

    A clip's chance depends on its id. Its media is known by size and time of change, as `make`
    knows files: reading all content would take about as long as encoding it again. Where the media
    lies does not matter, so that a corpus can be moved.

    Raises:
        InputError: a clip's media is not there.
    """
    stamp = cache(_media_stamp)
    return [
        (
            digest(sample.id),
            digest([stamp(sample.media), *part_of(sample)]),
        )
        for sample in samples
    ]


def part_of(sample: Sample) -> list[Any]:
    """What is read of the media, and how; what is not asked for leaves a key as it always was."""
    rate = [] if sample.frame_rate is None else [sample.frame_rate]
    whole = ["deinterlace"] if sample.deinterlace else []
    return [sample.start_seconds, sample.end_seconds, sample.box, *rate, *whole]


def digest(value: Any) -> str:
    """Checksum of a plain value, as JSON has them; one of settings names their folder."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def weights_digest(module: nn.Module) -> str:
    """Checksum of a module's weights and buffers, with their names, shapes and formats."""
    checksum = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        checksum.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        checksum.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return checksum.hexdigest()


def _media_stamp(media: Path) -> list[Any]:
    if is_packed(media):  # the index has the shard's checksum, which says more than its time
        index = read_index(media.parent)
        return [index.sha256, index.clips.get(media.name)]
    try:
        if media.is_dir():
            with os.scandir(media) as entries:
                return sorted(_file_stamp(entry.name, entry.stat()) for entry in entries)
        status = media.stat()
        return [_file_stamp("", status), *_revisions(media, status.st_size, status.st_mtime_ns)]
    except OSError as error:
        raise InputError(f"{media}: cannot be read: {error.strerror}") from None


@cache
def _revisions(media: Path, size: int, modified: int) -> list[str]:
    """What is read otherwise of a file, which is opened once: each stage and split asks again."""
    del size, modified
    return revisions_of(media)


def _file_stamp(name: str, status: os.stat_result) -> list[Any]:
    return [name, status.st_size, status.st_mtime_ns]


def _plain(value: Any) -> Any:
    """A configuration without what says where it comes from."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in _NO_MATTER}
    return value


Result = TypeVar("Result")
SETTINGS = "settings.json"
_BLOCK = 2**20
_SHARD = re.compile(r"\d{5,}-[0-9a-f]{8}\.safetensors")
_OF = "settings"  # in a shard's metadata: the name of its folder
_READ_AT_A_TIME = 8
"""Clips that a process which reads hands over together."""


class StoredFeatures(Sequence[Tensor | Unreadable]):
    """Features (time, dim) of clips, float32; each is read from its file when it is asked for.

    Args:
        rows: for each clip an open shard and the name of its features in there, or what tells that
            the clip cannot be read.
    """

    def __init__(self, rows: Sequence[tuple[Any, str] | Unreadable]) -> None:
        self.rows = rows

    def readable(self) -> list[int]:
        """Which clips have features."""
        return [n for n, row in enumerate(self.rows) if not isinstance(row, Unreadable)]

    def choose(self, numbers: Iterable[int]) -> StoredFeatures:
        """Those of some clips."""
        return StoredFeatures([self.rows[number] for number in numbers])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Tensor | Unreadable: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor | Unreadable]: ...

    def __getitem__(self, index: int | slice) -> Tensor | Unreadable | list[Tensor | Unreadable]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        row = self.rows[index]
        if isinstance(row, Unreadable):
            return row
        shard, name = row
        features: Tensor = shard.get_tensor(name)  # a view of the file, mapped into memory
        return features.float()


@dataclass(frozen=True)
class FeatureCache:
    """Stored features below a folder.

    Attributes:
        folder: DIR.
        shard_bytes: A shard is written when it has so many.
        shard_seconds: Or when so much time went into it: that much a killed process loses.
    """

    folder: Path
    shard_bytes: int = 2**25
    shard_seconds: float = 60.0

    def features(
        self,
        encoder: nn.Module,
        config: dict[str, Any],
        clips: ClipDataset,
        num_views: int = 1,
        *,
        bfloat16: bool,
        num_workers: int = 0,
        advance: Callable[[int], None] | None = None,
        leave_out: Callable[[Unreadable], None] = refuse,
    ) -> list[StoredFeatures]:
        """For each view the features of every clip; what is not stored is encoded and stored.

        Args:
            encoder: a frozen encoder; it is in eval mode from here on.
            config: its configuration.
            clips: the dataset; view v is its epoch v.
            num_views: how many.
            bfloat16: compute in bfloat16.
            num_workers: processes that read clips while others are encoded.
            advance: told how many features are there, one view of one clip each.
            leave_out: told of a clip that cannot be read, which then has no features.

        Raises:
            InputError: a clip cannot be read, and may not be left out.
        """
        settings = feature_settings(encoder, config, clips, bfloat16=bfloat16)
        keys = clip_keys(clips.samples)
        # Views that do not differ are one.
        views = [view if varies(clips) else 0 for view in range(num_views)]
        names = {
            (view, index): f"{clip}.{view}.{media}"
            for index, (clip, media) in enumerate(keys)
            for view in sorted(set(views))
        }
        shards = _Shards(self.folder / digest(settings), frozenset(names.values()))
        shards.look()
        tell = advance or (lambda _: None)
        unreadable: dict[str, Unreadable] = {}
        if not shards.holds(names.values()):
            with _writing(shards.folder):
                shards.look()  # what another process wrote while this one waited
                missing = {item: name for item, name in names.items() if not shards.holds([name])}
                tell(len(names) - len(missing))
                self._tell_why(shards, settings, missing)
                write_text(shards.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
                encoder.to("cuda" if torch.cuda.is_available() else "cpu")
                rows = encode_clips(
                    encoder, clips, list(missing), bfloat16=bfloat16, num_workers=num_workers
                )
                found = zip(missing.values(), rows, strict=True)
                unreadable = self._write(shards, found, tell, leave_out)
        else:
            tell(len(names))
        return [
            StoredFeatures(
                [
                    unreadable.get(names[view, index]) or shards.find(names[view, index])
                    for index in range(len(keys))
                ]
            )
            for view in views
        ]

    def _write(
        self,
        shards: _Shards,
        rows: Iterable[tuple[str, Tensor | Unreadable]],
        tell: Callable[[int], None],
        leave_out: Callable[[Unreadable], None],
    ) -> dict[str, Unreadable]:
        """Write features by name; gives those that there are none of."""
        shard: dict[str, Tensor] = {}
        unreadable: dict[str, Unreadable] = {}
        size, begin = 0, time.monotonic()
        for name, row in rows:
            if isinstance(row, Unreadable):
                leave_out(row)
                unreadable[name] = row
                tell(1)
                continue
            shard[name] = row
            size += row.nbytes
            if size >= self.shard_bytes or time.monotonic() - begin >= self.shard_seconds:
                shards.write(shard)
                shard, size, begin = {}, 0, time.monotonic()
            tell(1)
        if shard:
            shards.write(shard)
        return unreadable

    def _tell_why(
        self, shards: _Shards, settings: dict[str, Any], missing: dict[EpochIndex, str]
    ) -> None:
        """Say so where features were stored, but are not those that are wanted."""
        if (shards.folder / SETTINGS).is_file():
            known = {name.rpartition(".")[0] for name in shards.names}
            changed = sum(name.rpartition(".")[0] in known for name in missing.values())
            reason = "the clips' media changed" if changed else ""
        else:
            changed = len(missing)
            others = [
                [key for key in settings if settings[key] != other.get(key)]
                for other in map(_read_settings, self.folder.glob(f"*/{SETTINGS}"))
                if other.get("varied") == settings["varied"]
            ]
            nearest = min(others, key=len, default=[])
            reason = f"those stored differ in {', '.join(nearest)}" if nearest else ""
        if reason:
            note(f"{self.folder}: {changed:,} features are computed anew: {reason}")


def encode_clips(
    encoder: nn.Module,
    clips: ClipDataset,
    items: Sequence[EpochIndex],
    *,
    bfloat16: bool,
    num_workers: int = 0,
) -> Iterator[Tensor | Unreadable]:
    """Encode (view, index) pairs of a dataset; yields (time, dim) on the processor.

    A clip that cannot be read stays what it is.

    Clip by clip: the order of a convolution's sums depends on the batch's shape, and so would the
    last bits of a clip's features on those beside it. It bounds memory, too.
    """
    loader = DataLoader(
        clips,
        batch_size=_READ_AT_A_TIME,
        sampler=items,
        collate_fn=list,
        num_workers=num_workers,
        generator=torch.Generator(),  # chance of the run goes on as if nothing had been read
    )
    encoder.eval()
    device = next(encoder.parameters()).device

    def encode(clip: Item) -> Tensor | Unreadable:
        if isinstance(clip, Unreadable):
            return clip
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            features, mask = encoder(clip["frames"].to(device), clip["lengths"].to(device))
        return features[0, mask[0]].cpu()

    num_threads = torch.get_num_threads() if device.type == "cpu" else 1
    yield from _side_by_side(encode, chain.from_iterable(loader), num_threads)


def _side_by_side(
    work: Callable[[Any], Result], items: Iterable[Any], num_threads: int
) -> Iterator[Result]:
    """Work on items in threads of which each has a core; yields results in the items' order.

    Many a clip is too small to be shared among cores. Few results are made before they are asked
    for.
    """
    if num_threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(
            num_threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(num_threads)  # of threads that begin later


class _Shards:
    """The shards in a folder.

    Args:
        folder: where they lie.
        wanted: names of features that will be asked for.

    Attributes:
        names: of all features there.
    """

    def __init__(self, folder: Path, wanted: frozenset[str]) -> None:
        self.folder = folder
        self.wanted = wanted
        self.names: set[str] = set()
        self._seen: set[Path] = set()
        self._where: dict[str, Any] = {}

    def look(self) -> None:
        """Open what was not there before; what is damaged or of other settings is deleted and said.

        Raises:
            InputError: a shard cannot be read.
        """
        found = {path for path in self.folder.glob("*.safetensors") if _SHARD.fullmatch(path.name)}
        for path in sorted(path for path in found - self._seen if path.is_file()):
            fault = None
            if not path.stem.endswith(f"-{_checksum(path):08x}"):
                fault = "is damaged"
            elif not self._open(path):
                fault = "is of other settings, moved here"
            if fault:
                path.unlink(missing_ok=True)
                note(f"{path}: {fault}; its features are computed anew")

    def _open(self, path: Path) -> bool:
        """Open a shard, unless it says that it is of other settings; older ones say nothing."""
        shard: Any = safe_open(path, framework="pt")
        if (shard.metadata() or {}).get(_OF, self.folder.name) != self.folder.name:
            return False
        names = set(shard.keys())
        self.names |= names
        self._seen.add(path)
        self._where.update(dict.fromkeys(names & self.wanted, shard))
        return True

    def holds(self, names: Iterable[str]) -> bool:
        """Whether all of these are there."""
        return all(name in self._where for name in names)

    def find(self, name: str) -> tuple[Any, str]:
        """The open shard that has this name; and the name."""
        return self._where[name], name

    def write(self, features: dict[str, Tensor]) -> None:
        """Write a further shard, whole or not at all."""
        data = save(features, metadata={_OF: self.folder.name})
        path = self.folder / f"{len(self._seen):05}-{zlib.crc32(data):08x}.safetensors"
        with whole_file(path) as partial:
            partial.write_bytes(data)
        self._open(path)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Be the only one that writes into a folder; what a killed process began is deleted."""
    busy = f"{folder}: waiting for another process that stores features there"
    # Without locks, two that write at the same time both encode, nothing worse.
    with exclusive(folder / "lock", lambda: note(busy)):
        for leftover in folder.glob(".*.partial"):
            leftover.unlink(missing_ok=True)
        yield


def _checksum(path: Path) -> int:
    value = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                value = zlib.crc32(block, value)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return value


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
