"""The encoder of features that another network made: (time, dim) to features of signs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unglossed.config import FieldError
from unglossed.models.over_time import DEFAULTS, OverTime, OverTimeEncoder


class FeatureEncoder(OverTimeEncoder):
    """Features (time, input_dim) of a clip to features of signs.

    1. Each row is normalised to mean 0 and variance 1, and brought to the width of the features.
    2. `OverTime`: temporal convolutions and a small Transformer.

    Args:
        config: `input_dim` and `rate`, rows a second, both those of the recipe's `array`; and the
            keys of `OverTime`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"input_dim": None, "rate": None, **DEFAULTS}

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.input_dim, self.rate = int(config["input_dim"]), float(config["rate"])
        self.output_dim = config["dim"]
        self.norm = nn.LayerNorm(self.input_dim)
        self.project = nn.Linear(self.input_dim, self.output_dim)
        self.over_time = OverTime(config)

    @classmethod
    def complete(cls, config: Mapping[str, Any], processor: Any) -> dict[str, Any]:
        """See `Encoder.complete`."""
        array = processor.array or {}
        told = {"input_dim": array.get("dim"), "rate": array.get("rate")}
        if None in told.values():
            raise FieldError("kind", "found features, expected array.dim in the recipe")
        return {**cls.defaults, **told, **config}

    def misfit(self, processor: Any) -> str | None:
        """See `Encoder.misfit`."""
        found = processor.array["dim"], processor.array["rate"]
        if found == (self.input_dim, self.rate):
            return None
        return (
            f"reads features of {self.input_dim} numbers, {self.rate:g} a second, expected"
            f" array.dim {found[0]} and array.rate {found[1]:g}"
        )

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`; frames are (sum of lengths, input_dim) float32."""
        places = [torch.arange(length, device=frames.device) for length in lengths.tolist()]
        rows = self.project(self.norm(frames))
        features: tuple[Tensor, Tensor] = self.over_time(
            rows, torch.cat(places) / self.rate, lengths
        )
        return features
