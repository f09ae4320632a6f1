"""Recognition: an encoder learns glosses or the letters of transcripts by CTC.

It prepares an encoder: of videos by their glosses, of speech by what is said.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.evaluation.metrics import word_error_rate
from unglossed.media.signal import kept_indices
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import pad_labels
from unglossed.models.recogniser import (
    BLANK,
    as_letters,
    decode_greedily,
    frames_needed,
    from_letters,
    symbol_ids,
)
from unglossed.training.build import build_recogniser
from unglossed.training.data import ClipDataset
from unglossed.training.job import DevSplit, Job, Scores
from unglossed.training.objectives import Objective, Task

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings


def gloss_loss(
    logits: Tensor, mask: Tensor, labels: Tensor, *, num_glosses: Count = None
) -> Tensor:
    """Connectionist temporal classification, - log p(symbols | clip), mean over the symbols.

    A clip with fewer positions than its symbols need adds 0 instead of infinity.

    Args:
        logits: (batch, time, 1 + symbols), the blank first.
        mask: (batch, time) bool, True where real.
        labels: (batch, symbols), `IGNORED` where padded.
        num_glosses: What the sum is divided by, see `text_loss`.
    """
    real = labels != IGNORED
    total = torch.nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        labels.masked_fill(~real, BLANK),
        mask.sum(1),
        real.sum(1),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / (real.sum() if num_glosses is None else num_glosses)


@dataclass(frozen=True)
class GlossTarget:
    """A clip's labels are the numbers of its glosses, or of other symbols.

    Attributes:
        glosses: The vocabulary.
        symbols: Gives a clip's symbols, separated by spaces.
    """

    glosses: Sequence[str]
    symbols: Callable[[Sample], str]

    def __call__(self, sample: Sample) -> list[int]:
        """Numbers from 1 of the symbols that are in the vocabulary."""
        return symbol_ids(self.symbols(sample), self.glosses)


class Recognition(Objective):
    """What gloss and letter recognition have in common."""

    parts = ("encoder",)
    adds = ("ctc_head",)
    smooths = False
    best = "word_error_rate"
    lowest = True
    needed: ClassVar[str]
    """What a clip can have too few of."""

    @staticmethod
    @abstractmethod
    def symbols(sample: Sample) -> str:
        """A clip's symbols, separated by spaces."""

    @staticmethod
    def words(symbols: str) -> str:
        """The words of symbols, which are scored."""
        return symbols

    @abstractmethod
    def positions(self, sample: Sample, clips: ClipDataset, model: Any) -> int | None:
        """Positions of a clip that CTC can write in; None: not known without opening it."""

    def build(self, job: Job) -> Task:
        """A recogniser of the symbols of train, its clips, the word error rate on dev."""
        target = GlossTarget(job.run.vocabulary(self.symbols), self.symbols)
        model = build_recogniser(job.plan, job.earlier, target.glosses)
        clips = job.clips(model, job.run.train_samples, training=True, target=target)
        self._note_too_short(clips, model)
        dataset, num_workers = job.items(model, clips)
        return Task(model, dataset, job.dev(model, target).scored(self.score), num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """See `gloss_loss`."""
        return gloss_loss(outputs.logits, outputs.mask, batch["labels"], num_glosses=count)

    def score(self, dev: DevSplit) -> Scores:
        """Word error rate of what is decoded greedily; glosses that train lacks are errors."""
        found: list[str] = []
        total, num_symbols = 0.0, 0
        for chosen, batch, mask in dev.batches(dev.encoded()):
            logits = dev.model(features=batch, mask=mask).logits
            found += decode_greedily(logits, mask, dev.model.config.symbols)
            rows = [dev.clips.target(sample) for sample in dev.samples[chosen]]
            if any(rows):
                labels = pad_labels(rows).to(dev.model.device)
                total += float(gloss_loss(logits, mask, labels, num_glosses=1))
                num_symbols += sum(map(len, rows))
        hypotheses = [self.words(symbols) for symbols in found]
        references = [self.words(self.symbols(sample)) for sample in dev.samples]
        return {
            "word_error_rate": word_error_rate(hypotheses, references),
            "loss": total / max(num_symbols, 1),
        }

    def _note_too_short(self, clips: ClipDataset, model: Any) -> None:
        short = []
        for sample in clips.samples:
            try:
                count = self.positions(sample, clips, model)
            except InputError:  # a clip that cannot be read is reported when it is trained on
                continue
            if count is not None and count < frames_needed(clips.target(sample)):
                short.append(sample.id)
        if short:
            note(
                f"{len(short)} of {len(clips)} train clips have fewer {self.needed} (first:"
                f" {short[0]}); they add nothing to the loss"
            )


class GlossCtc(Recognition):
    """Glosses of videos."""

    signals = ("video",)
    learns = "gloss"
    needed = "kept frames than their glosses need"

    @staticmethod
    def symbols(sample: Sample) -> str:
        """Glosses."""
        return sample.gloss or ""

    def positions(self, sample: Sample, clips: ClipDataset, model: Any) -> int:
        """What the encoder makes of the kept frames."""
        count = min(len(kept_indices(sample, clips.processor.frame_share)), clips.limit)
        return int(model.encoder.output_lengths(torch.tensor([count]))[0])


class TranscriptCtc(Recognition):
    """Letters of what is said."""

    signals = ("audio",)
    learns = "transcript"
    needed = "positions than their letters need"
    words = staticmethod(from_letters)

    @staticmethod
    def symbols(sample: Sample) -> str:
        """Letters, and | between words."""
        return as_letters(sample.transcript or "")

    def positions(self, sample: Sample, clips: ClipDataset, model: Any) -> int | None:
        """What the encoder gives for a clip whose times are known."""
        if sample.end_seconds is None:
            return None
        seconds = sample.end_seconds - (sample.start_seconds or 0.0)
        units = min(round(seconds * clips.signal.units_per_second), clips.limit)
        return int(model.encoder.output_lengths(torch.tensor([units]))[0])
