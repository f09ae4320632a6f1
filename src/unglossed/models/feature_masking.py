"""Some features are hidden from a decoder-only model, whose states are to stay what they were.

The masked video modelling of ST-LLM (Liu et al., "ST-LLM: Large Language Models Are Effective
Temporal Learners", ECCV 2024, arXiv 2404.00308, section 3.3), for features of signs: the language
model itself learns to tell from those beside it what a feature that is missing said.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unglossed.models.language_model import IGNORED, DecoderOnly


def masked_distances(writer: DecoderOnly, embeds: Tensor, mask: Tensor, share: float) -> Tensor:
    """How far a second reading, of some of the features, is from that of all of them: (batch,).

    With h_i the state of position i when all are read and h'_i when the hidden ones are missing,

        d = mean over the positions i that are left of |h'_i - h_i|^2 / width

    h carries no gradient: the second reading is drawn to the first. What is hidden is not read at
    all, so that no gradient reaches it from here. Padding is neither drawn nor read.

    Args:
        writer: of the states, its last ones.
        embeds: (batch, time, width) adapted features.
        mask: (batch, time) bool, True where real.
        share: chance of each position to be hidden, drawn as dropout is: by seed, step and clip.
            Where all of a clip are drawn none is hidden, and its distance is 0.
    """
    drawn = nn.functional.dropout(torch.ones(mask.shape, device=mask.device), share) > 0
    left = mask & drawn
    left = left | (mask & ~left.any(1, keepdim=True))
    part = writer.states(embeds, left).float()  # first: autocast keeps what it makes of weights
    with torch.no_grad():
        whole = writer.states(embeds, mask).float()
    squares = (part - whole).square().mean(2).masked_fill(~left, 0.0)
    return squares.sum(1) / left.sum(1)


def masked_loss(distances: Tensor, labels: Tensor, num_tokens: Tensor | float | None) -> Tensor:
    """Mean of `masked_distances`, each clip counting by the tokens of its text.

    So it is a sum over clips divided by what the cross-entropy beside it is divided by, and the
    same however a batch is split.

    Args:
        distances: (batch,).
        labels: (batch, tokens), `IGNORED` where padded.
        num_tokens: of the whole effective batch; None: those of `labels`.
    """
    tokens = (labels != IGNORED).sum(1)
    total = tokens.sum() if num_tokens is None else num_tokens
    return (distances * tokens).sum() / total
