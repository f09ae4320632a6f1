"""Encodes clips with a frozen encoder, one by one and side by side, and tells how fast.

What a clip gives is the same to the last bit whatever is encoded beside it. Where features are
kept is the matter of `features.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unglossed.models.encoder import Encoder
from unglossed.models.frozen import Engine, engine_for, engine_of, fast_encoder
from unglossed.training.data import ClipDataset, EpochIndex, Item, Unreadable

_READ_AT_A_TIME = 8  # clips that a process which reads hands over together
_LONGEST_REASON = 300
_OF_ALL_CLIPS: tuple[type[Exception], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
)
"""What a device raises for every clip once it has failed for one."""
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass
class Pace:
    """How fast clips were encoded.

    Attributes:
        num_clips: Views of clips that were encoded.
        num_units: Their frames, or audio samples.
        seconds: Since the first was asked for.
        waited: Seconds of these in which nothing was encoded, since no clip had been read.
    """

    num_clips: int = 0
    num_units: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, other: Pace) -> None:
        """Count what somebody else encoded at another time."""
        self.num_clips += other.num_clips
        self.num_units += other.num_units
        self.seconds += other.seconds
        self.waited += other.waited

    def timed(self, items: Iterable[Work], idle_since: Callable[[], float]) -> Iterator[Work]:
        """Items, and the time for which the work stood still for them.

        Args:
            items: Are read as they are asked for.
            idle_since: When the last work ended, of `time.monotonic`; inf while some goes on.
        """
        iterator = iter(items)
        while True:
            begin = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += max(0.0, time.monotonic() - max(begin, idle_since()))
            yield item


def fast_form(encoder: Encoder, clips: ClipDataset, item: EpochIndex, *, bfloat16: bool) -> Encoder:
    """The fast form of an encoder, compared with it on a (view, index) pair of a dataset.

    The encoder is in eval mode from here on. See `fast_encoder`. Where the clip cannot be read,
    generated frames stand for it.
    """
    clip = None if engine_for(encoder.eval()) is Engine.TORCH else Tolerant(clips)[item]
    frames = clip["frames"] if isinstance(clip, dict) else None
    return fast_encoder(encoder, bfloat16=bfloat16, frames=frames)


def encode_clips(
    encoder: nn.Module,
    clips: ClipDataset,
    items: Sequence[EpochIndex],
    *,
    bfloat16: bool,
    num_workers: int = 0,
    go_on: bool = False,
    pace: Pace | None = None,
) -> Iterator[Tensor | Unreadable]:
    """Encode (view, index) pairs of a dataset; yields (time, dim) on the CPU, or an `Unreadable`.

    Clip by clip: the order of a convolution's sums depends on the batch's shape, and so would the
    last bits of a clip's features on those beside it. It bounds memory, too.

    Args:
        encoder: Is in eval mode from here on.
        clips: The dataset.
        items: Of which clips.
        bfloat16: Compute in bfloat16.
        num_workers: Processes that read clips while others are encoded.
        go_on: Whatever a clip raises makes it an `Unreadable`; else only that it cannot be read.
        pace: Is told how fast it goes.
    """
    pace = Pace() if pace is None else pace
    loader = DataLoader(
        Tolerant(clips) if go_on else clips,
        batch_size=_READ_AT_A_TIME,
        sampler=items,
        collate_fn=list,
        num_workers=num_workers,
        generator=torch.Generator(),  # so that the run's random state stays as it is
    )
    encoder.eval()
    device = next(encoder.parameters()).device

    def encode(clip: Item) -> tuple[Tensor | Unreadable, int]:
        if isinstance(clip, Unreadable):
            return clip, 0
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            features, mask = encoder(clip["frames"].to(device), clip["lengths"].to(device))
        units = clip["units"] if "units" in clip else clip["lengths"]
        return features[0, mask[0]].cpu(), int(units.sum())

    def tolerant(pair: tuple[Item, EpochIndex]) -> tuple[Tensor | Unreadable, int]:
        clip, (_, index) = pair
        try:
            return encode(clip)
        except _OF_ALL_CLIPS:
            raise
        except Exception as error:
            if not go_on:
                raise
            return fault_of(clips, index, error), 0

    alone = device.type != "cpu" or engine_of(encoder) is Engine.OPENVINO  # has its own threads
    num_threads = 1 if alone else torch.get_num_threads()
    pairs = zip(chain.from_iterable(loader), items, strict=True)
    begin = time.monotonic()
    for row, num_units in _side_by_side(tolerant, pairs, num_threads, pace):
        pace.num_clips += num_units > 0
        pace.num_units += num_units
        pace.seconds += time.monotonic() - begin
        yield row
        begin = time.monotonic()
    pace.seconds += time.monotonic() - begin


def fault_of(clips: ClipDataset, index: int, error: Exception) -> Unreadable:
    """A clip that raised something that no clip should, as one that cannot be read."""
    sample = clips.samples[index]
    said = " ".join(str(error).split())[:_LONGEST_REASON]
    kind = type(error).__name__
    return Unreadable(sample.id, sample.split, f"{sample.media}: failed with {kind}: {said}")


class Tolerant(Dataset[Item]):
    """The clips of a dataset; one that raises anything is an `Unreadable`."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: EpochIndex) -> Item:
        try:
            return self.clips[item]
        except Exception as error:
            return fault_of(self.clips, item[1], error)


def _side_by_side(
    work: Callable[[Work], Result], items: Iterable[Work], num_threads: int, pace: Pace
) -> Iterator[Result]:
    """Work on items in threads with a core each; yields results in the items' order.

    Many a clip is too small to be shared among cores. Few results wait until they are asked for.
    """
    if num_threads == 1:
        yield from map(work, pace.timed(items, lambda: 0.0))
        return
    waiting: deque[Future[Result]] = deque()
    last_end = 0.0

    def timed(item: Work) -> Result:
        nonlocal last_end
        try:
            return work(item)
        finally:
            last_end = time.monotonic()

    def idle_since() -> float:
        return last_end if all(one.done() for one in waiting) else float("inf")

    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        with pool:
            for item in pace.timed(items, idle_since):
                waiting.append(pool.submit(timed, item))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(num_threads)  # of threads that begin later
