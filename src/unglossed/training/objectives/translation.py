"""Translation: clips to texts, by cross-entropy (FLa-LLM, section 3.2); and denoising of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from unglossed.config import DecodingSettings
from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.corpora.sample import Sample
from unglossed.evaluation.metrics import score
from unglossed.inference.translator import translate_features
from unglossed.models.kept_alignment import KeptAlignment
from unglossed.models.language_model import IGNORED
from unglossed.models.token_alignment import alignment_loss, word_loss
from unglossed.ranks import here
from unglossed.training.build import build_alignment, build_text_model, build_translator
from unglossed.training.data import MaskingDataset, NearTextsDataset, TextDataset
from unglossed.training.job import BATCH_SIZE, DevSplit, Job, Scores
from unglossed.training.objectives import Objective, Task

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings


def text_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, num_tokens: Count = None
) -> Tensor:
    """Cross-entropy of a text, - log p(o_i | o_<i, V), mean over its tokens (FLa-LLM, 3.2).

    Args:
        logits: (batch, tokens, vocabulary).
        labels: (batch, tokens), `IGNORED` where padded.
        label_smoothing: Share of the target that is spread over all tokens.
        num_tokens: What the sum is divided by: the tokens of the whole effective batch, so that
            splitting it changes nothing; None: the tokens of `labels`.
    """
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / ((labels != IGNORED).sum() if num_tokens is None else num_tokens)


class TextObjective(Objective):
    """What the objectives that learn to write a text have in common."""

    shards = True

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """Cross-entropy of the texts; see `text_loss`."""
        smoothing = stage.label_smoothing
        labels = batch["labels"]
        return text_loss(outputs.logits, labels, label_smoothing=smoothing, num_tokens=count)


class Translation(TextObjective):
    """A translator learns the clips' texts."""

    parts = ("encoder", "adapter", "language_model")
    settings = ("dev_beams", "alignment")
    best = "bleu4"

    def build(self, job: Job) -> Task:
        """A translator, clips or their stored features, BLEU and ROUGE-L on dev."""
        model = build_translator(job.plan, job.earlier)
        if job.stage.alignment is not None:
            model.align(build_alignment(job.plan, job.earlier))
        clips = job.clips(model, job.run.train_samples, training=True)
        dataset, num_workers = job.items(model, clips)
        if job.stage.alignment is not None and job.stage.alignment.near_texts:
            texts = [clips.target(sample) for sample in clips.samples]
            number = job.stage.alignment.near_texts
            dataset = NearTextsDataset(dataset, texts, number, seed=job.seed)
        scores = job.dev(model).scored(
            self.score,
            decoding=job.run.recipe.decoding.change(beams=job.stage.dev_beams, choice="best"),
            normalisation=job.run.normalisation,
        )
        return Task(model, dataset, scores, num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """Cross-entropy of the texts, and of an alignment `alignment.weight` times its loss."""
        loss = super().loss(outputs, batch, stage, count)
        if stage.alignment is None:
            return loss
        smoothing = stage.alignment.smoothing
        texts = batch.get("texts", batch["labels"])
        aligned = here().part_of(alignment_loss(outputs.similarities, texts, smoothing))
        loss = loss + stage.alignment.weight * aligned
        if stage.alignment.words:
            loss = loss + stage.alignment.words * here().part_of(word_loss(outputs.similarities))
        return loss

    def beside(self, model: Any) -> Callable[[Path], None] | None:
        """What keeps the alignment, see `KeptAlignment`."""
        kept = None if model.alignment is None else KeptAlignment.of(model)
        return None if kept is None else kept.save

    def finish(self, model: Any) -> Any:
        """The model without the alignment."""
        model.align(None)
        return model

    def score(self, dev: DevSplit, decoding: DecodingSettings, normalisation: str) -> Scores:
        """Loss of a token of the references without smoothing, BLEU and ROUGE-L of the texts.

        Args:
            dev: The dev split.
            decoding: How texts are searched for.
            normalisation: What scoring does to the texts.
        """
        features = dev.encoded()
        total, num_tokens = 0.0, 0
        for chosen, batch, mask in dev.batches(features):
            labels = dev.labels(chosen)
            logits = dev.model(features=batch, mask=mask, labels=labels).logits
            total += float(text_loss(logits, labels, num_tokens=1))
            num_tokens += int((labels >= 0).sum())
        processor = dev.clips.processor

        def translate(some: Sequence[Tensor]) -> list[str]:
            found = translate_features(dev.model, processor, some, decoding, batch_size=BATCH_SIZE)
            return [translation.text for translation in found]

        scores = score(
            dev.spread(features, translate),
            [(sample.text, *sample.references) for sample in dev.samples],
            processor.language,
            normalisation,
        )
        found = {"bleu4": scores.bleu4, "bleu1": scores.bleu1, "rouge_l": scores.rouge_l}
        return {"loss": total / num_tokens, **found}


def tell_short_texts(samples: Sequence[Sample], language: str) -> str | None:
    """Say how many texts of dev BLEU-4 finds no 4-gram in, if any."""
    split = BLEU(tokenize=tokenisation(language)).tokenizer
    short = [sample for sample in samples if len(split(sample.text).split()) < 4]
    if not short:
        return None
    unit = "words" if has_spaces(language) else "characters"
    first = short[0]
    ending = (
        "its score is not defined, and the loss on dev chooses the best checkpoint"
        if len(short) == len(samples)
        else "where its score ties, the loss on dev chooses the best checkpoint"
    )
    return (
        f"{len(short):,} of {len(samples):,} dev texts have fewer than four {unit} (first: clip"
        f" {first.id!r}, {first.text[:60]!r}): BLEU-4 counts nothing in them; {ending}"
    )


class Denoising(TextObjective):
    """An encoder-decoder learns the sentences of train, and those that the recipe adds."""

    parts = ("language_model",)
    masks_text = True

    def build(self, job: Job) -> Task:
        """A model of transformers and masked texts; nothing is scored on dev."""
        texts = TextDataset(job.run.texts, job.run.processor)
        dataset = MaskingDataset(texts, job.masking, job.mask_id, seed=job.seed)
        return Task(build_text_model(job.plan, job.earlier), dataset)
