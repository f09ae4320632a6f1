"""What a stage trains on: clips, stored features, or texts to be restored.

Every item is a function of (seed, epoch, sample id) alone: the sampler hands out (epoch, index)
pairs, so that a resumed run, and any number of workers, sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unglossed.corpora.parallel import num_cores
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.augment import AugmentationConfig
from unglossed.media.seeding import generator_for
from unglossed.media.signal import signal_of
from unglossed.models.language_model import IGNORED, shift_right
from unglossed.models.processing import TranslatorProcessor, pad_features, pad_labels
from unglossed.models.recogniser import as_letters, symbol_ids
from unglossed.training.damaged import Unreadable
from unglossed.training.settings import MaskingSettings

# Fewer clips are read before another process has started.
_FEW_CLIPS = 64
_MOST_WORKERS = 8


def choose_workers(asked: int | None, num_clips: int) -> int:
    """Processes that read clips.

    On a processor a step of the model takes tens of times as long as reading its clips, so that one
    process is enough; a GPU is fed by as many as there are cores, but for the trainer's own.

    Args:
        asked: What the recipe says; None leaves it to the machine.
        num_clips: Clips of an epoch.
    """
    if asked is not None:
        return asked
    if num_clips < _FEW_CLIPS:
        return 0
    return min(num_cores() - 1, _MOST_WORKERS if torch.cuda.is_available() else 1)


_SOURCES = ("features", "mask", "input_ids", "attention_mask")
_TARGETS = ("labels", "decoder_input_ids")


def cut_batch(
    batch: dict[str, Tensor], budget: int, read: Callable[[int], int] = lambda source: source
) -> Iterator[dict[str, Tensor]]:
    """The rows of a batch, longest first, in parts that are padded to their own longest row.

    Every row is in one part; a batch within the budget stays as it is. Where the loss is a sum over
    rows, the sum over the parts is the batch's.

    Args:
        batch: `labels` (batch, tokens), and `features` (batch, time, dim) with their `mask`, or
            `input_ids` (batch, time) with their `attention_mask`; padded on the right.
        budget: Positions of a part, what is read and what is written together, padding counted; a
            row with more is a part of its own.
        read: Positions that are read of a row with so many features: fewer where an adapter
            shortens them, more where a prompt stands beside them.
    """
    mask = batch["mask"] if "mask" in batch else batch["attention_mask"]
    sources = mask.sum(1).tolist()
    targets = (batch["labels"] != IGNORED).sum(1).tolist()
    if len(sources) * (read(max(sources)) + max(targets)) <= budget:
        yield batch
        return
    rows = sorted(range(len(sources)), key=lambda row: (-sources[row], -targets[row], row))
    part: list[int] = []
    longest = 0
    for row in rows:
        wanted = max(longest, targets[row])
        if part and (len(part) + 1) * (read(sources[part[0]]) + wanted) > budget:
            yield _take(batch, part, sources[part[0]], longest)
            part, wanted = [], targets[row]
        part.append(row)
        longest = wanted
    yield _take(batch, part, sources[part[0]], longest)


def _take(batch: dict[str, Tensor], rows: list[int], source: int, target: int) -> dict[str, Tensor]:
    """Some rows of a batch, cut to the given lengths."""
    lengths = dict.fromkeys(_SOURCES, source) | dict.fromkeys(_TARGETS, target)
    device = batch["labels"].device
    chosen = torch.tensor(rows, device=device)
    return {name: values[chosen, : lengths[name]] for name, values in batch.items()}


EpochIndex = tuple[int, int]
Item = dict[str, Any] | Unreadable
"""A clip as it is trained on, or what tells that it cannot be read."""
UNREADABLE = "unreadable"
"""Of a batch: its clips that cannot be read, which are in no other way in it."""
Target = Callable[[Sample], list[int]]
"""Gives the labels of a clip."""


@dataclass(frozen=True)
class TextTarget:
    """A clip's labels are its text's token ids."""

    processor: TranslatorProcessor

    def __call__(self, sample: Sample) -> list[int]:
        """Token ids, closed by the end token."""
        return self.processor.encode_text(sample.text)


def glosses_of(sample: Sample) -> str:
    """A clip's glosses, separated by spaces."""
    return sample.gloss or ""


def letters_of(sample: Sample) -> str:
    """The letters of a clip's transcript, separated by spaces."""
    return as_letters(sample.transcript or "")


@dataclass(frozen=True)
class GlossTarget:
    """A clip's labels are the numbers of its glosses, or of other symbols.

    Attributes:
        glosses: The vocabulary.
        symbols: Gives a clip's symbols, separated by spaces.
    """

    glosses: Sequence[str]
    symbols: Callable[[Sample], str] = glosses_of

    def __call__(self, sample: Sample) -> list[int]:
        """Numbers from 1 of the glosses that the vocabulary has."""
        return symbol_ids(self.symbols(sample), self.glosses)


