"""What identifies a stored feature: the settings that it depends on, its clip and its view.

Settings name a folder, clip and view a feature in it. Content of media is not read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.array_files import is_array_file, split_key
from unglossed.media.frames import is_packed
from unglossed.media.packed import read_index
from unglossed.media.probe import revisions_of
from unglossed.models.frozen import Engine
from unglossed.training.data import ClipDataset

VERSION = 1
"""Raise this when video or audio reaches the encoder in another way than before."""
_SORTED = json.JSONEncoder(sort_keys=True).encode  # made once: rows come by the million
_NO_MATTER = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})


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
    if processor.array is not None:
        settings["array"] = processor.array
    if processor.streams is not None:
        settings["streams"] = processor.streams
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
    can be moved. Media that are not there have one checksum, since nothing can be read of them.
    """
    stamp = cache(_media_stamp)
    return [
        (digest(one.id), digest([stamp(one.media), *part_of(one), *map(stamp, _array_of(one))]))
        for one in samples
    ]


def part_of(sample: Sample) -> list[Any]:
    """What is read of the media, and how; what is not used leaves a key as it always was."""
    rate = [] if sample.frame_rate is None else [sample.frame_rate]
    whole = ["deinterlace"] if sample.deinterlace else []
    alone = ["array of the clip"] if sample.array is not None and sample.array_is_clip else []
    return [sample.start_seconds, sample.end_seconds, sample.box, *rate, *whole, *alone]


def _array_of(sample: Sample) -> list[Path]:
    """The array beside the media, if there is one."""
    return [] if sample.array is None else [sample.array]


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
    try:
        if is_packed(media):  # the index has the shard's checksum, which says more than its time
            index = read_index(media.parent)
            return [index.sha256, index.clips.get(media.name)]
        if media.is_dir():
            with os.scandir(media) as entries:
                return sorted(_file_stamp(entry.name, entry.stat()) for entry in entries)
        if is_array_file(media):
            file, key = split_key(media)
            return [_file_stamp("", file.stat()), key]
        status = media.stat()
        return [_file_stamp("", status), *_revisions(media, status.st_size, status.st_mtime_ns)]
    except (OSError, InputError):  # whoever reads the clip says why
        return []


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
