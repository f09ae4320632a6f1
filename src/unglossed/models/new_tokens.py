"""New tokens of a language model that are trained while its own weights stay (LST, stage 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class NewTokens(nn.Module):
    """Rows of a word embedding as a parameter of their own, through which alone gradients flow.

    The rows lie over the table's own numbers, so that there is nothing to write back, nor are they
    saved. The table gets no gradient, which would be as large as the table. Where the output head
    is tied to the embeddings, its rows are these.

    Args:
        model: a model of transformers, on the device on which it trains.
        ids: of the tokens, which no text has.
    """

    def __init__(self, model: PreTrainedModel, ids: range) -> None:
        super().__init__()
        self.ids = ids
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        table = embeddings.weight.requires_grad_(False)
        self.rows = nn.Parameter(table.data[ids.start : ids.stop])
        self.scale: Any = getattr(embeddings, "embed_scale", 1.0)  # mBART, Gemma 3 multiply by it
        if head.weight is table:
            head.register_forward_hook(self._let_learn_from_logits)

    def forward(self, ids: Tensor, embedded: Tensor) -> Tensor:
        """Embeddings of token ids as they are, through which the rows get their gradient."""
        if not torch.is_grad_enabled():
            return embedded
        place = ids - self.ids.start
        is_new = (place >= 0) & (place < len(self.ids))
        row = self.rows[place.clamp(0, len(self.ids) - 1)]
        return embedded + is_new[..., None] * self.scale * (row - row.detach())

    def _let_learn_from_logits(self, _: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        """The logits as they are, through whose columns the rows get their gradient."""
        if torch.is_grad_enabled():
            column = nn.functional.linear(inputs[0].detach(), self.rows)
            columns = logits[..., self.ids.start : self.ids.stop]
            columns += column - column.detach()
        return logits

    def _save_to_state_dict(self, *_: Any) -> None:
        """Save nothing: the rows lie in the table."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Load nothing, for the same reason."""
