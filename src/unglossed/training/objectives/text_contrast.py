"""Text contrast: a language model learns that several wordings of a clip's text are alike.

The first step of LLM2CLIP (Huang et al., arXiv 2411.04997, section 3.2: caption contrast), with the
loss of supervised SimCSE (Gao et al., arXiv 2104.08821, equation 5) in both directions. A later
stage names this one as `alignment.source`, with `states`, and learns to see from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.augment import generator_for
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.token_alignment import Similarities, alignment_loss
from unglossed.ranks import here
from unglossed.training.added_settings import TextContrastSettings
from unglossed.training.build import alone, build_text_reader
from unglossed.training.data import EpochIndex
from unglossed.training.job import Job
from unglossed.training.objectives import Objective, Task

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings


class ParaphraseDataset(Dataset[dict[str, Any]]):
    """Token ids of a clip's text and of another wording of it, drawn anew in each epoch."""

    def __init__(
        self, samples: Sequence[Sample], processor: TranslatorProcessor, *, seed: int
    ) -> None:
        self.samples = [one for one in samples if set(one.references) - {one.text}]
        self.processor = processor
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        epoch, index = item
        sample = self.samples[index]
        wordings = [text for text in dict.fromkeys(sample.references) if text != sample.text]
        drawn = int(generator_for(self.seed, epoch, sample.id).integers(len(wordings)))
        encode = self.processor.encode_text
        return {"labels": encode(sample.text), "others": [encode(wordings[drawn])]}


def _check_lengths(job: Job, pairs: ParaphraseDataset) -> None:
    """Refuse a wording for which the language model has no positions."""
    writer = job.plan.language_model
    limit = None if writer is None else writer.max_positions
    if limit is None:
        return
    for sample in pairs.samples:
        longest = max(len(pairs.processor.encode_text(text)) for text in sample.references)
        if longest > limit:
            raise InputError(
                f"stages.{job.stage.name}.language_model: found a reference of {longest:,} tokens"
                f" (clip {sample.id!r}), expected at most the {limit:,} positions of the model:"
                " shorten it or leave it out"
            )


def paraphrase_loss(one: Tensor, other: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of a text's paraphrase among all, and of a paraphrase's text; mean.

    With cosines c, - log softmax_j(c_ij / temperature)_i, both ways. Equal texts are positives of
    each other.

    Args:
        one: (n, dim) embeddings of texts, of length 1.
        other: (n, dim) those of their paraphrases.
        texts: (n, tokens), `IGNORED` where padded.
        temperature: the lower, the more near ones count.
    """
    cosines = one @ other.T / temperature
    return alignment_loss(Similarities(cosines, cosines), texts)


class TextContrast(Objective):
    """A language model learns from train's clips that have several references."""

    parts = ("language_model",)
    settings = ("text_contrast",)
    smooths = False
    sums = False

    def build(self, job: Job) -> Task:
        """A reader of texts and pairs of wordings; nothing is scored on dev.

        Raises:
            InputError: too few clips have two wordings.
        """
        pairs = ParaphraseDataset(job.run.train_samples, job.run.processor, seed=job.seed)
        if len(pairs) < 2:
            raise InputError(
                f"stages.{job.stage.name}: found {len(pairs)} clips of train with another reference"
                " than their text, expected several: a table can have them in text_2"
            )
        _check_lengths(job, pairs)
        both_ways = (job.stage.text_contrast or TextContrastSettings()).both_ways
        return Task(build_text_reader(job.plan, job.earlier, both_ways=both_ways), pairs)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """See `paraphrase_loss`; pairs of all processes are compared."""
        labels, ranks = batch["labels"], here()
        settings = stage.text_contrast or TextContrastSettings()
        one, other = (ranks.gathered(part) for part in outputs.chunk(2))
        texts = ranks.gathered_texts(labels, labels[:0]) if ranks.count > 1 else labels
        return ranks.part_of(paraphrase_loss(one, other, texts, settings.temperature))

    def finish(self, model: Any) -> Any:
        """The language model alone, with its LoRA."""
        return alone(model.language_model.model, None, model.config.lora)
