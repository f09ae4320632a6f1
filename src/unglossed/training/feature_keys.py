"""By what stored features are known again: the encoder and settings, and each clip.

Nothing is encoded or stored here.
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
from unglossed.media.packed import is_packed, read_index
from unglossed.media.revisions import revisions_of
from unglossed.training.data import ClipDataset

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
        "sampling_rate": processor.sampling_rate,
        "resize": processor.resize,
        "crop": processor.crop,
        "sample_rate": processor.sample_rate,
        "limit": clips.limit,
        "varied": varied,
        "seed": clips.seed if varied else None,
        "augmentation": vars(augmentation) if varied and augmentation else None,
    }
    known: dict[str, Any] = json.loads(json.dumps(settings))
    return known


def varies(clips: ClipDataset) -> bool:
    """Whether two views of a clip differ: pictures in training do, sound never."""
    return clips.training and clips.processor.sample_rate is None


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
