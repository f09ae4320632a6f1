"""What a stage trains on: clips, stored features, or texts to be restored.

Every item is a function of (seed, epoch, sample id) alone: the sampler hands out (epoch, index)
pairs, so that a resumed run, and any number of workers, sees what an uninterrupted one sees.
A clip that cannot be read is an `Unreadable`: it is left out, counted and listed, up to a limit.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler

from unglossed.corpora.compact import CompactSamples
from unglossed.corpora.faults import most_unreadable
from unglossed.corpora.parallel import num_cores
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.media.augment import AugmentationConfig, generator_for
from unglossed.media.signal import signal_of
from unglossed.models.context import pad_rows
from unglossed.models.language_model import IGNORED, shift_right
from unglossed.models.processing import TranslatorProcessor, pad_features, pad_labels

if TYPE_CHECKING:
    from unglossed.training.settings import MaskingSettings

SKIPPED_FILE = "skipped.jsonl"
_MOST_NAMED = 5  # clips that cannot be read and have a line each
_FEW_CLIPS = 64  # are read before another process has started
_MOST_WORKERS = 8


def choose_workers(asked: int | None, num_clips: int) -> int:
    """Processes that read clips.

    On a CPU a step of the model takes tens of times as long as reading its clips, so that one
    process is enough; a GPU gets as many as there are cores, minus the trainer's own.
    """
    if asked is not None:
        return asked
    if num_clips < _FEW_CLIPS:
        return 0
    return min(num_cores() - 1, _MOST_WORKERS if torch.cuda.is_available() else 1)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a clip that cannot be read; `reason` names its medium and the fault."""

    id: str
    split: str
    reason: str


def refuse(clip: Unreadable) -> None:
    """Raise an InputError about a clip: no clip may be left out."""
    raise InputError(f"{clip.reason} (clip {clip.id!r})")


class LeftOut:
    """Counts the clips that a run leaves out, at most `limit`, and lists them in a file `path`."""

    def __init__(self, num_clips: int, limit: int | None = None, path: Path | None = None) -> None:
        self.num_clips = num_clips
        self.limit = most_unreadable(num_clips) if limit is None else limit
        self.path = path
        self._found: dict[str, Unreadable] = {}

    @property
    def clips(self) -> list[Unreadable]:
        """The clips."""
        return [*self._found.values()]

    def add(self, clip: Unreadable) -> None:
        """Count a clip, if it is a new one.

        Raises:
            InputError: there are more than the limit.
        """
        if clip.id in self._found:
            return
        self._found[clip.id] = clip
        count = len(self._found)
        listed = f"; {self.path} lists them" if self.path else ""
        self._list(clip)
        if count > self.limit:
            raise InputError(
                f"{clip.reason} ({clip.split} clip {clip.id!r}): found {count:,} of"
                f" {self.num_clips:,} clips that cannot be read, expected at most {self.limit:,}"
                f" (--max-damaged){listed}, `unglossed corpus check --deep` finds all"
            )
        if count <= _MOST_NAMED:
            note(f"{clip.split} clip {clip.id!r} is left out: {clip.reason}")
        if count == _MOST_NAMED and self.limit > count:
            note(f"further clips that cannot be read are left out without a line each{listed}")

    def _list(self, clip: Unreadable) -> None:
        if self.path is not None:
            line = json.dumps(asdict(clip), ensure_ascii=False) + "\n"
            known = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
            if line not in known.splitlines(keepends=True):  # a resumed run finds them again
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)

    def __str__(self) -> str:
        return f"{len(self._found):,} of {self.num_clips:,} clips" if self._found else ""


EpochIndex = tuple[int, int]
Item = dict[str, Any] | Unreadable
"""A clip as it is trained on, or an `Unreadable`."""
UNREADABLE = "unreadable"
"""Key of a batch: its clips that cannot be read."""
Target = Callable[[Sample], list[int]]
"""Gives the labels of a clip."""


@dataclass(frozen=True)
class TextTarget:
    """A clip's labels are its text's token ids."""

    processor: TranslatorProcessor

    def __call__(self, sample: Sample) -> list[int]:
        """Token ids, closed by the end token."""
        return self.processor.encode_text(sample.text)


class EpochSampler(Sampler[EpochIndex]):
    """Every index once an epoch in an order drawn from (seed, epoch); yields (epoch, index)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next; the training loop calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[EpochIndex]:
        order = generator_for(self.seed, self.epoch, "order").permutation(self.size)
        return ((self.epoch, int(index)) for index in order)


class ClipDataset(Dataset[Item]):
    """Clips as video (thinned and augmented anew in each epoch) or as audio.

    Args:
        samples: The clips.
        processor: Turns frames into pixels.
        limit: Kept frames, or audio samples, beyond this many are cut off.
        target: Gives a clip's labels; by default its text's token ids.
        augmentation: Variation of the views in training.
        seed: Of the run.
        training: Random frames and views, or the fixed ones of the evaluation.
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
        self.samples: Sequence[Sample] = CompactSamples(samples)
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
    """Clips as stored features (time, dim), by view; epoch e reads view e modulo their number."""

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
    """Token ids of texts without clips; encoded one by one: those of a million fill memory."""

    def __init__(self, texts: Sequence[str], processor: TranslatorProcessor) -> None:
        self.texts = texts
        self.processor = processor

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        return {"labels": self.processor.encode_text(self.texts[item[1]])}


