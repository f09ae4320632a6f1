"""Translation with a confidence penalty (Pereyra et al. 2017, arXiv 1701.06548).

The loss is that of translation minus a share of the entropy of the predicted tokens: a model that
puts everything on one token pays for it. Parts, batches and scores on dev stay those of
translation; another objective may override `build` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unglossed.models.language_model import IGNORED
from unglossed.training.objectives.translation import Translation


class ConfidencePenalty(Translation):
    """Cross-entropy of the clips' texts, minus `weight` times the entropy of the prediction."""

    weight = 0.1

    def loss(self, outputs: Any, batch: Mapping[str, Tensor], stage: Any, count: Any) -> Tensor:
        """The loss of a batch.

        Args:
            outputs: The translator's: `logits` (batch, tokens, vocabulary).
            batch: What it was given: `labels` (batch, tokens), `IGNORED` where padded.
            stage: The stage's settings.
            count: Tokens of the whole effective batch; None: those of this batch.
        """
        real = batch["labels"] != IGNORED
        log_p = outputs.logits[real].float().log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum()
        share = entropy / (real.sum() if count is None else count)
        return super().loss(outputs, batch, stage, count) - self.weight * share
