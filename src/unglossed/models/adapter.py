"""Adapters between an encoder's features and a language model's embedding space."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Adapter(nn.Module):
    """MLP with one hidden layer, C -> width of the language model.

    FLa-LLM's VL-Adapter (stage 1) and LLM-Adapter (stage 2), section 3.2 and 3.3. It keeps the
    sequence's length, so the mask that leaves it is the one that enters.

    Args:
        input_dim: width of the encoder's features.
        output_dim: width of the language model.
        config: `hidden_dim` (width of the hidden layer, open in the paper), `dropout`.
    """

    def __init__(self, input_dim: int, output_dim: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, config["hidden_dim"])
        self.output = nn.Linear(config["hidden_dim"], output_dim)
        self.dropout = nn.Dropout(config["dropout"])

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, time, input_dim) to (batch, time, output_dim); the mask is handed on."""
        hidden = self.dropout(nn.functional.gelu(self.hidden(features)))
        return self.output(hidden), mask
