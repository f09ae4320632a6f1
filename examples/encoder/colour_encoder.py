"""A small encoder: where in a frame which colour is, and how that moves on.

It needs no pre-trained weights and trains in seconds on a CPU: a yardstick for larger ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unglossed.models.encoder import Encoder
from unglossed.models.temporal import real_positions


class ColourEncoder(Encoder):
    """1. Mean colours of a coarse grid of each frame. 2. A GRU over the frames of each clip.

    Args:
        config: `grid` (cells along each side of a frame) and `dim` (width of the features).
    """

    defaults = {"grid": 4, "dim": 128}

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.grid = config["grid"]
        self.output_dim = config["dim"]
        self.gru = nn.GRU(3 * self.grid**2, self.output_dim, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`."""
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        colours = nn.functional.adaptive_avg_pool2d(pixels, self.grid).flatten(1)
        clips = torch.split(colours, lengths.tolist())
        padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)  # (batch, time, 3 * grid^2)
        features, _ = self.gru(padded)  # it reads forwards: padding follows the clip
        mask = real_positions(lengths.to(frames.device))
        return features * mask[..., None], mask
