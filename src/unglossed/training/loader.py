"""Which clips a training step takes, and the processes that read them.

A step takes `batch_size` clips, whatever the number of processes that train: each has a part. The
order is drawn from (seed, epoch), so that it depends neither on that number nor on a resume.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from unglossed.errors import InputError
from unglossed.ranks import ALONE, Ranks
from unglossed.signals import outlive_one_stop
from unglossed.training.data import EpochIndex, EpochSampler, Item, Unreadable

ROWS = "rows"
"""Key of a batch: the numbers of its clips in the training split."""


class StepSampler(Sampler[list[EpochIndex]]):
    """Lists of (epoch, index), one a step: a process's part of the step's clips.

    One that has none of a step's clips, as there are fewer than processes, gets the first.

    Args:
        size: Clips of an epoch.
        batch_size: Clips of a step, over all processes.
        seed: Of the order.
        ranks: The processes that train.
    """

    def __init__(self, size: int, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self.order = EpochSampler(size, seed)
        self.batch_size_of_all = batch_size  # as `batch_size` accelerate would count on it
        self.ranks = ranks
        self._drawn: tuple[int, list[EpochIndex]] = (-1, [])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next; the training loop calls this."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size_of_all)

    def clips(self, step: int) -> list[EpochIndex]:
        """The clips of a step of the epoch, over all processes."""
        if self._drawn[0] != self.order.epoch:
            self._drawn = self.order.epoch, list(self.order)
        start = step * self.batch_size_of_all
        return self._drawn[1][start : start + self.batch_size_of_all]

    def __iter__(self) -> Iterator[list[EpochIndex]]:
        for step in range(len(self)):
            clips = self.clips(step)
            yield list(self.ranks.share(clips)) or clips[:1]

    def is_idle(self, step: int) -> bool:
        """Whether this process has none of the clips of a step of the epoch."""
        return not self.ranks.share(self.clips(step))


class NumberedDataset(Dataset[Item]):
    """Items of another dataset with their numbers, which are noted while they are read.

    Args:
        items: The other dataset.
        num_workers: Processes that read.
    """

    def __init__(self, items: Dataset[Any], num_workers: int) -> None:
        self.items: Any = items
        self.read: Tensor | None = None
        if num_workers:
            read: Any = torch.full((num_workers,), -1, dtype=torch.int64)
            self.read = read.share_memory_()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: EpochIndex) -> Item:
        worker = get_worker_info()
        if worker is not None and self.read is not None:
            self.read[worker.id] = item[1]
        row = self.items[item]
        return row if isinstance(row, Unreadable) else {**row, "row": item[1]}


class EpochLoader(DataLoader[Any]):
    """Batches of a `StepSampler`, which the training loop tells the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next."""
        sampler: Any = self.batch_sampler
        sampler.set_epoch(epoch)

    def end(self) -> None:
        """End the processes that read, which would else wait for as long as somebody holds this."""
        self._iterator = None


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch where it is computed. From pinned memory it comes while the GPU computes."""
    return {
        name: rows.to(device, non_blocking=True) if isinstance(rows, Tensor) else rows
        for name, rows in batch.items()
    }


def begin_worker(number: int) -> None:
    """What a process that reads does first: a signal to all processes leaves the step whole."""
    outlive_one_stop()


def tell_death(error: RuntimeError, dataset: Any) -> InputError | None:
    """What is known of a process that died while it read, or of a GPU whose memory was too small.

    None: the error is another one.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return InputError(
            f"the GPU's memory is too small for a step ({str(error).partition('. ')[0]}): lower"
            " frame_budget, then batch_size of the stage"
        )
    found = re.search(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\)", str(error))
    if found is None or not isinstance(dataset, NumberedDataset) or dataset.read is None:
        return None
    clips = ", ".join(ids_of(dataset, [row for row in dataset.read.tolist() if row >= 0]))
    return InputError(
        f"a process that reads clips has died (of {len(dataset.read)}; the last one was reading"
        f" {clips or 'none'}): memory may be short (num_workers=0 reads in the training's own"
        " process), or a library fails on a clip; --resume goes on from the last checkpoint"
    )


def ids_of(dataset: Any, rows: Sequence[int]) -> list[str]:
    """Names of some items of a dataset: ids of clips, or their numbers from 1 where it has none."""
    while not hasattr(dataset, "samples") and hasattr(dataset, "items"):
        dataset = dataset.items
    samples = getattr(dataset, "samples", None)
    return [repr(samples[row].id) if samples else f"text {row + 1}" for row in rows]
