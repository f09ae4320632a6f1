"""A segmenter: an encoder with a few convolutions on top, which finds sentences in a long video.

Each position is outside of every sentence, at the begin of one, or within one (begin, inside,
outside: as Moryossef et al. 2023, arXiv 2310.13960, section 4, tag sentences of signing).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from unglossed.errors import InputError
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.frozen_block import KEY
from unglossed.models.translator import Tagger

OUTSIDE, BEGIN, INSIDE = 0, 1, 2
"""Tags of a position."""


class SegmenterConfig(PreTrainedConfig):
    """Configuration of a `Segmenter`: its encoder as dict, and the size of its head.

    `hidden_share` is the share of positions that are hidden from the head in training.
    """

    model_type = "unglossed_segmenter"

    encoder: dict[str, Any] | None = None
    width: int = 128
    layers: int = 4
    dropout: float = 0.1
    hidden_share: float = 0.15


class SegmentHead(nn.Module):
    """Features to tags: convolutions over time whose reach doubles from layer to layer.

    Positions that are padding are held at zero, which is what the convolutions see beyond the ends.
    """

    kernel_size: ClassVar[int] = 3

    def __init__(self, dim: int, config: SegmenterConfig) -> None:
        super().__init__()
        self.hidden_share = config.hidden_share
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, config.width)
        self.steps = [2**number for number in range(config.layers)]
        self.mix = nn.ModuleList(
            nn.Conv1d(config.width, config.width, self.kernel_size, padding="same", dilation=step)
            for step in self.steps
        )
        self.dropout = nn.Dropout(config.dropout)
        self.leave = nn.Linear(config.width, 3)

    @property
    def reach(self) -> int:
        """Positions on each side that a tag depends on."""
        return sum(self.steps) * (self.kernel_size // 2)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits (batch, time, 3) of features (batch, time, dim) and their mask (batch, time)."""
        hidden = self.enter(self.norm(features))
        shown = mask
        if self.training and self.hidden_share:
            shown = mask & (torch.rand(mask.shape, device=mask.device) >= self.hidden_share)
        hidden = (hidden * shown[..., None]).transpose(1, 2)
        real = mask[:, None]
        for mix in self.mix:
            hidden = (hidden + self.dropout(torch.relu(mix(hidden)))) * real
        return self.leave(hidden.transpose(1, 2))


class Segmenter(Tagger):
    """encoder -> convolutions over time -> tags."""

    config_class = SegmenterConfig
    base_model_prefix = "segmenter"
    parts = ("encoder", "segment_head")

    def build_parts(self, config: SegmenterConfig) -> None:
        """Make encoder and head.

        Raises:
            InputError: the encoder makes a clip shorter.
        """
        assert config.encoder
        self.encoder: Encoder = build_encoder(config.encoder)
        if pools := config.encoder.get("temporal_pools"):
            raise InputError(
                f"encoder.config.temporal_pools: found {pools}, expected none: a segmenter tags"
                " every frame"
            )
        if config.encoder.get(KEY) is not None:
            raise InputError(
                f"encoder.config.{KEY}: found one, expected none: a segmenter sees a long video"
                " piece by piece, a block all of a clip"
            )
        self.segment_head: SegmentHead = SegmentHead(self.encoder.output_dim, config)

    def tag(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits of outside, begin and inside."""
        return self.segment_head(features, mask)


AutoConfig.register(SegmenterConfig.model_type, SegmenterConfig)
AutoModel.register(SegmenterConfig, Segmenter)
