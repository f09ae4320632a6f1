"""Adapters between an encoder's features and a language model's embedding space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unglossed.models.temporal import Lengths, norm_real, real_positions
from unglossed.models.visual import spare_single_values


class Adapter(nn.Module, ABC):
    """Features of an encoder to what a language model reads; here the length is kept."""

    defaults: ClassVar[Mapping[str, Any]]
    """Keys of the configuration, and their values where a recipe does not say."""

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, time, input_dim) to embeddings (batch, positions, output_dim).

        Each with its mask (batch, time) or (batch, positions), real ones in front.
        """

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """Positions that so many features, at least one, become."""
        return lengths

    def input_limit(self, positions: int) -> int:
        """Most features that become at most so many positions."""
        return positions

    def spread(self, weights: Tensor, mask: Tensor) -> Tensor:
        """Attention (batch, tokens, positions) as attention over the features that they stand for.

        The result is (batch, tokens, time), as the features' mask (batch, time); rows sum to 1.
        """
        return weights


class MLPAdapter(Adapter):
    """MLP with one hidden layer, C -> width of the language model.

    FLa-LLM's VL-Adapter (stage 1) and LLM-Adapter (stage 2), section 3.2 and 3.3; the width of the
    hidden layer is open in the paper.
    """

    defaults = {"hidden_dim": 512, "dropout": 0.0}

    def __init__(self, input_dim: int, output_dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, config["hidden_dim"])
        self.output = nn.Linear(config["hidden_dim"], output_dim)
        self.dropout = nn.Dropout(config["dropout"])

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `Adapter.forward`."""
        hidden = self.dropout(nn.functional.gelu(self.hidden(features)))
        return self.output(hidden), mask


class ShorteningAdapter(Adapter):
    """LST's length adapter and modality adapter (arXiv 2310.02050): fewer features, then a map.

    1. Each layer is a strided convolution over time and a gated linear unit, which halves the
       convolution's channels. Padding is zero before each, so that it says nothing.
    2. A linear layer leads to the width of the language model.
    """

    defaults = {"channels": 1024, "layers": 2, "kernel": 3, "stride": 2}

    def __init__(self, input_dim: int, output_dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        channels = config["channels"]
        self.kernel, self.stride = config["kernel"], config["stride"]
        self.length = nn.ModuleList(
            nn.Conv1d(width, 2 * channels, self.kernel, self.stride, padding=self.kernel // 2)
            for width in [input_dim, *[channels] * (config["layers"] - 1)]
        )
        self.modality = nn.Linear(channels, output_dim)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `Adapter.forward`."""
        for convolution in self.length:
            gated = convolution((features * mask[..., None]).transpose(1, 2))
            features = nn.functional.glu(gated, dim=1).transpose(1, 2)
            mask = real_positions(self._shorten(mask.sum(1)), features.shape[1])
        return self.modality(features), mask

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """See `Adapter.output_lengths`."""
        for _ in self.length:
            lengths = self._shorten(lengths)
        return lengths

    def input_limit(self, positions: int) -> int:
        """See `Adapter.input_limit`."""
        for _ in self.length:
            positions = positions * self.stride - 1 - 2 * (self.kernel // 2) + self.kernel
        return positions

    def spread(self, weights: Tensor, mask: Tensor) -> Tensor:
        """See `Adapter.spread`: each feature has the weight of the nearest position's centre."""
        stride = self.stride ** len(self.length)
        places = (torch.arange(mask.shape[1], device=mask.device) + stride // 2) // stride
        last = self.output_lengths(mask.sum(1, keepdim=True)) - 1
        nearest = torch.minimum(places, last)  # (batch, time)
        spread = weights.gather(2, nearest[:, None].expand(-1, weights.shape[1], -1))
        spread = spread.masked_fill(~mask[:, None], 0.0)
        return spread / spread.sum(-1, keepdim=True)

    def _shorten(self, lengths: Lengths) -> Lengths:
        return (lengths + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1


NORMS = ("layer", "batch")
"""Values of `norm`, the key of a `NormedAdapter`."""


class NormedAdapter(Adapter):
    """A linear map, LayerNorm or BatchNorm, and ReLU: that of GFSLT-VLP's public code.

    A batch normalisation's statistics are those of real positions alone.

    Raises:
        ValueError: `norm` is neither "layer" nor "batch".
    """

    defaults = {"norm": "layer"}

    def __init__(self, input_dim: int, output_dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        if config["norm"] not in NORMS:
            raise ValueError(f"norm: found {config['norm']!r}, expected {' or '.join(NORMS)}")
        self.linear = nn.Linear(input_dim, output_dim)
        kind = nn.LayerNorm if config["norm"] == "layer" else nn.BatchNorm1d
        self.norm: nn.Module = kind(output_dim)
        spare_single_values(self)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `Adapter.forward`; zero where padded."""
        return torch.relu(norm_real(self.norm, self.linear(features), mask)), mask


def adapter_kind(config: Mapping[str, Any]) -> type[MLPAdapter | ShorteningAdapter | NormedAdapter]:
    """The kind of adapter of a configuration: with `channels` it shortens, with `norm` it norms."""
    if "channels" in config:
        return ShorteningAdapter
    return NormedAdapter if "norm" in config else MLPAdapter


def build_adapter(input_dim: int, output_dim: int, config: Mapping[str, Any]) -> Adapter:
    """Build an adapter, random weights; its configuration has the keys of the kind's defaults."""
    return adapter_kind(config)(input_dim, output_dim, config)
