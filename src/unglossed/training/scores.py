"""Scores on the dev split, by which a stage's best checkpoint is chosen: one class an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.evaluation.metrics import score, word_error_rate
from unglossed.inference.decoding import DecodingSettings
from unglossed.inference.translator import translate_features
from unglossed.media.seeding import generator_for
from unglossed.models.processing import pad_features, pad_labels
from unglossed.models.recogniser import Recogniser, decode_greedily
from unglossed.models.translator import PartModel, Translator
from unglossed.models.vlp import VisualLanguageModel
from unglossed.training.damaged import Unreadable, refuse
from unglossed.training.data import ClipDataset, mask_spans
from unglossed.training.features import StoredFeatures, encode_clips
from unglossed.training.objectives import alignment_loss, gloss_loss, text_loss
from unglossed.training.settings import MaskingSettings

BATCH_SIZE = 32


class DevScores:
    """What all scores have in common: the dev split's features, in eval mode.

    Args:
        clips: the dev split.
        bfloat16: encode in bfloat16.
        features: in the place of the clips, where the encoder is frozen.
        leave_out: told of a clip that cannot be read, which is then not scored.
    """

    def __init__(
        self,
        clips: ClipDataset,
        *,
        bfloat16: bool,
        features: Sequence[Tensor] | StoredFeatures | None = None,
        leave_out: Callable[[Unreadable], None] = refuse,
    ) -> None:
        self.clips = clips
        self.bfloat16 = bfloat16
        self.features = features
        self.leave_out = leave_out
        self.samples: Sequence[Sample] = clips.samples
        """Those that are scored."""

    @property
    def texts(self) -> list[str]:
        """Of the samples that are scored."""
        return [sample.text for sample in self.samples]

    def __call__(self) -> dict[str, float | None]:
        """Score dev, and count the clips of it that could not be read, if there are any.

        Raises:
            InputError: no clip can be read, or one may not be left out.
        """
        scores = self.score()
        left_out = len(self.clips) - len(self.samples)
        return {**scores, "left_out": left_out} if left_out else scores

    def score(self) -> dict[str, float | None]:
        """Score the clips of dev that can be read."""
        raise NotImplementedError

    def encoded(self, model: PartModel) -> Sequence[Tensor]:
        """Features (time, dim) of each of `samples`; the model is in eval mode from here on."""
        model.eval()
        if self.features is not None and not isinstance(self.features, StoredFeatures):
            return self.features
        rows: Sequence[Tensor | Unreadable]
        if self.features is None:
            items = [(0, index) for index in range(len(self.clips))]
            rows = list(encode_clips(model.encoder, self.clips, items, bfloat16=self.bfloat16))
            readable = [n for n, row in enumerate(rows) if not isinstance(row, Unreadable)]
            for row in rows:
                if isinstance(row, Unreadable):
                    self.leave_out(row)
        else:
            rows, readable = self.features, self.features.readable()
        if not readable:
            raise InputError(f"dev: found no clip that can be read of {len(self.clips):,}")
        self.samples = [self.clips.samples[number] for number in readable]
        if isinstance(rows, StoredFeatures):
            return cast(Sequence[Tensor], rows.choose(readable))
        return [row.float() for row in rows if not isinstance(row, Unreadable)]

    def batches(
        self, features: Sequence[Tensor], device: torch.device
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Which clips, their features (batch, time, dim) and the mask, batch by batch."""
        for start in range(0, len(features), BATCH_SIZE):
            chosen = slice(start, start + BATCH_SIZE)
            batch, mask = pad_features(features[chosen])
            yield chosen, batch.to(device), mask.to(device)

    def labels(self, chosen: slice, device: torch.device) -> Tensor:
        """Token ids (batch, tokens) of some clips' texts."""
        encode = self.clips.processor.encode_text
        return pad_labels([encode(text) for text in self.texts[chosen]]).to(device)


class TranslationScores(DevScores):
    """Loss, BLEU and ROUGE-L of a translator's texts.

    Args:
        model: the translator.
        clips: the dev split.
        decoding: how texts are searched for.
        normalisation: name of what scoring does to the texts.
        bfloat16: see `DevScores`.
        rest: see `DevScores`.
    """

    def __init__(
        self,
        model: Translator,
        clips: ClipDataset,
        decoding: DecodingSettings,
        normalisation: str,
        *,
        bfloat16: bool,
        **rest: Any,
    ) -> None:
        super().__init__(clips, bfloat16=bfloat16, **rest)
        self.model = model
        self.decoding = decoding
        self.normalisation = normalisation

    def score(self) -> dict[str, float | None]:
        """Translate and score the whole dev split."""
        features = self.encoded(self.model)
        loss = self._loss(features)
        processor = self.clips.processor
        translations = translate_features(
            self.model, processor, features, self.decoding, batch_size=BATCH_SIZE
        )
        scores = score(
            [translation.text for translation in translations],
            [(sample.text, *sample.references) for sample in self.samples],
            processor.language,
            self.normalisation,
        )
        return {
            "loss": loss,
            "bleu4": scores.bleu4,
            "bleu1": scores.bleu1,
            "rouge_l": scores.rouge_l,
        }

    @torch.no_grad()
    def _loss(self, features: Sequence[Tensor]) -> float:
        """Mean cross-entropy of a token of the references, without smoothing."""
        total, num_tokens = 0.0, 0
        for chosen, batch, mask in self.batches(features, self.model.device):
            labels = self.labels(chosen, self.model.device)
            logits = self.model(features=batch, mask=mask, labels=labels).logits
            total += float(text_loss(logits, labels, num_tokens=1))
            num_tokens += int((labels >= 0).sum())
        return total / num_tokens


