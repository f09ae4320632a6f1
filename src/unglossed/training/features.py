"""The feature cache: what a frozen encoder gives, computed once a clip and view and kept in files.

DIR/<settings>/settings.json             what the features depend on, see `feature_settings`
DIR/<settings>/<n>-<crc32>.safetensors   shards, each with features of some clips and views
DIR/<settings>/quarantine*.jsonl         clips that have none, with the reason

DIR is a folder or a URL. Other files are somebody else's: they are neither read nor deleted. Stages
and runs that share a folder share what is in it; when several do the same part of the work at the
same time, each waits for the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unglossed.errors import InputError, note
from unglossed.models.encoder import Encoder
from unglossed.models.frozen import Engine, engine_for, engine_of
from unglossed.training.data import ClipDataset, EpochIndex, Unreadable, refuse
from unglossed.training.encoding import Pace, encode_clips, fast_form
from unglossed.training.keys import clip_keys, digest, feature_settings, varies
from unglossed.training.shards import WHOLE, Quarantine, Shards, Share
from unglossed.training.storage import Place, Storage, storage_at

SETTINGS = "settings.json"
_FEW = 10  # clips that failed and are not yet in the list, which a killed process loses


def use_bfloat16(setting: str) -> bool:
    """Whether to compute in bfloat16: as `setting` says, or for `auto` where it is fast.

    Fast means that the GPU, or else the CPU (AVX512-BF16 or AMX), has instructions for it.
    """
    if setting != "auto":
        return setting == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


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
        folder: DIR, or its URL.
        shard_bytes: A shard is written when it has so many.
        shard_seconds: Or when so much time went into it: that much a killed process loses.
    """

    folder: Place
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
        share: Share = WHOLE,
        wait: Callable[[], None] = lambda: None,
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
            share: What this process encodes, of processes that do this together.
            wait: Called when it has, and returns when all have.

        Raises:
            InputError: a clip cannot be read, and may not be left out.
        """
        wanted = self.wanted(
            encoder, config, clips, num_views, bfloat16=bfloat16, engine=engine, check=True
        )
        if wanted.missing(share):
            wanted.encode(share, num_workers=num_workers, advance=advance, leave_out=leave_out)
        else:
            advance(len(wanted.names_of(share)))
        wait()
        return wanted.collect(leave_out)

    def wanted(
        self,
        encoder: Encoder,
        config: dict[str, Any],
        clips: ClipDataset,
        num_views: int = 1,
        *,
        bfloat16: bool,
        engine: Engine | None = None,
        share: Share = WHOLE,
        check: bool = False,
    ) -> Wanted:
        """What is to be stored of a dataset, or of a share of it; see `features` for the rest.

        Args:
            encoder: As in `features`.
            config: As in `features`.
            clips: As in `features`.
            num_views: As in `features`.
            bfloat16: As in `features`.
            engine: As in `features`.
            share: Nothing else is looked at, not even at the media.
            check: Compare checksums of what is stored, see `Shards.look`.
        """
        encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        engine = engine_for(encoder) if engine is None else engine
        settings = feature_settings(encoder, config, clips, bfloat16=bfloat16, engine=engine)
        wanted = Wanted(self, encoder, clips, settings, num_views, bfloat16, share)
        wanted.look(check=check)
        if engine is not Engine.TORCH and wanted.missing():
            # Always on the same clip, so that all who share the work come to the same end.
            form = fast_form(encoder, clips, (0, 0), bfloat16=bfloat16)
            if engine_of(form) is Engine.TORCH:
                return self.wanted(
                    *(encoder, config, clips, num_views),
                    bfloat16=bfloat16,
                    engine=Engine.TORCH,
                    share=share,
                    check=check,
                )
            wanted.form = form
        return wanted

    def store(
        self, shards: Shards, rows: Iterable[tuple[str, Tensor | Unreadable]]
    ) -> Iterator[Tensor | Unreadable]:
        """Write features by name, shard after shard; yields them again."""
        shard: dict[str, Tensor] = {}
        size, begin = 0, time.monotonic()
        for name, row in rows:
            if not isinstance(row, Unreadable):
                shard[name] = row
                size += row.nbytes
                if size >= self.shard_bytes or time.monotonic() - begin >= self.shard_seconds:
                    shards.write(shard)
                    shard, size, begin = {}, 0, time.monotonic()
            yield row
        if shard:
            shards.write(shard)


class Wanted:
    """The features that are wanted of clips: which are there, encode the others, collect all.

    Args:
        cache: where they are stored.
        encoder: what gives them.
        clips: the dataset.
        settings: what they depend on, see `feature_settings`.
        num_views: of each clip.
        bfloat16: compute in bfloat16.
        share: the clips that count.

    Attributes:
        encoder: as given.
        form: what computes them.
        key: of the settings.
        names: of each (view, index) pair of the dataset, in the corpus's order of clips.
        quarantine: clips that have none.
        storage: the folder of the settings.
    """

    def __init__(
        self,
        cache: FeatureCache,
        encoder: Encoder,
        clips: ClipDataset,
        settings: dict[str, Any],
        num_views: int,
        bfloat16: bool,
        share: Share = WHOLE,
    ) -> None:
        self.cache = cache
        self.encoder = encoder
        self.form = encoder
        self.clips = clips
        self.settings = settings
        self.num_views = num_views
        self.bfloat16 = bfloat16
        self.share = share
        places = share.of(range(len(clips)))
        self._keys = dict(zip(places, clip_keys(share.of(clips.samples)), strict=True))
        self._views = list(range(num_views)) if varies(clips) else [0]
        self.names: dict[EpochIndex, str] = {
            (view, index): f"{clip}.{view}.{media}"
            for index, (clip, media) in self._keys.items()
            for view in self._views
        }
        self.key = digest(settings)
        self.storage: Storage = storage_at(cache.folder) / self.key
        self._shards = Shards(self.storage, self.key, self.names.values())
        self.quarantine = Quarantine(self.storage)

    def look(self, *, check: bool = False) -> None:
        """See what is stored by now, whoever wrote it; `check`: see `Shards.look`."""
        self._shards.look(check=check)
        self.quarantine.look()

    def names_of(self, share: Share) -> dict[EpochIndex, str]:
        """The names of a share's features."""
        return {item: name for item, name in self.names.items() if share.has(item[1])}

    def missing(self, share: Share = WHOLE, *, retry: bool = False) -> dict[EpochIndex, str]:
        """Those of a share that are not there.

        Args:
            share: Which clips.
            retry: Also of clips in quarantine.
        """
        return {
            item: name
            for item, name in self.names_of(share).items()
            if name not in self._shards.names
            and (retry or self.key_of(item[1]) not in self.quarantine.clips)
        }

    def set_aside(self, share: Share = WHOLE) -> list[Unreadable]:
        """The clips of a share that lack features and are in quarantine."""
        lacking = {
            index
            for (_, index), name in self.names_of(share).items()
            if name not in self._shards.names
        }
        found = (self.quarantine.clips.get(self.key_of(index)) for index in sorted(lacking))
        return [clip for clip in found if clip is not None]

    def key_of(self, index: int) -> str:
        """What identifies a clip, of any view."""
        return ".".join(self._keys[index])

    def encode(
        self,
        share: Share = WHOLE,
        *,
        num_workers: int = 0,
        advance: Callable[[int], None] = lambda _: None,
        leave_out: Callable[[Unreadable], None] = refuse,
        retry: bool = False,
        compute: Compute | None = None,
    ) -> Pace:
        """Encode and store what is missing of a share; others may do so with other shares.

        A clip of which anything fails goes into quarantine, with the reason.

        Args:
            share: Which clips.
            num_workers: Processes that read clips while others are encoded.
            advance: Called with the number of further features.
            leave_out: Called with each clip that fails.
            retry: Try clips that are in quarantine again.
            compute: Who does it; None: this process.

        Returns:
            How fast it went.

        Raises:
            InputError: a clip failed and may not be left out. It is not in quarantine then, nor
                are those before it: where many fail, the fault may be the machine's.
        """
        own = share if share.name else self.share
        pace = Pace()
        with self.storage.writing(own.name):
            self.look()  # what another process wrote while this one waited
            todo = self.missing(share, retry=retry)
            advance(len(self.names_of(share)) - len(todo))
            if not todo:
                return pace
            self.describe(todo.values())
            rows = compute(self, todo, pace) if compute else self._here(todo, pace, num_workers)
            tried = {self.key_of(index) for _, index in todo}
            try:
                for (_, index), row in rows:
                    if isinstance(row, Unreadable):
                        leave_out(row)
                        self.quarantine.add(self.key_of(index), row)
                        if len(self.quarantine.new) % _FEW == 0:
                            self.quarantine.write(own)
                    advance(1)
            except InputError:
                self.quarantine.forget_new()
                raise
            finally:
                lacking = self.missing(share, retry=True)
                self.quarantine.drop(tried - {self.key_of(index) for _, index in lacking})
                self.quarantine.write(own)
        return pace

    def _here(
        self, todo: dict[EpochIndex, str], pace: Pace, num_workers: int
    ) -> Iterator[tuple[EpochIndex, Tensor | Unreadable]]:
        """Encode in this process, and store shard after shard."""
        rows = encode_clips(
            *(self.form, self.clips, list(todo)),
            bfloat16=self.bfloat16,
            num_workers=num_workers,
            go_on=True,
            pace=pace,
        )
        named = zip(todo.values(), rows, strict=True)
        stored = self.cache.store(self._shards, named)
        yield from zip(todo, stored, strict=True)

    def describe(self, names: Collection[str]) -> None:
        """Write what the features depend on, and say why some are missing where others are."""
        storage, settings = self.storage, self.settings
        text = json.dumps(settings, indent=2) + "\n"
        if SETTINGS in storage.files():
            known = {name.rpartition(".")[0] for name in self._shards.names}
            changed = sum(name.rpartition(".")[0] in known for name in names)
            reason = "the clips' media changed" if changed else ""
        else:
            changed = len(names)
            store = storage_at(self.cache.folder)
            others = [
                [key for key in {**settings, **other} if settings.get(key) != other.get(key)]
                for other in (_read_settings(store / folder) for folder in store.folders())
                if other.get("varied") == settings["varied"]
            ]
            nearest = min(others, key=len, default=[])
            reason = f"those stored differ in {', '.join(nearest)}" if nearest else ""
        if reason:
            note(f"{self.cache.folder}: {changed:,} features are computed anew: {reason}")
        if _read_settings(storage) != settings:
            storage.write(SETTINGS, text.encode())

    def collect(self, leave_out: Callable[[Unreadable], None] = refuse) -> list[StoredFeatures]:
        """For each view the features of every clip, once all are stored.

        Args:
            leave_out: Called with each clip that is in quarantine.

        Raises:
            InputError: features are missing, or a clip may not be left out.
        """
        self.look(check=True)
        if missing := self.missing():
            raise InputError(
                f"{self.storage}: found {len(missing):,} of {len(self.names):,} features missing"
                " after all were stored: are there other processes that delete them?"
            )
        for clip in self.set_aside():
            leave_out(clip)
        views = [
            StoredFeatures(
                [
                    self._shards.find(self.names[view, index])
                    or self.quarantine.clips[self.key_of(index)]
                    for index in self._keys
                ]
            )
            for view in self._views
        ]
        return [views[view % len(views)] for view in range(self.num_views)]


Compute = Callable[
    [Wanted, dict[EpochIndex, str], Pace], Iterator[tuple[EpochIndex, Tensor | Unreadable | None]]
]
"""Encodes and stores named (view, index) pairs; gives each of them when it is done, and what became
of it if that is known. The pace is told how fast it goes."""


def _read_settings(storage: Storage) -> dict[str, Any]:
    try:
        settings = json.loads(storage.read(SETTINGS))
    except (OSError, InputError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
