"""The loss of a stage, from logits and labels."""

from __future__ import annotations

import torch
from torch import Tensor

from unglossed.models.language_model import IGNORED


def text_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    num_tokens: Tensor | int | None = None,
) -> Tensor:
    """Cross-entropy of a text, - log p(o_i | o_<i, V), mean over its tokens (FLa-LLM, 3.2).

    Args:
        logits: (batch, tokens, vocabulary).
        labels: (batch, tokens), `IGNORED` where padded.
        label_smoothing: share of the target given to all tokens alike.
        num_tokens: what the sum is divided by: the tokens of the whole effective batch, so that
            its cut into batches changes nothing; the labels' own count when not given.
    """
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / ((labels != IGNORED).sum() if num_tokens is None else num_tokens)
