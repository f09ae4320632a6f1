"""Denoising: a language model alone learns to restore masked sentences (mBART)."""

from __future__ import annotations

from unglossed.training.build import build_text_model
from unglossed.training.data import MaskingDataset, TextDataset
from unglossed.training.job import Job
from unglossed.training.objectives import Task
from unglossed.training.objectives.translation import TextObjective


class Denoising(TextObjective):
    """An encoder-decoder learns the sentences of train, and those that the recipe adds."""

    parts = ("language_model",)
    masks_text = True

    def build(self, job: Job) -> Task:
        """A model of transformers and masked texts; nothing is scored on dev."""
        texts = TextDataset(job.run.texts, job.run.processor)
        dataset = MaskingDataset(texts, job.masking, job.mask_id, seed=job.seed)
        return Task(build_text_model(job.plan, job.earlier), dataset)
