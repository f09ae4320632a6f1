"""Each clip once an epoch, whatever the number of processes; a reader that dies is told."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from unglossed.errors import InputError
from unglossed.ranks import Ranks
from unglossed.training.data import EpochIndex
from unglossed.training.loader import (
    EpochLoader,
    NumberedDataset,
    StepSampler,
    begin_worker,
    tell_death,
)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize(("size", "batch_size"), [(7, 3), (8, 4), (1, 4), (9, 2)])
def test_processes_share_the_clips_of_each_step(count: int, size: int, batch_size: int) -> None:
    alone = StepSampler(size, batch_size, 5)
    parts = [StepSampler(size, batch_size, 5, Ranks(index, count)) for index in range(count)]
    for sampler in (alone, *parts):
        sampler.set_epoch(2)

    steps = list(alone)
    assert sorted(index for step in steps for _, index in step) == list(range(size))
    assert len(alone) == len(steps) == len(parts[0])
    for number, (whole, *own) in enumerate(zip(steps, *parts, strict=True)):
        busy = [not part.is_idle(number) for part in parts]
        shared = [clip for clips, works in zip(own, busy, strict=True) if works for clip in clips]
        assert shared == whole
        assert all(clips == whole[:1] for clips, works in zip(own, busy, strict=True) if not works)
        lengths = [len(clips) for clips, works in zip(own, busy, strict=True) if works]
        assert max(lengths) - min(lengths) <= 1


class Numbers(Dataset[dict[str, Any]]):
    """Rows, of which reading the fourth ends the process that reads."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        if item[1] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"value": item[1]}


def test_a_reader_that_dies_is_told_with_its_clip() -> None:
    numbered = NumberedDataset(Numbers(), 1)
    loader = EpochLoader(
        numbered,
        batch_sampler=StepSampler(6, 2, 0),
        collate_fn=list,
        num_workers=1,
        worker_init_fn=begin_worker,
    )
    with pytest.raises(RuntimeError) as caught:
        for _ in loader:
            pass

    told = tell_death(caught.value, numbered)
    assert isinstance(told, InputError)
    assert "was reading text 4" in str(told)
    assert tell_death(RuntimeError("something else"), numbered) is None


def test_a_gpu_without_memory_is_told() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    told = tell_death(error, None)

    assert str(told).startswith("the GPU's memory is too small for a step (CUDA out of memory)")


def test_a_reader_outlives_one_signal_to_all_processes() -> None:
    class Signalled(Numbers):
        def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
            if item[1] == 3:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                    os.kill(os.getpid(), number)
            return {"value": item[1]}

    loader = EpochLoader(
        NumberedDataset(Signalled(), 1),
        batch_sampler=StepSampler(6, 2, 0),
        collate_fn=list,
        num_workers=1,
        worker_init_fn=begin_worker,
    )
    assert sorted(row["row"] for batch in loader for row in batch) == list(range(6))
