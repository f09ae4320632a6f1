"""What is drawn in a training step, as a function of the run's seed, the step and the row alone.

Neither the other rows of the batch, nor padding, nor the number of processes or of steps since a
resume matter. Dropout is drawn row by row: a row is a clip, by its number in the training split.
What else a model draws (layers that are left out, masks over the input of a speech model) comes
from torch's, numpy's and Python's own generators, which are seeded at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import set_seed

from unglossed.ranks import here

_DOMAINS = {"step": 1, "row": 2}
# Odd constants of SplitMix64 and of MurmurHash3's 32-bit finaliser.
_SPLITMIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_FIRST, _SECOND = -2048144789, -1028477387


class Draws:
    """The draws of a stage.

    Args:
        seed: Of the stage.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: _Streams | None = None

    def spare(self, module: nn.Module) -> None:
        """Leave the dropout of a module to torch, as it is computed again in the backward pass."""
        module.register_forward_pre_hook(lambda *_: self._pause(True))
        module.register_forward_hook(lambda *_: self._pause(False), always_call=True)

    def _pause(self, paused: bool) -> None:
        if self._streams is not None:
            self._streams.paused = paused

    def seed_step(self, step: int) -> None:
        """Seed torch's, numpy's and Python's generators for a step, another way in each process."""
        set_seed(_mixed(self.seed, step, _DOMAINS["step"] + here().index * 16) % 2**32)

    @contextmanager
    def dropout(self, step: int, rows: Sequence[int], device: torch.device) -> Iterator[None]:
        """Draw the dropout of a forward pass in the block.

        It stands in for torch's functions, which all models call, for as long as the block lasts:
        one thread trains at a time.

        Args:
            step: Of the training.
            rows: Numbers of the clips. The batch is the first dimension of what has a dropout;
                else torch draws, as it was seeded at the step.
            device: Where it is computed.
        """
        streams = _Streams(_mixed(self.seed, step, _DOMAINS["row"]), rows, device)
        self._streams = streams
        functional: Any = nn.functional
        before = functional.dropout, functional.scaled_dot_product_attention
        functional.dropout = streams.dropout
        functional.scaled_dot_product_attention = streams.attention(before[1])
        try:
            yield
        finally:
            functional.dropout, functional.scaled_dot_product_attention = before
            self._streams = None


@contextmanager
def kept_draws(device: torch.device) -> Iterator[None]:
    """Leave torch's generators as they are, whatever is drawn in the block: the CPU's and a GPU's.

    Other GPUs, which other processes train on, are left alone: a look at them would take memory.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


class _Streams:
    """Draws for each row of a batch, one after another in the order in which they are asked for."""

    def __init__(self, seed: int, rows: Sequence[int], device: torch.device) -> None:
        self._seed, self._rows, self._device, self._asked = seed, rows, device, 0
        self._plain: Any = nn.functional.dropout
        self.paused = False

    def dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """What torch's dropout does: each value is 0 with probability p, else divided by 1 - p."""
        if not training or p == 0:
            return input
        if p == 1:
            return input * 0
        is_batch = len(input) == len(self._rows)  # not frames of all clips, as image models have
        if self.paused or not is_batch:
            return self._plain(input, p, training, inplace)
        factor = self.kept(input.shape, p).to(input.dtype).mul_(1 / (1 - p))
        return input.mul_(factor) if inplace else input * factor

    def kept(self, shape: torch.Size, p: float) -> Tensor:
        """Which values stay: bool of a shape whose first dimension is the batch.

        A value's draw depends on its row and on where it is in the others, counted from their
        begin, so that padding behind changes nothing.
        """
        self._asked += 1
        seed = _mixed(self._seed, self._asked)
        # From pinned memory, as Python would else wait here until the GPU has done all before.
        keys = torch.tensor(
            [_mixed(seed, row) % 2**32 - 2**31 for row in self._rows],
            dtype=torch.int32,
            pin_memory=self._device.type == "cuda",
        ).to(self._device, non_blocking=True)
        for number, size in enumerate(shape[1:], start=1):
            places = torch.arange(size, dtype=torch.int32, device=self._device)
            keys = keys[..., None] ^ _spread(places.add_(number << 24))
            keys = _spread(keys) if number < len(shape) - 1 else _spread_once(keys)
        return keys >= round((p - 0.5) * 2**32)

    def attention(self, fused: Any) -> Any:
        """Attention whose dropout is drawn here; the function given where there is none."""

        def attend(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attn_mask: Tensor | None = None,
            dropout_p: float = 0.0,
            is_causal: bool = False,
            scale: float | None = None,
            enable_gqa: bool = False,
        ) -> Tensor:
            if dropout_p == 0 or self.paused:
                found: Tensor = fused(
                    *(query, key, value, attn_mask, dropout_p, is_causal),
                    scale=scale,
                    enable_gqa=enable_gqa,
                )
                return found
            if enable_gqa:
                shared = query.shape[-3] // key.shape[-3]
                key, value = (part.repeat_interleave(shared, -3) for part in (key, value))
            factor = query.shape[-1] ** -0.5 if scale is None else scale
            scores = query @ key.transpose(-2, -1) * factor
            if is_causal:
                attn_mask = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()
            if attn_mask is not None and attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, -torch.inf)
            elif attn_mask is not None:
                scores = scores + attn_mask
            shares = scores.softmax(-1).nan_to_num(0.0)  # of positions that may see none
            return self.dropout(shares, dropout_p) @ value

        return attend


def _mixed(*numbers: int) -> int:
    """A number of 63 bits from whole numbers (SplitMix64)."""
    state = 0
    for number in numbers:
        state = (state ^ (number % 2**64)) + _SPLITMIX[0] & 2**64 - 1
        state = (state ^ state >> 30) * _SPLITMIX[1] & 2**64 - 1
        state = (state ^ state >> 27) * _SPLITMIX[2] & 2**64 - 1
        state ^= state >> 31
    return state >> 1


def _spread(numbers: Tensor) -> Tensor:
    """Spread the bits of int32 numbers over all of them, in place (MurmurHash3's finaliser)."""
    numbers ^= numbers >> 16
    numbers *= _FIRST
    numbers ^= numbers >> 13
    numbers *= _SECOND
    numbers ^= numbers >> 16
    return numbers


def _spread_once(numbers: Tensor) -> Tensor:
    """The same for numbers whose high bits alone matter, and which are spread already."""
    numbers *= _FIRST
    numbers ^= numbers >> 15
    numbers *= _SECOND
    return numbers