class EpochSampler(Sampler[EpochIndex]):
    """Every index once an epoch in an order drawn from (seed, epoch); yields (epoch, index)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the training loop does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[EpochIndex]:
        order = generator_for(self.seed, self.epoch, "order").permutation(self.size)
        return ((self.epoch, int(index)) for index in order)


class ClipDataset(Dataset[Item]):
    """Clips as pictures (thinned and augmented anew in each epoch) or as sound.

    A clip that cannot be read is an `Unreadable`.

    Args:
        samples: the clips.
        processor: how frames become pixels.
        target: gives a clip's labels; its text's token ids when not given.
        limit: kept frames, or samples of sound, beyond this many are cut off.
        augmentation: variation of the views; with `training` False nothing is left to chance.
        seed: of the run.
        training: random frames and views, or those of the evaluation.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        processor: TranslatorProcessor,
        *,
        limit: int,
        target: Target | None = None,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        training: bool = False,
    ) -> None:
        self.samples = samples
        self.processor = processor
        self.limit = limit
        self.target = target or TextTarget(processor)
        self.signal = signal_of(processor)
        self.augmentation = augmentation
        self.seed = seed
        self.training = training

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: EpochIndex) -> Item:
        epoch, index = item
        sample = self.samples[index]
        generator = generator_for(self.seed, epoch, sample.id) if self.training else None
        try:
            read = self.signal.read(sample, generator, limit=self.limit, cut=True)
        except InputError as error:
            return Unreadable(sample.id, sample.split, str(error))
        except OSError as error:
            reason = f"{error.filename or sample.media}: cannot be read: {error.strerror}"
            return Unreadable(sample.id, sample.split, reason)
        views = self.processor(
            [read],
            augmentation=self.augmentation if self.training else None,
            generators=[generator] if generator is not None else None,
        )
        return {**views, "labels": self.target(sample)}


class FeatureDataset(Dataset[Item]):
    """Clips as stored features of a frozen encoder; epoch e reads view e modulo their number.

    Args:
        views: for each view the features (time, dim) of each sample.
        samples: the clips, in the same order.
        target: gives a clip's labels.
    """

    def __init__(
        self,
        views: Sequence[Sequence[Tensor | Unreadable]],
        samples: Sequence[Sample],
        target: Target,
    ) -> None:
        self.views = views
        self.labels = [target(sample) for sample in samples]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: EpochIndex) -> Item:
        epoch, index = item
        features = self.views[epoch % len(self.views)][index]
        if isinstance(features, Unreadable):
            return features
        return {"features": features, "labels": self.labels[index]}


class TextDataset(Dataset[dict[str, Any]]):
    """Texts without clips: token ids.

    Args:
        texts: the sentences.
        processor: its tokenizer.
    """

    def __init__(self, texts: Sequence[str], processor: TranslatorProcessor) -> None:
        self.labels = processor.encode_texts(texts)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        return {"labels": self.labels[item[1]]}


class MaskingDataset(Dataset[Item]):
    """Adds to each item its text with spans hidden behind a mask token, to be restored.

    The masking is mBART's (arXiv 2001.08210, section 2.2), drawn anew in each epoch.

    Args:
        items: a dataset whose `labels` are token ids with an end token.
        masking: how much is hidden.
        mask_id: the mask token.
        seed: of the run.
    """

    def __init__(
        self, items: Dataset[Any], masking: MaskingSettings, mask_id: int, *, seed: int
    ) -> None:
        self.items: Any = items
        self.masking = masking
        self.mask_id = mask_id
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: EpochIndex) -> Item:
        epoch, index = item
        row = self.items[item]
        if isinstance(row, Unreadable):
            return row
        generator = generator_for(self.seed, epoch, f"text {index}")
        return {
            **row,
            "input_ids": mask_spans(row["labels"], self.masking, self.mask_id, generator),
        }


def mask_spans(
    labels: Sequence[int], masking: MaskingSettings, mask_id: int, generator: np.random.Generator
) -> list[int]:
    """Token ids with spans hidden, one mask token for each; the end token stays.

    Args:
        labels: token ids, closed by the end token.
        masking: share of the tokens to hide, and mean length of a span.
        mask_id: the mask token.
        generator: source of chance.
    """
    words = np.array(labels[:-1])
    hidden = _hidden(len(words), masking, generator)
    starts = hidden & ~np.r_[False, hidden[:-1]]
    visible = np.where(starts, mask_id, words)[~hidden | starts]
    return [*visible.tolist(), labels[-1]]


def _hidden(
    size: int, masking: MaskingSettings, generator: np.random.Generator
) -> NDArray[np.bool_]:
    hidden = np.zeros(size, dtype=bool)
    while hidden.sum() < masking.share * size:
        span = max(1, int(generator.poisson(masking.mean_span)))
        start = int(generator.integers(size))
        budget = max(1, round(masking.share * size) - int(hidden.sum()))
        hidden[start : start + min(span, budget)] = True
    return hidden


class Collator:
    """Stacks items into a batch: frames packed, features and token ids padded on the right.

    Clips that cannot be read stand apart, under `UNREADABLE`; there may be nothing else.

    Args:
        processor: knows the padding and the start token.
    """

    def __init__(self, processor: TranslatorProcessor) -> None:
        self.pad_id = processor.tokenizer.pad_token_id
        self.start_id = processor.start_token_id

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Stack items; what they hold decides what the batch holds."""
        unreadable = [item for item in items if isinstance(item, Unreadable)]
        rows = [item for item in items if not isinstance(item, Unreadable)]
        batch: dict[str, Any] = self._stack(rows) if rows else {}
        return {**batch, UNREADABLE: unreadable} if unreadable else batch

    def _stack(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        batch = {"labels": pad_labels([item["labels"] for item in items])}
        if "frames" in items[0]:
            batch["frames"] = torch.cat([item["frames"] for item in items])
            batch["lengths"] = torch.cat([item["lengths"] for item in items])
        elif "features" in items[0]:
            batch["features"], batch["mask"] = pad_features([item["features"] for item in items])
        else:  # a language model alone, which does not shift its labels itself
            batch["decoder_input_ids"] = shift_right(batch["labels"], [self.start_id], self.pad_id)
        if "input_ids" in items[0]:
            rows = [torch.tensor(item["input_ids"]) for item in items]
            batch["input_ids"] = torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True, padding_value=self.pad_id
            )
            batch["attention_mask"] = (batch["input_ids"] != self.pad_id).long()
        return batch