class AddingDataset(Dataset[Item], ABC):
    """Items of another dataset with something more, which may be drawn anew in each epoch."""

    def __init__(self, items: Dataset[Any], *, seed: int) -> None:
        self.items: Any = items
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: EpochIndex) -> Item:
        row = self.items[item]
        return row if isinstance(row, Unreadable) else {**row, **self.added(row, *item)}

    @abstractmethod
    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """What an item that can be read gets."""


class NearTextsDataset(AddingDataset):
    """Adds to each item texts that are nearly its own, drawn anew in each epoch.

    Args:
        items: the clips.
        texts: token ids of each clip's text.
        number: of texts for an item.
        seed: of what is drawn.
    """

    def __init__(
        self, items: Dataset[Any], texts: Sequence[Sequence[int]], number: int, *, seed: int
    ) -> None:
        super().__init__(items, seed=seed)
        self.texts = texts
        self.number = number
        self.near = nearest_texts(texts, 4 * number)

    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """`others`: token ids of texts."""
        generator = generator_for(self.seed, epoch, f"near texts {index}")
        chosen = generator.permutation(self.near[index])[: self.number]
        return {"others": [self.texts[number] for number in chosen]}


def nearest_texts(texts: Sequence[Sequence[int]], number: int) -> list[list[int]]:
    """For each text the positions of those that share most tokens with it, the nearest first.

    Equal texts count as one, and none is near to itself: there may be fewer than `number`. Near is
    the cosine of the sets of tokens; among equals the earlier one is nearer.
    """
    first = {tuple(text): row for row, text in reversed(list(enumerate(texts)))}
    different = sorted(first.values())
    found: dict[int, list[int]] = {}
    tokens = [torch.tensor(sorted(set(texts[row]))) for row in different]
    places = torch.arange(len(tokens)).repeat_interleave(torch.tensor([*map(len, tokens)]))
    ids = torch.unique(torch.cat(tokens), return_inverse=True)[1]  # those that occur, without gaps
    values = torch.cat([torch.full((len(one),), len(one) ** -0.5) for one in tokens]).double()
    sets = torch.sparse_coo_tensor(
        torch.stack([places, ids]), values, is_coalesced=True, check_invariants=True
    )
    earlier = 1e-12 * torch.arange(len(tokens))
    for start in range(0, len(tokens), _ROWS_AT_ONCE):
        some = sets.index_select(0, torch.arange(start, min(start + _ROWS_AT_ONCE, len(tokens))))
        near = torch.sparse.mm(sets, some.to_dense().T).T - earlier
        near[torch.arange(len(near)), torch.arange(start, start + len(near))] = -1.0
        order = near.topk(min(number, len(tokens) - 1), dim=1).indices.tolist()
        for place, columns in enumerate(order, start=start):
            found[different[place]] = [different[column] for column in columns]
    return [found[first[tuple(text)]] for text in texts]


class LanguageDataset(AddingDataset):
    """Adds to each item the language of its text, and another one, drawn anew in each epoch.

    Args:
        items: clips or texts.
        languages: of their texts.
        wrong: also add a wrong one of these.
        seed: of what is drawn.
    """

    def __init__(
        self, items: Dataset[Any], languages: Sequence[str], *, wrong: Sequence[str] = (), seed: int
    ) -> None:
        super().__init__(items, seed=seed)
        self.languages = languages
        self.wrong = wrong

    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """`language`, and `wrong_language` where wrong ones are wanted."""
        own = self.languages[index]
        if not self.wrong:
            return {"language": own}
        others = [code for code in self.wrong if code != own]
        drawn = generator_for(self.seed, epoch, f"wrong language {index}").integers(len(others))
        return {"language": own, "wrong_language": others[drawn]}


class MaskingDataset(AddingDataset):
    """Adds to each item its text with spans hidden behind a mask token, to be restored.

    The masking is mBART's (arXiv 2001.08210, section 2.2), drawn anew in each epoch.
    """

    def __init__(
        self, items: Dataset[Any], masking: MaskingSettings, mask_id: int, *, seed: int
    ) -> None:
        super().__init__(items, seed=seed)
        self.masking = masking
        self.mask_id = mask_id

    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """`input_ids`: the masked text."""
        generator = generator_for(self.seed, epoch, f"text {index}")
        return {"input_ids": mask_spans(row["labels"], self.masking, self.mask_id, generator)}


