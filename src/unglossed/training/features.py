"""Features of a frozen encoder, computed once a clip and view and kept in the stage's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from unglossed.files import whole_file
from unglossed.models.parts import PartModel
from unglossed.training.data import ClipDataset, Collator, EpochIndex

BATCH_SIZE = 16


def stored_features(
    model: PartModel,
    clips: ClipDataset,
    view: int,
    path: Path,
    *,
    bfloat16: bool,
    num_workers: int = 0,
    advance: Callable[[int], None] | None = None,
) -> list[Tensor]:
    """Features (time, dim) of every clip, read from `path` or computed and written there.

    The file appears in one step, so one that is there is whole.

    Args:
        model: its encoder is used, in eval mode.
        clips: the dataset; its epoch `view` is encoded.
        view: number of the augmented view.
        path: a safetensors file.
        bfloat16: compute in bfloat16.
        num_workers: processes that read frames.
        advance: told how many clips were done, after each batch.
    """
    names = [f"{index:08d}" for index in range(len(clips))]
    if path.is_file():
        stored = load_file(path)
        return [stored[name] for name in names]
    features = []
    for batch in encode_clips(model, clips, view, bfloat16=bfloat16, num_workers=num_workers):
        features.extend(batch)
        if advance is not None:
            advance(len(batch))
    with whole_file(path) as partial:
        save_file(dict(zip(names, features, strict=True)), partial)
    return features


def encode_clips(
    model: PartModel, clips: ClipDataset, view: int, *, bfloat16: bool, num_workers: int = 0
) -> Iterator[list[Tensor]]:
    """Encode a dataset's epoch `view` batch by batch; yields lists of (time, dim)."""
    sampler: list[EpochIndex] = [(view, index) for index in range(len(clips))]
    loader = DataLoader(
        clips,
        batch_size=BATCH_SIZE,
        sampler=sampler,
        collate_fn=Collator(clips.processor),
        num_workers=num_workers,
    )
    model.eval()
    device = model.device
    for batch in loader:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            features, mask = model.encode(batch["frames"].to(device), batch["lengths"].to(device))
        yield [row[real].float().cpu() for row, real in zip(features, mask, strict=True)]
