"""Alignment: the visual-language pre-training of GFSLT-VLP (arXiv 2307.14768, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unglossed.media.augment import generator_for
from unglossed.models.vlp import VisualLanguageModel
from unglossed.ranks import here
from unglossed.training.build import build_translator
from unglossed.training.data import MaskingDataset, mask_spans
from unglossed.training.job import DevSplit, Job, Scores
from unglossed.training.objectives import Task
from unglossed.training.objectives.translation import TextObjective, text_loss

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import MaskingSettings, StageSettings


def alignment_loss(similarities: Tensor) -> Tensor:
    """Divergence of the similarities from the identity, both ways (GFSLT-VLP, section 3.2).

    KL(identity || softmax) over the sentences of a clip and over the clips of a sentence, their
    mean. As the identity has no entropy, this is the cross-entropy of CLIP.

    Args:
        similarities: (batch, batch) of clips and sentences, the pairs on the diagonal.
    """
    pairs = torch.arange(len(similarities), device=similarities.device)
    entropy = torch.nn.functional.cross_entropy
    return (entropy(similarities, pairs) + entropy(similarities.T, pairs)) / 2


class VisualLanguagePretraining(TextObjective):
    """Clips are aligned with their sentences, and masked sentences restored."""

    parts = ("encoder", "adapter", "language_model", "text_encoder")
    adds = ("alignment",)
    settings = ("restoration_weight",)
    masks_text = True
    sums = False
    best = "loss"
    lowest = True
    then = "restoration_loss"

    def build(self, job: Job) -> Task:
        """A translator with a text encoder, clips with masked texts, the alignment on dev."""
        model = build_translator(job.plan, job.earlier)
        assert isinstance(model, VisualLanguageModel)
        clips = job.clips(model, job.run.train_samples, training=True)
        items, num_workers = job.items(model, clips)
        dataset = MaskingDataset(items, job.masking, job.mask_id, seed=job.seed)
        scores = job.dev(model).scored(self.score, masking=job.masking)
        return Task(model, dataset, scores, num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """The alignment of a batch, and `restoration_weight` times the restoration."""
        restored = super().loss(outputs, batch, stage, count)
        aligned = here().part_of(alignment_loss(outputs.similarities))
        return aligned + stage.restoration_weight * restored

    def score(self, dev: DevSplit, masking: MaskingSettings) -> Scores:
        """Compare every clip of dev with every sentence of it; the same tokens are always hidden.

        Returns:
            `loss`, of the alignment over the whole split; `retrieval`, the percentage of clips to
            which their own sentence is the most similar; `restoration_loss`, a token's.
        """
        clips, texts = [], []
        total, num_tokens = 0.0, 0
        tokenizer = dev.clips.processor.tokenizer
        for chosen, batch, mask in dev.batches(dev.encoded()):
            labels = dev.labels(chosen)
            clips.append(dev.model.embed_clips(batch, mask))
            texts.append(dev.model.embed_texts(labels))
            masked = _masked(labels, masking, tokenizer.mask_token_id, tokenizer.pad_token_id)
            restored = dev.model.restore(masked, masked != tokenizer.pad_token_id, labels)
            total += float(text_loss(restored, labels, num_tokens=1))
            num_tokens += int((labels >= 0).sum())
        similarities = dev.model.alignment(torch.cat(clips), torch.cat(texts))
        pairs = torch.arange(len(similarities), device=similarities.device)
        return {
            "loss": float(alignment_loss(similarities)),
            "retrieval": 100 * float((similarities.argmax(1) == pairs).float().mean()),
            "restoration_loss": total / num_tokens,
        }


def _masked(labels: Tensor, masking: MaskingSettings, mask_id: int, pad_id: int) -> Tensor:
    """Token ids (batch, tokens) of texts with spans hidden."""
    rows = []
    for number, row in enumerate(labels):
        generator = generator_for(0, 0, f"text {number}")
        ids = mask_spans(row[row >= 0].tolist(), masking, mask_id, generator)
        rows.append(torch.tensor(ids, device=labels.device))
    return pad_sequence(rows, batch_first=True, padding_value=pad_id)