def mask_spans(
    labels: Sequence[int], masking: MaskingSettings, mask_id: int, generator: np.random.Generator
) -> list[int]:
    """Token ids with spans hidden, one mask token for each; the last one, the end token, stays."""
    words = np.array(labels[:-1])
    hidden = np.zeros(len(words), dtype=bool)
    while hidden.sum() < masking.share * len(words):
        span = max(1, int(generator.poisson(masking.mean_span)))
        start = int(generator.integers(len(words)))
        budget = max(1, round(masking.share * len(words)) - int(hidden.sum()))
        hidden[start : start + min(span, budget)] = True
    starts = hidden & ~np.r_[False, hidden[:-1]]
    visible = np.where(starts, mask_id, words)[~hidden | starts]
    return [*visible.tolist(), labels[-1]]


class Collator:
    """Stacks items into a batch: frames packed, features and token ids padded on the right.

    Clips that cannot be read are kept apart under `UNREADABLE`; a batch may hold nothing else.
    """

    def __init__(self, processor: TranslatorProcessor) -> None:
        self.pad_id = processor.tokenizer.pad_token_id
        self.start_id = processor.start_token_id
        self.start_ids = processor.start_ids()

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Stack items; what they hold decides what the batch holds."""
        unreadable = [item for item in items if isinstance(item, Unreadable)]
        rows = [item for item in items if not isinstance(item, Unreadable)]
        batch: dict[str, Any] = self._stack(rows) if rows else {}
        return {**batch, UNREADABLE: unreadable} if unreadable else batch

    def _stack(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        others = [text for row in rows for text in row.get("others", ())]
        texts = pad_labels([*(row["labels"] for row in rows), *others])
        longest = max(len(row["labels"]) for row in rows)
        batch: dict[str, Any] = {"labels": texts[: len(rows), :longest]}
        if "row" in rows[0]:
            batch["rows"] = [row["row"] for row in rows]
        if others:
            batch["texts"] = texts
        reads_clips = "frames" in rows[0] or "features" in rows[0]
        for key in ("language", "wrong_language"):
            if reads_clips and key in rows[0]:
                batch[f"{key}s"] = [row[key] for row in rows]
        if "draw" in rows[0]:
            batch["draws"] = torch.tensor([row["draw"] for row in rows])
        if "frames" in rows[0]:
            batch["frames"] = torch.cat([row["frames"] for row in rows])
            batch["lengths"] = torch.cat([row["lengths"] for row in rows])
        elif "features" in rows[0]:
            batch["features"], batch["mask"] = pad_features([row["features"] for row in rows])
        else:  # a language model alone, which does not shift its labels itself
            start: Any = [self.start_id]
            if "language" in rows[0]:
                start = torch.tensor([self.start_ids[row["language"]] for row in rows])
            batch["decoder_input_ids"] = shift_right(batch["labels"], start, self.pad_id)
        if "context" in rows[0]:
            batch["context"] = pad_rows([row["context"] for row in rows])
        if "input_ids" in rows[0]:
            ids = [torch.tensor(row["input_ids"]) for row in rows]
            batch["input_ids"] = pad_sequence(ids, batch_first=True, padding_value=self.pad_id)
            batch["attention_mask"] = (batch["input_ids"] != self.pad_id).long()
        return batch


_ROWS_AT_ONCE = 1024
"""Texts that are compared with all others at a time."""
_SOURCES = ("features", "mask", "input_ids", "attention_mask")
_TARGETS = ("labels", "decoder_input_ids")


def cut_batch(
    batch: dict[str, Any], budget: int, read: Callable[[int], int] = lambda source: source
) -> Iterator[dict[str, Any]]:
    """The rows of a batch, longest first, in parts that are padded to their own longest row.

    Every row is in one part; a batch within the budget stays as it is. Where the loss is a sum over
    rows, the sum over the parts is the batch's.

    Args:
        batch: `labels` (batch, tokens), and `features` (batch, time, dim) with their `mask`, or
            `input_ids` (batch, time) with their `attention_mask`; padded on the right. Perhaps
            lists, with an entry for each row, and `draws` (batch, 2).
        budget: Positions of a part, read and written together, padding included; a longer row is a
            part of its own.
        read: Positions that are read of a row with so many features: fewer where an adapter
            shortens them, more beside a prompt.
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


def _take(batch: dict[str, Any], rows: list[int], source: int, target: int) -> dict[str, Any]:
    """Some rows of a batch, cut to the given lengths."""
    lengths = dict.fromkeys(_SOURCES, source) | dict.fromkeys(_TARGETS, target)
    chosen = torch.tensor(rows, device=batch["labels"].device)
    return {
        name: [values[row] for row in rows]
        if isinstance(values, list)
        else values[chosen, : lengths.get(name)]
        for name, values in batch.items()
    }
