"""Denoising: a language model alone learns to restore masked sentences (mBART)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from unglossed.training.data import MaskingDataset, TextDataset
from unglossed.training.job import Job
from unglossed.training.objectives import Objective, Task
from unglossed.training.objectives.translation import loss_of_text
from unglossed.training.stage import build_text_model

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings


class Denoising(Objective):
    """An encoder-decoder learns the sentences of train, and those that the recipe adds."""

    parts = ("language_model",)
    masks_text = True

    def build(self, job: Job) -> Task:
        """A model of transformers and masked texts; nothing is scored on dev."""
        texts = TextDataset(job.run.texts, job.run.processor)
        dataset = MaskingDataset(texts, job.masking, job.mask_id, seed=job.seed)
        return Task(build_text_model(job.stage, job.earlier, job.run.processor), dataset)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """Cross-entropy of the sentences as they were before masking."""
        return loss_of_text(outputs, batch, stage, count)
