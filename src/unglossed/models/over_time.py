"""What encoders of arrays share: one vector a row to features, in the order of time.

Times are in seconds, so that a clip read at another rate is the same clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unglossed.models.encoder import Encoder
from unglossed.models.temporal import build_temporal, lay_out, mix, mixed_lengths, mixed_limit
from unglossed.models.visual import spare_single_values

DEFAULTS: Mapping[str, Any] = {
    "dim": 512,
    "layers": 2,
    "heads": 8,
    "ffn_dim": 1024,
    "dropout": 0.1,
    "temporal_kernel": 3,
    "temporal_pools": None,
    "edge_frames": None,
    "max_frames": None,
}
"""Keys of the configuration of an encoder that has an `OverTime`."""
_PERIODS = (0.2, 200.0)


class OverTime(nn.Module):
    """One vector a row to features, by temporal convolutions and a small Transformer.

    1. Sines and cosines of the seconds since the clip began are added, periods of 0.2 to 200 s.
    2. A temporal module mixes neighbours, and shortens with `temporal_pools`; see `temporal.py`.
    3. Transformer layers, if any, let each position see all of its clip.

    Args:
        config: `dim` (width of vectors and features), `layers` (0: none), `heads`, `ffn_dim` and
            `dropout` of the Transformer, `temporal_kernel`, `temporal_pools`, `edge_frames`,
            `max_frames`.

    Raises:
        ValueError: a value is wrong.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim, heads = config["dim"], config["heads"]
        if dim % 2 or dim % heads:
            raise ValueError(f"dim: found {dim}, expected an even multiple of heads, {heads}")
        self.temporal = build_temporal(dim, {**config, "temporal_dim": dim})
        self.transformer: nn.TransformerEncoder | None = None
        if config["layers"]:
            layer = nn.TransformerEncoderLayer(
                dim,
                heads,
                config["ffn_dim"],
                config["dropout"],
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            self.transformer = nn.TransformerEncoder(
                layer, config["layers"], nn.LayerNorm(dim), enable_nested_tensor=False
            )
        spare_single_values(self)

    def forward(self, rows: Tensor, seconds: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, positions, dim) and their mask (batch, positions).

        Args:
            rows: (sum of lengths, dim), the clips one after another.
            seconds: (sum of lengths,) since each one's clip began.
            lengths: (batch,) rows of each clip.
        """
        rows = rows + time_encoding(seconds, rows.shape[1]).to(rows.dtype)
        features, mask = mix(self.temporal, *lay_out(rows, lengths))
        if self.transformer is not None:
            features = self.transformer(features, src_key_padding_mask=~mask)
        return features * mask[..., None], mask


class OverTimeEncoder(Encoder):
    """An encoder of arrays whose last part is an `OverTime`."""

    signal = "array"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"layers"})
    over_time: OverTime

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """See `Encoder.output_lengths`."""
        return mixed_lengths(self.over_time.temporal, lengths)

    def input_limit(self, positions: int | None) -> int | None:
        """See `Encoder.input_limit`."""
        return mixed_limit(self.over_time.temporal, positions)


def time_encoding(seconds: Tensor, dim: int) -> Tensor:
    """Sines and cosines (n, dim) of seconds (n,), of periods that rise evenly in their logs."""
    shortest, longest = _PERIODS
    steps = torch.linspace(0, 1, dim // 2, device=seconds.device)
    angles = seconds[:, None] * (2 * math.pi / shortest) * (shortest / longest) ** steps
    return torch.cat([angles.sin(), angles.cos()], dim=1)
