"""Cuts the batch of a step into parts of like length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unglossed.models.language_model import IGNORED

_SOURCES = ("features", "mask", "input_ids", "attention_mask")
_TARGETS = ("labels", "decoder_input_ids")


def cut_batch(
    batch: dict[str, Tensor], budget: int, read: Callable[[int], int] = lambda source: source
) -> Iterator[dict[str, Tensor]]:
    """The rows of a batch, longest first, in parts that are padded to their own longest row.

    Every row is in one part; a batch within the budget stays as it is. Where the loss is a sum over
    rows, the sum over the parts is the batch's.

    Args:
        batch: `labels` (batch, tokens), and `features` (batch, time, dim) with their `mask`, or
            `input_ids` (batch, time) with their `attention_mask`; padded on the right.
        budget: Positions of a part, what is read and what is written together, padding counted; a
            row with more is a part of its own.
        read: Positions that are read of a row with so many features: fewer where an adapter
            shortens them, more where a prompt stands beside them.
    """
    mask = batch["mask"] if "mask" in batch else batch["attention_mask"]
    sources = mask.sum(1).tolist()
    targets = (batch["labels"] != IGNORED).sum(1).tolist()
    if len(sources) * (read(max(sources)) + max(targets)) <= budget:
        yield batch
        return
    rows = sorted(range(len(sources)), key=lambda row: (-sources[row], -targets[row], row))
    part: list[int] = []
    longest = 0
    for row in rows:
        wanted = max(longest, targets[row])
        if part and (len(part) + 1) * (read(sources[part[0]]) + wanted) > budget:
            yield _take(batch, part, sources[part[0]], longest)
            part, wanted = [], targets[row]
        part.append(row)
        longest = wanted
    yield _take(batch, part, sources[part[0]], longest)


def _take(batch: dict[str, Tensor], rows: list[int], source: int, target: int) -> dict[str, Tensor]:
    """Some rows of a batch, cut to the given lengths."""
    lengths = dict.fromkeys(_SOURCES, source) | dict.fromkeys(_TARGETS, target)
    device = batch["labels"].device
    chosen = torch.tensor(rows, device=device)
    return {name: values[chosen, : lengths[name]] for name, values in batch.items()}
