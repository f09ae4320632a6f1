"""Translation: clips to texts, by cross-entropy (FLa-LLM, section 3.2); and denoising of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from unglossed.config import DecodingSettings
from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.corpora.sample import Sample
from unglossed.evaluation.metrics import each_language, score_by_language
from unglossed.inference.translator import translate_features
from unglossed.models.context import pad_rows
from unglossed.models.feature_masking import masked_loss
from unglossed.models.kept_alignment import KeptAlignment
from unglossed.models.language_model import IGNORED
from unglossed.models.token_alignment import alignment_loss, word_loss
from unglossed.ranks import here
from unglossed.training.build import build_alignment, build_text_model, build_translator
from unglossed.training.context import ContextDataset, build_context, save_alignment
from unglossed.training.data import LanguageDataset, MaskingDataset, NearTextsDataset, TextDataset
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


def unlikelihood_loss(logits: Tensor, labels: Tensor, *, num_tokens: Count = None) -> Tensor:
    """How likely a text still is where another language is asked for, mean over its tokens.

        - log (1 - p(o_i | o_<i, V, wrong language))

    From Zan et al., "Building Accurate Translation-Tailored LLMs with Language Aware Instruction
    Tuning", arXiv 2403.14399; unlikelihood is Welleck et al.'s, arXiv 1908.04319. It is computed as
    log-sum-exp of all logits minus that of all but the token's: exact also where p is near 1, with
    a gradient of at most p.

    Args:
        logits: (batch, tokens, vocabulary), of the wrong language.
        labels: (batch, tokens), `IGNORED` where padded.
        num_tokens: See `text_loss`.
    """
    real = labels != IGNORED
    scores, tokens = logits[real].float(), labels[real]
    others = scores.scatter(1, tokens[:, None], -torch.inf)
    total = (scores.logsumexp(-1) - others.logsumexp(-1)).sum()
    return total / (real.sum() if num_tokens is None else num_tokens)


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
    settings: ClassVar[tuple[str, ...]] = (
        *("dev_beams", "alignment", "context", "masked_features", "unlikelihood"),
    )
    languages = True
    best = "bleu4"

    def build(self, job: Job) -> Task:
        """A translator, clips or their stored features, BLEU and ROUGE-L on dev."""
        model = build_translator(job.plan, job.earlier)
        if job.stage.alignment is not None:
            model.align(build_alignment(job.plan, job.earlier))
        if job.stage.context is not None:
            context = build_context(job, job.stage.context, job.earlier, model.language_model.width)
            model.read_beside(context)
        if job.stage.masked_features is not None:
            model.mask_features(job.stage.masked_features.share)
        clips = job.clips(model, job.run.train_samples, training=True)
        dataset, num_workers = job.items(model, clips)
        if job.stage.alignment is not None and job.stage.alignment.near_texts:
            texts = [clips.target(sample) for sample in clips.samples]
            number = job.stage.alignment.near_texts
            dataset = NearTextsDataset(dataset, texts, number, seed=job.seed)
        if job.stage.context is not None:
            texts_of = [job.beside.get(sample.id, ()) for sample in clips.samples]
            dropped = job.stage.context.dropped
            processor, seed = job.run.processor, job.seed
            dataset = ContextDataset(dataset, context, processor, texts_of, dropped, seed=seed)
        if codes := job.run.recipe.languages:
            own = [sample.language for sample in clips.samples]
            wrong = codes if job.stage.unlikelihood else ()
            dataset = LanguageDataset(dataset, own, wrong=wrong, seed=job.seed)
        scores = job.dev(model).scored(
            self.score,
            decoding=job.run.recipe.decoding.change(beams=job.stage.dev_beams, choice="best"),
            normalisation=job.run.normalisation,
        )
        return Task(model, dataset, scores, num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """Cross-entropy of the texts, and by their weights what else the stage has."""
        loss = super().loss(outputs, batch, stage, count)
        if stage.masked_features is not None:
            hidden = masked_loss(outputs.distances, batch["labels"], count)
            loss = loss + stage.masked_features.weight * hidden
        if stage.unlikelihood:
            unlikely = unlikelihood_loss(outputs.wrong_logits, batch["labels"], num_tokens=count)
            loss = loss + stage.unlikelihood * unlikely
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
        """What keeps the alignment: for a later stage, and for decoding, see `KeptAlignment`."""
        aligned = model.alignment
        if aligned is None:
            return None
        kept = KeptAlignment.of(model)

        def save(folder: Path) -> None:
            save_alignment(aligned, folder)
            if kept is not None:
                kept.save(folder)

        return save

    def finish(self, model: Any) -> Any:
        """The model without the alignment, which reads clips once."""
        model.align(None)
        model.mask_features(None)
        return model

    def score(
        self, dev: DevSplit, decoding: DecodingSettings, normalisation: str, **settings: Any
    ) -> Scores:
        """Loss of a token of the references without smoothing, BLEU and ROUGE-L of the texts.

        Of several languages scores are means over the languages, and `off_target` is the percentage
        of texts in another one than that which was asked for, where it can be told.

        Args:
            dev: The dev split.
            decoding: How texts are searched for.
            normalisation: What scoring does to the texts.
            settings: Further ones of `score_texts`.
        """
        features = dev.encoded()
        beside = dev.beside(features)
        processor = dev.clips.processor
        several = len(processor.languages) > 1
        total, num_tokens = 0.0, 0
        for chosen, batch, mask in dev.batches(features):
            labels = dev.labels(chosen)
            asked = [sample.language for sample in dev.samples[chosen]] if several else None
            read = None if beside is None else pad_rows(beside[chosen]).to(batch.device)
            logits = dev.model(
                features=batch, mask=mask, labels=labels, context=read, languages=asked
            ).logits
            total += float(text_loss(logits, labels, num_tokens=1))
            num_tokens += int((labels >= 0).sum())

        def translate(numbers: Sequence[int], code: str | None) -> list[str]:
            settings = decoding.change(to=code) if code else decoding
            found = translate_features(
                *(dev.model, processor, [features[number] for number in numbers], settings),
                batch_size=BATCH_SIZE,
                context=None if beside is None else [beside[number] for number in numbers],
            )
            return [translation.text for translation in found]

        languages = [sample.language for sample in dev.samples]
        texts = each_language(
            languages,
            lambda code, rows: dev.spread(
                [features[row] for row in rows],
                lambda some: translate([rows[one] for one in some], code),
            ),
            processor.languages,
        )
        found = self.score_texts(dev, texts, normalisation, **settings)
        return {"loss": total / num_tokens, **found}

    def score_texts(
        self, dev: DevSplit, texts: Sequence[str], normalisation: str, **settings: Any
    ) -> Scores:
        """BLEU and ROUGE-L of the texts of dev; see `score`."""
        del settings
        scores = score_by_language(
            texts,
            [(sample.text, *sample.references) for sample in dev.samples],
            [sample.language for sample in dev.samples],
            normalisation,
            known=dev.clips.processor.languages,
        )
        found = {"bleu4": scores.bleu4, "bleu1": scores.bleu1, "rouge_l": scores.rouge_l}
        if scores.off_target is not None:
            found["off_target"] = scores.off_target
        return found


def tell_short_texts(samples: Sequence[Sample], language: str) -> str | None:
    """Say how many texts of dev in a language BLEU-4 finds no 4-gram in, if any."""
    split = BLEU(tokenize=tokenisation(language)).tokenizer
    samples = [sample for sample in samples if sample.language == language]
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
    languages = True

    def build(self, job: Job) -> Task:
        """A model of transformers and masked texts; nothing is scored on dev."""
        texts: Any = TextDataset(job.run.texts, job.run.processor)
        if job.run.recipe.languages:
            own = [sample.language for sample in job.run.train_samples]
            texts = LanguageDataset(texts, own, seed=job.seed)
        dataset = MaskingDataset(texts, job.masking, job.mask_id, seed=job.seed)
        return Task(build_text_model(job.plan, job.earlier), dataset)
