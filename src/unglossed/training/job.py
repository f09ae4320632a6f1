"""A stage that is about to be trained, as its objective gets it: clips, features, scores on dev."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from rich.progress import Progress
from torch import Tensor

from unglossed.corpora.check_media import check_clips
from unglossed.corpora.check_times import Limits
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.inference.context import Texts, find_rows
from unglossed.inference.limits import signal_limit
from unglossed.models.processing import pad_features, pad_labels
from unglossed.models.translator import PartModel, Translator
from unglossed.ranks import here
from unglossed.training.data import (
    ClipDataset,
    FeatureDataset,
    Target,
    Unreadable,
    choose_workers,
    refuse,
)
from unglossed.training.encoding import encode_clips, fast_form
from unglossed.training.features import StoredFeatures, use_bfloat16
from unglossed.training.settings import MaskingSettings, StageSettings
from unglossed.training.shards import Share

if TYPE_CHECKING:
    from unglossed.training.plan import StagePlan
    from unglossed.training.run import Run

BATCH_SIZE = 32
"""Clips of dev that are scored together."""
Scores = dict[str, float | None]
V = TypeVar("V")


@dataclass(frozen=True)
class Job:
    """A stage of a run that is about to be trained.

    Attributes:
        run: The run.
        stage: The stage's settings.
        seed: Of everything that is drawn in the stage.
        earlier: Model folders of the stages before, by name.
        progress: The run's display.
        beside: Texts beside the features of the clips of train, by their ids.
    """

    run: Run
    stage: StageSettings
    seed: int
    earlier: Mapping[str, Path]
    progress: Progress
    beside: Mapping[str, Texts] = field(default_factory=dict)

    @property
    def plan(self) -> StagePlan:
        """The stage's plan."""
        return self.run.plans[self.stage.name]

    @property
    def masking(self) -> MaskingSettings:
        """How sentences are masked."""
        return self.stage.masking or MaskingSettings()

    @property
    def mask_id(self) -> int:
        """The mask token."""
        return int(self.run.processor.tokenizer.mask_token_id)

    def clips(
        self,
        model: PartModel,
        samples: Sequence[Sample],
        *,
        training: bool,
        target: Target | None = None,
    ) -> ClipDataset:
        """Clips of a split, cut to the positions that the model has; a note says so.

        Labels are the token ids of the texts unless `target` gives others.

        Raises:
            InputError: prompt and text leave no positions for a clip.
        """
        clips = self.run.clips(samples, training=training, target=target)
        if not isinstance(model, Translator):
            return clips
        limit = model.encoder.input_limit(signal_limit(model, self.run.processor.max_tokens))
        if limit is None or limit >= clips.limit:
            return clips
        where = f"stages.{self.stage.name}"
        if limit < 1:
            raise InputError(f"{where}: prompt and text leave the clips no positions to be read")
        seconds = limit / clips.signal.units_per_second
        faults = Faults(max_examples=1)
        needs, limits = self.run.recipe.needs, Limits(max_seconds=seconds)
        check_clips("", samples, faults, limits=limits, needs=needs)
        if longer := faults.count(FaultKind.TOO_LONG):
            note(
                f"{where}: {longer:,} clips truncated at {seconds:.1f} seconds: the model has no"
                " positions for more"
            )
        clips.limit = limit
        return clips

    def items(self, model: PartModel, clips: ClipDataset) -> tuple[Any, int]:
        """Train clips, or their stored features where the stage wants these; and the workers."""
        if not self.stage.feature_views:
            return clips, choose_workers(self.run.recipe.num_workers, len(clips))
        return FeatureDataset(self._stored(model, clips), clips.samples, clips.target), 0

    def dev(
        self,
        model: PartModel,
        target: Target | None = None,
        samples: Sequence[Sample] | None = None,
    ) -> DevSplit:
        """The dev clips, or others, or their stored features where the stage wants these."""
        chosen = self.run.dev_samples if samples is None else samples
        clips = self.clips(model, chosen, training=False, target=target)
        features = self._stored(model, clips)[0] if self.stage.feature_views else None
        bfloat16, leave_out = use_bfloat16(self.stage.precision), self.run.left_out.add
        return DevSplit(model, clips, bfloat16=bfloat16, features=features, leave_out=leave_out)

    def _stored(self, model: PartModel, clips: ClipDataset) -> list[StoredFeatures]:
        encoder, config = model.encoder, model.config.encoder
        ranks = here()
        return self.run.features(
            *(self.stage, encoder, config, clips, self.progress),
            share=Share(ranks.index, ranks.count),
            wait=ranks.wait,
        )


