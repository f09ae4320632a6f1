"""The processes of one training: which of them this one is, and how they tell each other.

`torchrun`, `accelerate launch` and Ray Train start the processes and say in the environment how
many there are; without that a process is alone, and nothing here does anything. Each process holds
the whole model and takes its part of every batch. Gradients are summed up when the backward pass is
over, so that parts may have any number of clips, none too, and be computed in any number of pieces:
torch's DistributedDataParallel wants as many backward passes of every process.

What is told to each other goes through CPU memory (gloo), gradients through NCCL on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unglossed import errors
from unglossed.errors import InputError

V = TypeVar("V")
PATIENCE = timedelta(hours=6)
"""Of a process for another one that works alone; one that has ended is noticed at once."""
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_HIDDEN = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ACCELERATE_TORCH_DEVICE"),
    *_MPI_SIZES,
)
"""By these accelerate would take the processes over, and wrap what we share ourselves."""
_SUM_BYTES = 2**26
"""Of gradients that are summed up together."""


class FailedElsewhere(InputError):
    """Another process of the training has failed, and said why itself."""

    told_elsewhere = True


class ProcessLost(InputError):
    """Another process of the training has ended."""


class Ranks:
    """The processes of a training, as one of them sees them.

    Args:
        index: Number of this one, from 0.
        count: How many there are.

    Attributes:
        idle: Whether this one has no clip of the present batch: what it computes all the same, to
            keep step with the others, counts nowhere.
        active: How many are not idle.
        device: Where this one computes.
    """

    def __init__(self, index: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.index, self.count = index, count
        self.device = device or torch.device("cpu")
        self.idle, self.active = False, count

    @property
    def is_first(self) -> bool:
        """Whether this is the one that makes folders and writes files."""
        return self.index == 0

    def share(self, items: Sequence[V]) -> Sequence[V]:
        """This one's part of some items: one run of them, as long as the others' or one longer."""
        bounds = [len(items) * number // self.count for number in (self.index, self.index + 1)]
        return items[bounds[0] : bounds[1]]

    def all(self, value: V) -> list[V]:
        """What each process has for a value, which can be pickled."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def from_first(self, value: V) -> V:
        """What the first process has for a value, which can be pickled."""
        if self.count == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def first(self, work: Callable[[], V]) -> V:
        """What a function gives that the first process calls while the others wait.

        Raises:
            FailedElsewhere: It raised an error there, where it is raised as it is.
        """
        if self.count == 1:
            return work()
        value: Any = None
        if self.is_first:
            try:
                value = work()
            except BaseException as error:
                with suppress(Exception):
                    self.from_first((False, str(error)))
                raise
        done, value = self.from_first((True, value))
        if not done:
            raise FailedElsewhere(str(value))
        found: V = value
        return found

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """What all processes find wrong in the block, as they see the same, the first one tells.

        Raises:
            FailedElsewhere: In the other processes, instead of the InputError.
        """
        try:
            yield
        except InputError as error:
            if self.is_first:
                raise
            raise FailedElsewhere(str(error)) from None

    def in_turn(self, work: Callable[[], V]) -> V:
        """What a function gives that the first process calls, and then, if it could, the others.

        Raises:
            FailedElsewhere: see `first`.
        """
        found: list[V] = []
        self.first(lambda: found.append(work()))
        return found[0] if found else work()

    def wait(self) -> None:
        """Wait until every process is here."""
        self.all(None)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor of the same shape, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def largest(self, values: Sequence[int]) -> list[int]:
        """The largest of each of some numbers over all processes."""
        if self.count == 1:
            return list(values)
        found = torch.tensor(values)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return [int(value) for value in found]

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows (n, ...) of all processes in their order; gradients go to this one's own alone.

        Where each process computes the same loss from them, the gradients that they sum up are
        those of one process with all rows. An idle process adds none.
        """
        if self.count == 1:
            return rows
        own = rows[:0] if self.idle else rows
        parts: list[Tensor] = [part.to(rows.device) for part in self.all(own.detach().cpu())]
        parts[self.index] = own
        return torch.cat(parts)

    def gathered_texts(self, own: Tensor, others: Tensor) -> Tensor:
        """Token ids (texts, tokens) of all processes: first those of their clips, then the others.

        Args:
            own: (clips, tokens), -100 where padded.
            others: (texts, tokens), padded in the same way.
        """
        kinds = ([], []) if self.idle else ([*own.cpu()], [*others.cpu()])
        told = self.all(kinds)
        texts = [row for kind in (0, 1) for one in told for row in one[kind]]
        padded = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100)
        return padded.to(own.device)

    def part_of(self, loss: Tensor) -> Tensor:
        """This process's part of a loss that each computes whole, from `gathered` rows.

        The parts sum up to the loss, and their gradients, each to a process's own rows, to its.
        """
        return loss if self.active == 1 else loss - loss.detach() * (1 - 1 / self.active)

    def evenly(self, weight: Tensor) -> Tensor:
        """A weight by which each process multiplies what it `gathered`: all have its gradient."""
        if self.active == 1 or not torch.is_grad_enabled():
            return weight
        return weight.detach() + (weight - weight.detach()) / self.active

    def copy_first(self, module: nn.Module) -> None:
        """Give a module the first process's weights and buffers, in place, but for shards."""
        if self.count > 1:
            for value in module.state_dict().values():
                if not is_shard(value):
                    dist.broadcast(value, src=0)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sum over all processes.

        A parameter without one gets the others'; one that has none anywhere stays without. Those of
        shards are sums already.
        """
        if self.count == 1:
            return
        trained = [one for one in parameters if one.requires_grad and not is_shard(one)]
        has = self.sum(torch.tensor([one.grad is not None for one in trained], dtype=torch.int32))
        found: list[Tensor] = []
        for one, there in zip(trained, has.tolist(), strict=True):
            if there:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                found.append(one.grad)
        for bucket in _buckets(found):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            self.sum(flat)
            sums = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, total in zip(bucket, sums, strict=True):
                gradient.copy_(total.view_as(gradient))


ALONE = Ranks()
"""Of a process without others."""
_here = ALONE


def here() -> Ranks:
    """The processes of the training that this one is part of; itself alone outside of `joined`."""
    return _here


def is_shard(value: Tensor) -> bool:
    """Whether a tensor is this process's part of one that all hold together."""
    return hasattr(value, "full_tensor")  # as DTensor has, whose import takes its time


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one number format, together at most of a size, unless one is larger."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        other = bucket and bucket[0].dtype != gradient.dtype
        if bucket and (other or size + gradient.nbytes > _SUM_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket


@contextmanager
def joined() -> Iterator[Ranks]:
    """Find the other processes of the training, if there are any, and part when the block ends.

    Notes are told by the first process alone.

    Raises:
        InputError: The environment names no sound number of processes; or one of them has ended.
    """
    global _here
    index, count = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if count == 1:
        yield ALONE
        return
    if not 0 <= index < count:
        raise InputError(f"RANK: found {index}, expected a number below WORLD_SIZE, {count}")
    hidden = {name: os.environ.pop(name) for name in _HIDDEN if name in os.environ}
    is_ours = not dist.is_initialized()
    local = int(hidden.get("LOCAL_RANK", "0"))
    try:
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", local % torch.cuda.device_count())
            torch.cuda.set_device(device)
        if is_ours:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, rank=index, world_size=count, timeout=PATIENCE)
        errors.quiet = index > 0
        _here = Ranks(index, count, device)
        yield _here
    except (RuntimeError, ValueError) as error:
        if not _is_lost(error):
            raise
        raise ProcessLost(
            f"process {index} of {count} (from 0): another process of the training has ended, which"
            " its own line may explain; --resume goes on from the last checkpoint, also with fewer"
        ) from None
    finally:
        errors.quiet, _here = False, ALONE
        os.environ.update(hidden)
        if is_ours and dist.is_initialized():
            with suppress(Exception):  # the others may have gone
                dist.destroy_process_group()


def _is_lost(error: Exception) -> bool:
    """Whether an error says that another process cannot be reached."""
    is_other = isinstance(error, InputError)
    return not is_other and (isinstance(error, dist.DistError) or "gloo" in str(error).lower())


def _number(name: str, default: int) -> int:
    found = os.environ.get(name, "")
    if not found:
        return default
    if not found.isascii() or not found.isdigit():
        raise InputError(f"{name}: found {found!r} in the environment, expected a whole number")
    return int(found)