class GlossScores(DevScores):
    """Word error rate of what a recogniser reads off greedily: glosses, or words; and its loss.

    Args:
        model: the recogniser.
        clips: the dev split.
        references: gives a clip's glosses or words, separated by spaces.
        words: makes such of the recogniser's symbols.
        bfloat16: see `DevScores`.
        rest: see `DevScores`.
    """

    def __init__(
        self,
        model: Recogniser,
        clips: ClipDataset,
        *,
        references: Callable[[Sample], str],
        words: Callable[[str], str] = str,
        bfloat16: bool,
        **rest: Any,
    ) -> None:
        super().__init__(clips, bfloat16=bfloat16, **rest)
        self.model = model
        self.references = references
        self.words = words

    @torch.no_grad()
    def score(self) -> dict[str, float | None]:
        """Recognise and score the whole dev split; glosses that train has not count as errors."""
        found: list[str] = []
        total, num_symbols = 0.0, 0
        device = self.model.device
        for chosen, batch, mask in self.batches(self.encoded(self.model), device):
            logits = self.model(features=batch, mask=mask).logits
            found += decode_greedily(logits, mask, self.model.config.symbols)
            rows = [self.clips.target(sample) for sample in self.samples[chosen]]
            if any(rows):
                labels = pad_labels(rows).to(device)
                total += float(gloss_loss(logits, mask, labels, num_glosses=1))
                num_symbols += sum(map(len, rows))
        words = [self.words(symbols) for symbols in found]
        return {
            "word_error_rate": word_error_rate(words, list(map(self.references, self.samples))),
            "loss": total / max(num_symbols, 1),
        }


class AlignmentScores(DevScores):
    """How well clips and sentences are aligned, and masked sentences restored.

    Args:
        model: of visual-language pre-training.
        clips: the dev split.
        masking: of the sentences; the same ones are hidden every time.
        mask_id: the mask token.
        bfloat16: see `DevScores`.
        rest: see `DevScores`.
    """

    def __init__(
        self,
        model: VisualLanguageModel,
        clips: ClipDataset,
        masking: MaskingSettings,
        mask_id: int,
        *,
        bfloat16: bool,
        **rest: Any,
    ) -> None:
        super().__init__(clips, bfloat16=bfloat16, **rest)
        self.model = model
        self.masking = masking
        self.mask_id = mask_id

    @torch.no_grad()
    def score(self) -> dict[str, float | None]:
        """Compare every clip of dev with every sentence of it.

        Returns:
            `loss`, of the alignment over the whole split; `retrieval`, the percentage of clips to
            which their own sentence is the most similar; `restoration_loss`, a token's.
        """
        clips, texts = [], []
        total, num_tokens = 0.0, 0
        device = self.model.device
        for chosen, batch, mask in self.batches(self.encoded(self.model), device):
            labels = self.labels(chosen, device)
            clips.append(self.model.embed_clips(batch, mask))
            texts.append(self.model.embed_texts(labels))
            total += float(text_loss(self._restore(labels), labels, num_tokens=1))
            num_tokens += int((labels >= 0).sum())
        similarities = self.model.alignment(torch.cat(clips), torch.cat(texts))
        pairs = torch.arange(len(similarities), device=device)
        return {
            "loss": float(alignment_loss(similarities)),
            "retrieval": 100 * float((similarities.argmax(1) == pairs).float().mean()),
            "restoration_loss": total / num_tokens,
        }

    def _restore(self, labels: Tensor) -> Tensor:
        rows = []
        for number, row in enumerate(labels):
            generator = generator_for(0, 0, f"text {number}")
            ids = mask_spans(row[row >= 0].tolist(), self.masking, self.mask_id, generator)
            rows.append(torch.tensor(ids, device=labels.device))
        pad_id = self.clips.processor.tokenizer.pad_token_id
        masked = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
        return self.model.restore(masked, masked != pad_id, labels)