@dataclass
class DevSplit:
    """The dev split as a model sees it, which an objective scores.

    Attributes:
        model: In eval mode once it is scored.
        clips: The clips.
        bfloat16: Encode in bfloat16.
        features: Of the clips, where the encoder is frozen; None: they are encoded each time.
        leave_out: Called with each clip that cannot be read, which is then not scored.
        samples: The clips that are scored.
    """

    model: Any
    clips: ClipDataset
    _: KW_ONLY
    bfloat16: bool
    features: Sequence[Tensor] | StoredFeatures | None = None
    leave_out: Callable[[Unreadable], None] = refuse
    samples: Sequence[Sample] = ()
    _beside: list[Tensor] | None = None

    def scored(self, score: Callable[..., Scores], **settings: Any) -> Callable[[], Scores]:
        """What gives the scores each time it is called: those of `score(self, **settings)`.

        Clips of dev that could not be read, if there are any, are counted as `left_out`.
        """

        def scores() -> Scores:
            with torch.no_grad():
                found = score(self, **settings)
            left_out = len(self.clips) - len(self.samples)
            return {**found, "left_out": left_out} if left_out else found

        return scores

    def encoded(self) -> Sequence[Tensor]:
        """Features (time, dim) of each of `samples`; the model is in eval mode from here on.

        Raises:
            InputError: no clip can be read, or one may not be left out.
        """
        self.model.eval()
        self.samples = self.clips.samples
        found = self.features
        if found is not None and not isinstance(found, StoredFeatures):
            return found
        rows: Sequence[Tensor | Unreadable]
        if found is None:
            items = here().share([(0, index) for index in range(len(self.clips))])
            form = fast_form(self.model.encoder, self.clips, (0, 0), bfloat16=self.bfloat16)
            own = list(encode_clips(form, self.clips, items, bfloat16=self.bfloat16))
            rows = [*chain.from_iterable(here().all(own))]
            unreadable = [row for row in rows if isinstance(row, Unreadable)]
            here().first(lambda: [*map(self.leave_out, unreadable)])
            readable = [n for n, row in enumerate(rows) if not isinstance(row, Unreadable)]
        else:
            readable = found.readable()
        if not readable:
            raise InputError(f"dev: found no clip that can be read of {len(self.clips):,}")
        self.samples = [self.clips.samples[number] for number in readable]
        if found is not None:
            return cast(Sequence[Tensor], found.choose(readable))
        return [row.float() for row in rows if not isinstance(row, Unreadable)]

    def beside(self, features: Sequence[Tensor]) -> list[Tensor] | None:
        """Rows of the texts beside the features of each of `samples`, found once; None: none is.

        What finds them is frozen, as the encoder is.
        """
        if self.model.context is None:
            return None
        if self._beside is None or len(self._beside) != len(features):
            self._beside = find_rows(self.model, self.clips.processor, features)
        return self._beside

    def spread(
        self, features: Sequence[Tensor], work: Callable[[Sequence[int]], Sequence[V]]
    ) -> list[V]:
        """What a function gives for clips by their numbers, a result a clip.

        Processes that train together share the work by whole batches of clips of similar length,
        so that each clip is beside the same others as on one process.
        """
        ranks = here()
        if ranks.count == 1:
            return [*work(range(len(features)))]
        order = sorted(range(len(features)), key=lambda number: -len(features[number]))
        starts = range(0, len(order), BATCH_SIZE)[ranks.index :: ranks.count]
        own: dict[int, V] = {}
        for start in starts:
            numbers = order[start : start + BATCH_SIZE]
            own |= zip(numbers, work(numbers), strict=True)
        found = {number: one for part in ranks.all(own) for number, one in part.items()}
        return [found[number] for number in range(len(features))]

    def batches(self, features: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Which clips, their features (batch, time, dim) and the mask, batch by batch."""
        device = self.model.device
        for start in range(0, len(features), BATCH_SIZE):
            chosen = slice(start, start + BATCH_SIZE)
            batch, mask = pad_features(features[chosen])
            yield chosen, batch.to(device), mask.to(device)

    def labels(self, chosen: slice) -> Tensor:
        """Token ids (batch, tokens) of some clips' texts."""
        encode = self.clips.processor.encode_text
        rows = [encode(sample.text) for sample in self.samples[chosen]]
        return pad_labels(rows).to(self.model.device)
