"""The feature cache: what a frozen encoder gives, computed once a clip and view and kept on disk.

DIR/<settings>/settings.json             what the features depend on, see `feature_settings`
DIR/<settings>/<n>-<crc32>.safetensors   shards, each with features of some clips and views

A shard appears whole, its name holds the checksum of its content, and its metadata the settings it
is of. Other files are somebody else's: they are neither read nor deleted. Stages and runs that
share a folder share what is in it; when several write at the same time, each waits for the others.
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
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.files import exclusive, whole_file, write_text
from unglossed.media.frames import is_packed
from unglossed.media.packed import read_index
from unglossed.media.probe import revisions_of
from unglossed.models.encoder import Encoder
from unglossed.models.frozen import Engine, engine_for, engine_of, fast_encoder
from unglossed.training.data import ClipDataset, EpochIndex, Item, Unreadable, refuse

VERSION = 1
"""Raise this when video or audio reaches the encoder in another way than before."""
SETTINGS = "settings.json"
_SORTED = json.JSONEncoder(sort_keys=True).encode  # made once: rows come by the million
_NO_MATTER = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})
_SHARD = re.compile(r"\d{5,}-[0-9a-f]{8}\.safetensors")
_OF = "settings"  # in a shard's metadata: the name of its folder
_READ_AT_A_TIME = 8  # clips that a process which reads hands over together
Result = TypeVar("Result")


def use_bfloat16(setting: str) -> bool:
    """Whether to compute in bfloat16: as `setting` says, or for `auto` where it is fast.

    Fast means that the GPU, or else the CPU (AVX512-BF16 or AMX), has instructions for it.
    """
    if setting != "auto":
        return setting == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


# Cache keys: what identifies a stored feature.


def feature_settings(
    encoder: nn.Module,
    config: dict[str, Any],
    clips: ClipDataset,
    *,
    bfloat16: bool,
    engine: Engine = Engine.TORCH,
) -> dict[str, Any]:
    """Everything that features depend on except the clip and its view, as plain values of JSON."""
    processor, augmentation = clips.processor, clips.augmentation
    varied = varies(clips)
    settings = {
        "version": VERSION,
        "encoder": _plain(config),
        "weights": weights_digest(encoder),
        "precision": "bfloat16" if bfloat16 else "float32",
        # Two keys are named as before 0.1, so that stored features are still found.
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
    if engine is not Engine.TORCH:
        settings["engine"] = engine.value
    known: dict[str, Any] = json.loads(json.dumps(settings))
    return known


def varies(clips: ClipDataset) -> bool:
    """Whether two views of a clip differ: video in training does, audio never."""
    return clips.training and clips.signal.varies


def clip_keys(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """For each clip checksums of its id, which its random draws depend on, and of its media.

    Media are identified by size and time of change, as `make` identifies files: reading all content
    would take about as long as encoding it again. Where they are does not matter, so that a corpus
    can be moved.

    Raises:
        InputError: a clip's media is not there.
    """
    stamp = cache(_media_stamp)
    return [(digest(one.id), digest([stamp(one.media), *part_of(one)])) for one in samples]


def part_of(sample: Sample) -> list[Any]:
    """What is read of the media, and how; what is not used leaves a key as it always was."""
    rate = [] if sample.frame_rate is None else [sample.frame_rate]
    whole = ["deinterlace"] if sample.deinterlace else []
    return [sample.start_seconds, sample.end_seconds, sample.box, *rate, *whole]


def digest(value: Any) -> str:
    """Checksum of a plain value, as JSON has them; that of settings names their folder."""
    return hashlib.blake2b(_SORTED(value).encode(), digest_size=8).hexdigest()


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


def _file_stamp(name: str, status: os.stat_result) -> list[Any]:
    return [name, status.st_size, status.st_mtime_ns]


@cache
def _revisions(media: Path, size: int, modified: int) -> list[str]:
    """`revisions_of` a file, which is opened once: each stage and split asks again."""
    del size, modified
    return revisions_of(media)


def _plain(value: Any) -> Any:
    """A configuration without the keys that say where it comes from."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in _NO_MATTER}
    return value


