"""What mixes neighbours in time: the local temporal module, and the one that also shortens.

Both see the real frames of a clip alone, whatever stands beside it in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Lengths = TypeVar("Lengths", int, Tensor)

MOST_FRAMES = 1_000_000
"""Taken for a slip beyond it."""


class TemporalModule(nn.Module):
    """Conv1d, BatchNorm, ReLU over time, length preserved (FLa-LLM, section 3.1).

    Padding never enters: the convolution sees zeros beyond a clip's ends, padded or not, and the
    normalisation's statistics are those of the real frames alone. A single frame has none: see
    `spare_single_values`.
    """

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(input_dim, output_dim, kernel_size, padding="same")
        self.norm = nn.BatchNorm1d(output_dim)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Mix neighbours of (batch, time, input_dim) to (batch, time, output_dim).

        Both are zero where the mask (batch, time) is False.
        """
        mixed = self.conv(features.transpose(1, 2)).transpose(1, 2)
        real = torch.relu(self.norm(mixed[mask]))  # (real frames, output_dim)
        return real.new_zeros(*mask.shape, real.shape[-1]).masked_scatter(mask[..., None], real)


class PooledTemporal(nn.Module):
    """Convolutions without padding, each with BatchNorm, ReLU and max-pooling.

    So GFSLT-VLP's public code shortens a clip: two of kernel 5, pooled by 2 each.

    1. A clip of more than `max_frames` frames is thinned to so many, evenly.
    2. Its first frame is repeated `edge_frames` times in front, its last one as often behind and
       further until the length is a multiple of what the pools divide it by.
    3. Convolution, normalisation, ReLU, pooling; again for each further pool.

    What a clip gives does not depend on those beside it: each has as many positions as it would
    have alone, and the normalisation's statistics are those of real positions.

    Args:
        input_dim: width of the vectors of frames.
        output_dim: width of the features.
        kernel_size: of each convolution.
        pools: of how many positions each pooling makes one.
        edge_frames: how often a clip's first and last frame are repeated.
        max_frames: of a clip; None: as many as it has.

    Raises:
        ValueError: a clip of one frame would have no position.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        kernel_size: int,
        pools: Sequence[int],
        edge_frames: int = 0,
        max_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.pools = kernel_size, tuple(pools)
        self.edge_frames, self.max_frames = edge_frames, max_frames
        needed = self._frames_read(1) - math.prod(self.pools)
        if needed > 2 * edge_frames:
            raise ValueError(
                f"edge_frames: found {edge_frames}, expected at least {-(-needed // 2)}, with which"
                " a clip of one frame has a position"
            )
        widths = [input_dim, *[output_dim] * (len(self.pools) - 1)]
        self.convs = nn.ModuleList(nn.Conv1d(width, output_dim, kernel_size) for width in widths)
        self.norms = nn.ModuleList(nn.BatchNorm1d(output_dim) for _ in widths)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Shorten (batch, time, input_dim) to (batch, positions, output_dim), and the mask.

        Real frames come first. The result is zero where its mask is False.
        """
        features, lengths = self._extended(features, mask.sum(1))
        for conv, norm, pool in zip(self.convs, self.norms, self.pools, strict=True):
            mixed = conv(features.transpose(1, 2)).transpose(1, 2)
            lengths = lengths - self.kernel_size + 1
            mixed = torch.relu(norm_real(norm, mixed, real_positions(lengths, mixed.shape[1])))
            features = nn.functional.max_pool1d(mixed.transpose(1, 2), pool).transpose(1, 2)
            lengths = lengths // pool
        mask = real_positions(lengths, features.shape[1])
        return features * mask[..., None], mask

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """Positions that clips of so many frames, at least one, have."""
        lengths = self._extended_lengths(self._thinned(lengths))
        for pool in self.pools:
            lengths = (lengths - self.kernel_size + 1) // pool
        return lengths

    def input_limit(self, positions: int) -> int:
        """Most frames that become at most so many positions, were none left out."""
        multiple = math.prod(self.pools)
        return (self._frames_read(positions + 1) - 1 - 2 * self.edge_frames) // multiple * multiple

    def _frames_read(self, positions: int) -> int:
        """Frames, repeated ones among them, that so many positions are made of."""
        for pool in reversed(self.pools):
            positions = positions * pool + self.kernel_size - 1
        return positions

    def _thinned(self, lengths: Lengths) -> Lengths:
        if self.max_frames is None:
            return lengths
        if isinstance(lengths, Tensor):
            return lengths.clamp(max=self.max_frames)
        smaller: Callable[[int, int], int] = torch.sym_min  # which exporters can follow
        return smaller(lengths, self.max_frames)

    def _extended_lengths(self, lengths: Lengths) -> Lengths:
        multiple = math.prod(self.pools)
        # Not -(-lengths // multiple): of negative sizes torch's ONNX exporter makes another number.
        return (lengths + multiple - 1) // multiple * multiple + 2 * self.edge_frames

    def _extended(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Clips thinned and with their edges repeated, and their lengths."""
        kept = self._thinned(lengths.clamp(min=1))
        time = self._extended_lengths(self._thinned(features.shape[1]))
        places = torch.arange(time, device=features.device) - self.edge_frames
        places = places.clamp(min=0).minimum(kept[:, None] - 1)
        if self.max_frames is not None:
            places = places * lengths[:, None] // kept[:, None]
        index = places[..., None].expand(-1, -1, features.shape[2])
        return features.gather(1, index), self._extended_lengths(kept)


POOL_KEYS = ("temporal_pools", "edge_frames", "max_frames")
"""Keys of an encoder's configuration that it may lack: those of a `PooledTemporal`."""


def build_temporal(input_dim: int, config: Mapping[str, Any]) -> TemporalModule | PooledTemporal:
    """What mixes the vectors (frames, input_dim) of an encoder's backbone, random weights.

    Args:
        input_dim: width of the vectors.
        config: the encoder's.

    Raises:
        ValueError: one of `POOL_KEYS` has a wrong value.
    """
    width, kernel = config["temporal_dim"], config["temporal_kernel"]
    pools, edges, most = (config.get(key) for key in POOL_KEYS)
    for key, value, least in (("edge_frames", edges, 0), ("max_frames", most, 1)):
        if value is None:
            continue
        if type(value) is not int or not least <= value <= MOST_FRAMES:
            told = f"expected a whole number from {least} to {MOST_FRAMES:,}"
            raise ValueError(f"{key}: found {value!r}, {told}")
        if not pools:
            raise ValueError(f"{key}: has no effect without temporal_pools")
    if not pools:
        return TemporalModule(input_dim, width, kernel)
    if not isinstance(pools, list) or len(pools) > 4 or not all(map(_is_pool, pools)):
        told = "expected at most 4 whole numbers from 1 to 100, such as [2, 2]"
        raise ValueError(f"temporal_pools: found {pools!r}, {told}")
    return PooledTemporal(input_dim, width, kernel, pools, edges or 0, most)


def lay_out(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (sum of lengths, dim) of clips as (batch, time, dim), 0 where padded, and the mask."""
    mask = real_positions(lengths.to(rows.device))
    padded = rows.new_zeros(*mask.shape, rows.shape[-1])
    return padded.masked_scatter(mask[..., None], rows), mask


def mix(temporal: nn.Module, padded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a temporal module makes of (batch, time, dim), and the mask of that; Identity: as is."""
    if isinstance(temporal, nn.Identity):
        return padded, mask
    if isinstance(temporal, PooledTemporal):
        features, mask = temporal(padded, mask)
        return features, mask
    return temporal(padded, mask), mask


def mixed_lengths(temporal: nn.Module, lengths: Lengths) -> Lengths:
    """Positions that a temporal module makes of clips of so many frames."""
    return temporal.output_lengths(lengths) if isinstance(temporal, PooledTemporal) else lengths


def mixed_limit(temporal: nn.Module, positions: int | None) -> int | None:
    """Most frames that become at most so many positions; None: no limit."""
    if positions is None or not isinstance(temporal, PooledTemporal):
        return positions
    return temporal.input_limit(positions)


def _is_pool(value: object) -> bool:
    return type(value) is int and 1 <= value <= 100


def norm_real(norm: nn.Module, values: Tensor, mask: Tensor) -> Tensor:
    """Normalise (batch, time, dim), zero where the mask (batch, time) is False.

    In training the statistics of a batch are those of its real positions alone.
    """
    if not norm.training:  # no sizes that only the data tells, so that exporters can follow
        return norm(values.flatten(0, 1)).reshape(values.shape) * mask[..., None]
    real = norm(values[mask])
    return real.new_zeros(values.shape).masked_scatter(mask[..., None], real)


def real_positions(lengths: Tensor, time: int | None = None) -> Tensor:
    """Mask (batch, time) of the real positions of rows of these lengths (batch,), True where real.

    `time` is the padded length, by default that of the longest row.
    """
    size = int(lengths.max()) if time is None else time
    return torch.arange(size, device=lengths.device) < lengths[:, None]
