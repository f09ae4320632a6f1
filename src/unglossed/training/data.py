"""What a stage trains on: clips, stored features, or texts to be restored.

Every item is a function of (seed, epoch, sample id) alone: the sampler hands out (epoch, index)
pairs, so that a resumed run, and any number of workers, sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unglossed.corpora.sample import Sample
from unglossed.media.augment import AugmentationConfig
from unglossed.media.clip import signal_of
from unglossed.media.seeding import generator_for
from unglossed.models.language_model import shift_right
from unglossed.models.processing import TranslatorProcessor, pad_features, pad_labels

EpochIndex = tuple[int, int]


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


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips as pictures (thinned and augmented anew in each epoch) or as sound.

    Args:
        samples: the clips.
        processor: how frames become pixels and texts labels.
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
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        training: bool = False,
    ) -> None:
        self.samples = samples
        self.processor = processor
        self.limit = limit
        self.signal = signal_of(processor)
        self.augmentation = augmentation
        self.seed = seed
        self.training = training

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        epoch, index = item
        sample = self.samples[index]
        generator = generator_for(self.seed, epoch, sample.id) if self.training else None
        views = self.processor(
            [self.signal.read(sample, generator, limit=self.limit, cut=True)],
            augmentation=self.augmentation if self.training else None,
            generators=[generator] if generator is not None else None,
        )
        return {**views, "labels": self.processor.encode_text(sample.text)}


class FeatureDataset(Dataset[dict[str, Any]]):
    """Clips as stored features of a frozen encoder; epoch e reads view e modulo their number.

    Args:
        views: for each view the features (time, dim) of each sample.
        samples: the clips, in the same order.
        processor: how texts become labels.
    """

    def __init__(
        self,
        views: Sequence[Sequence[Tensor]],
        samples: Sequence[Sample],
        processor: TranslatorProcessor,
    ) -> None:
        self.views = views
        self.labels = [processor.encode_text(sample.text) for sample in samples]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        epoch, index = item
        view = self.views[epoch % len(self.views)]
        return {"features": view[index], "labels": self.labels[index]}


class DenoisingDataset(Dataset[dict[str, Any]]):
    """Texts with spans hidden behind a mask token, to be restored (mBART, arXiv 2001.08210, 2.2).

    Args:
        texts: the sentences.
        processor: its tokenizer.
        seed: of the run.
    """

    masked_share = 0.35
    mean_span = 3.5

    def __init__(self, texts: Sequence[str], processor: TranslatorProcessor, *, seed: int) -> None:
        self.labels = [processor.encode_text(text) for text in texts]
        self.mask_id = processor.tokenizer.mask_token_id
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        epoch, index = item
        words = np.array(self.labels[index][:-1])
        hidden = self._hidden(len(words), generator_for(self.seed, epoch, f"text {index}"))
        starts = hidden & ~np.r_[False, hidden[:-1]]  # each hidden span leaves one mask token
        visible = np.where(starts, self.mask_id, words)[~hidden | starts]
        labels = self.labels[index]
        return {"input_ids": [*visible.tolist(), labels[-1]], "labels": labels}

    def _hidden(self, size: int, generator: np.random.Generator) -> NDArray[np.bool_]:
        hidden = np.zeros(size, dtype=bool)
        while hidden.sum() < self.masked_share * size:
            span = max(1, int(generator.poisson(self.mean_span)))
            start = int(generator.integers(size))
            budget = max(1, round(self.masked_share * size) - int(hidden.sum()))
            hidden[start : start + min(span, budget)] = True
        return hidden


class Collator:
    """Stacks items into a batch: frames packed, features and token ids padded on the right.

    Args:
        processor: knows the padding and the start token.
    """

    def __init__(self, processor: TranslatorProcessor) -> None:
        self.pad_id = processor.tokenizer.pad_token_id
        self.start_id = processor.start_token_id

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack items; what they hold decides what the batch holds."""
        batch = {"labels": pad_labels([item["labels"] for item in items])}
        if "frames" in items[0]:
            batch["frames"] = torch.cat([item["frames"] for item in items])
            batch["lengths"] = torch.cat([item["lengths"] for item in items])
        elif "features" in items[0]:
            batch["features"], batch["mask"] = pad_features([item["features"] for item in items])
        else:
            rows = [torch.tensor(item["input_ids"]) for item in items]
            batch["input_ids"] = torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True, padding_value=self.pad_id
            )
            batch["attention_mask"] = (batch["input_ids"] != self.pad_id).long()
            batch["decoder_input_ids"] = shift_right(batch["labels"], [self.start_id], self.pad_id)
        return batch