class StoredFeatures(Sequence[Tensor | Unreadable]):
    """Features (time, dim) of clips, float32; each is read from its file when it is asked for.

    Args:
        rows: For each clip an open shard and the name of its features in there, or an `Unreadable`.
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

    def __getitem__(self, index: int | slice) -> Any:
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
        encoder: Encoder,
        config: dict[str, Any],
        clips: ClipDataset,
        num_views: int = 1,
        *,
        bfloat16: bool,
        num_workers: int = 0,
        advance: Callable[[int], None] = lambda _: None,
        leave_out: Callable[[Unreadable], None] = refuse,
        engine: Engine | None = None,
    ) -> list[StoredFeatures]:
        """For each view the features of every clip; what is not stored is encoded and stored.

        Args:
            encoder: A frozen encoder; it is in eval mode from here on.
            config: Its configuration.
            clips: The dataset; view v is its epoch v.
            num_views: How many.
            bfloat16: Compute in bfloat16.
            num_workers: Processes that read clips while others are encoded.
            advance: Called with the number of further features, one view of one clip each.
            leave_out: Called with each clip that cannot be read, which then has no features.
            engine: What computes them; None: see `engine_for`, and torch where that is too far off.

        Raises:
            InputError: a clip cannot be read, and may not be left out.
        """
        encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        engine = engine_for(encoder) if engine is None else engine
        settings = feature_settings(encoder, config, clips, bfloat16=bfloat16, engine=engine)
        keys = clip_keys(clips.samples)
        views = list(range(num_views)) if varies(clips) else [0]
        names = {
            (view, index): f"{clip}.{view}.{media}"
            for index, (clip, media) in enumerate(keys)
            for view in views
        }
        shards = _Shards(self.folder / digest(settings), frozenset(names.values()))
        shards.look()
        unreadable: dict[str, Unreadable] = {}
        missing, form = shards.missing(names), encoder
        if missing and engine is not Engine.TORCH:
            form = fast_form(encoder, clips, next(iter(missing)), bfloat16=bfloat16)
            if engine_of(form) is Engine.TORCH:
                return self.features(
                    *(encoder, config, clips, num_views),
                    bfloat16=bfloat16,
                    num_workers=num_workers,
                    advance=advance,
                    leave_out=leave_out,
                    engine=Engine.TORCH,
                )
        if missing:
            with _writing(shards.folder):
                shards.look()  # what another process wrote while this one waited
                missing = shards.missing(names)
                advance(len(names) - len(missing))
                self._note_why(shards, settings, missing)
                write_text(shards.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
                rows = encode_clips(
                    form, clips, list(missing), bfloat16=bfloat16, num_workers=num_workers
                )
                for name, row in self._written(shards, zip(missing.values(), rows, strict=True)):
                    if isinstance(row, Unreadable):
                        leave_out(row)
                        unreadable[name] = row
                    advance(1)
        else:
            advance(len(names))
        found = [
            [
                unreadable.get(names[view, index]) or shards.find(names[view, index])
                for index in range(len(keys))
            ]
            for view in views
        ]
        return [StoredFeatures(found[view % len(views)]) for view in range(num_views)]

    def _written(
        self, shards: _Shards, rows: Iterable[tuple[str, Tensor | Unreadable]]
    ) -> Iterator[tuple[str, Tensor | Unreadable]]:
        """Write features by name, shard after shard; yields them when they are there."""
        shard: dict[str, Tensor] = {}
        size, begin = 0, time.monotonic()
        for name, row in rows:
            if not isinstance(row, Unreadable):
                shard[name] = row
                size += row.nbytes
                if size >= self.shard_bytes or time.monotonic() - begin >= self.shard_seconds:
                    shards.write(shard)
                    shard, size, begin = {}, 0, time.monotonic()
            yield name, row
        if shard:
            shards.write(shard)

    def _note_why(
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
                [key for key in {**settings, **other} if settings.get(key) != other.get(key)]
                for other in map(_read_settings, self.folder.glob(f"*/{SETTINGS}"))
                if other.get("varied") == settings["varied"]
            ]
            nearest = min(others, key=len, default=[])
            reason = f"those stored differ in {', '.join(nearest)}" if nearest else ""
        if reason:
            note(f"{self.folder}: {changed:,} features are computed anew: {reason}")


class _Shards:
    """The shards in a folder, and where in them the `wanted` features are."""

    def __init__(self, folder: Path, wanted: frozenset[str]) -> None:
        self.folder = folder
        self.wanted = wanted
        self.names: set[str] = set()  # of all features there
        self._seen: set[Path] = set()
        self._where: dict[str, Any] = {}

    def look(self) -> None:
        """Open new shards; one that is damaged or of other settings is deleted, with a note.

        Raises:
            InputError: a shard cannot be read.
        """
        found = {path for path in self.folder.glob("*.safetensors") if _SHARD.fullmatch(path.name)}
        for path in sorted(path for path in found - self._seen if path.is_file()):
            try:
                checksum = zlib.crc32(path.read_bytes())
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}") from None
            fault = None
            if not path.stem.endswith(f"-{checksum:08x}"):
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

    def missing(self, names: dict[EpochIndex, str]) -> dict[EpochIndex, str]:
        """Those of some features that are not there."""
        return {item: name for item, name in names.items() if name not in self._where}

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


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def fast_form(encoder: Encoder, clips: ClipDataset, item: EpochIndex, *, bfloat16: bool) -> Encoder:
    """The fast form of an encoder, compared with it on a (view, index) pair of a dataset.

    The encoder is in eval mode from here on. See `fast_encoder`.
    """
    clip = None if engine_for(encoder.eval()) is Engine.TORCH else clips[item]
    frames = clip["frames"] if isinstance(clip, dict) else None
    return fast_encoder(encoder, bfloat16=bfloat16, frames=frames)


def encode_clips(
    encoder: nn.Module,
    clips: ClipDataset,
    items: Sequence[EpochIndex],
    *,
    bfloat16: bool,
    num_workers: int = 0,
) -> Iterator[Tensor | Unreadable]:
    """Encode (view, index) pairs of a dataset; yields (time, dim) on the CPU, or an `Unreadable`.

    Clip by clip: the order of a convolution's sums depends on the batch's shape, and so would the
    last bits of a clip's features on those beside it. It bounds memory, too.
    """
    loader = DataLoader(
        clips,
        batch_size=_READ_AT_A_TIME,
        sampler=items,
        collate_fn=list,
        num_workers=num_workers,
        generator=torch.Generator(),  # so that the run's random state stays as it is
    )
    encoder.eval()
    device = next(encoder.parameters()).device

    def encode(clip: Item) -> Tensor | Unreadable:
        if isinstance(clip, Unreadable):
            return clip
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            features, mask = encoder(clip["frames"].to(device), clip["lengths"].to(device))
        return features[0, mask[0]].cpu()

    alone = device.type != "cpu" or engine_of(encoder) is Engine.OPENVINO  # has its own threads
    num_threads = 1 if alone else torch.get_num_threads()
    yield from _side_by_side(encode, chain.from_iterable(loader), num_threads)


def _side_by_side(
    work: Callable[[Any], Result], items: Iterable[Any], num_threads: int
) -> Iterator[Result]:
    """Work on items in threads with a core each; yields results in the items' order.

    Many a clip is too small to be shared among cores. Few results wait until they are asked for.
    """
    if num_threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        with pool:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(num_threads)  # of threads that begin later
