"""What a stage trains, on what, and how it is scored: one function an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from unglossed.corpora.check_media import Limits, check_clips
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.inference.search import signal_limit
from unglossed.media.signal import kept_indices
from unglossed.models.recogniser import frames_needed, from_letters
from unglossed.models.translator import PartModel, Translator
from unglossed.models.vlp import VisualLanguageModel
from unglossed.training.build import (
    build_recogniser,
    build_text_model,
    build_translator,
)
from unglossed.training.data import (
    ClipDataset,
    FeatureDataset,
    GlossTarget,
    MaskingDataset,
    Target,
    TextDataset,
    choose_workers,
    glosses_of,
    letters_of,
)
from unglossed.training.features import StoredFeatures
from unglossed.training.plan import StagePlan
from unglossed.training.run import Run
from unglossed.training.scores import AlignmentScores, GlossScores, TranslationScores
from unglossed.training.settings import MaskingSettings, StageSettings
from unglossed.training.trainer import use_bfloat16


@dataclass(frozen=True)
class Task:
    """A stage's model, what it is trained on, and its scores on dev if it has any.

    Attributes:
        model: In training mode or not, as it was built.
        dataset: Items are asked for by (epoch, index).
        scores: See `scores.py`.
        num_workers: Processes that read the items.
    """

    model: Any
    dataset: Any
    scores: Callable[[], Mapping[str, float | None]] | None = None
    num_workers: int = 0


@dataclass(frozen=True)
class Job:
    """A stage of a run that is about to be trained.

    Attributes:
        run: The run.
        stage: The stage's settings.
        seed: Of all chance in the stage.
        earlier: Model folders of the stages before, by name.
        progress: The run's display.
    """

    run: Run
    stage: StageSettings
    seed: int
    earlier: Mapping[str, Path]
    progress: Progress

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
        self, model: PartModel, samples: Sequence[Sample], *, training: bool, **settings: Any
    ) -> ClipDataset:
        """Clips of a split, no longer than the model has positions for, which is said.

        Raises:
            InputError: prompt and text leave no positions for a clip.
        """
        clips = self.run.clips(samples, training=training, **settings)
        if not isinstance(model, Translator):
            return clips
        limit = model.encoder.input_limit(signal_limit(model, self.run.processor.max_tokens))
        if limit is not None and limit < clips.limit:
            where = f"stages.{self.stage.name}"
            if limit < 1:
                raise InputError(
                    f"{where}: prompt and text leave the clips no positions to be read"
                )
            seconds = limit / clips.signal.units_per_second
            faults = Faults(max_examples=1)
            needs, limits = self.run.recipe.needs, Limits(max_seconds=seconds)
            check_clips("", samples, faults, limits=limits, needs=needs)
            if longer := faults.count(FaultKind.TOO_LONG):
                note(
                    f"{where}: {longer:,} clips cut at {seconds:.1f} seconds, for want of positions"
                )
            clips.limit = limit
        return clips

    def items(self, model: PartModel, clips: ClipDataset) -> tuple[Any, int]:
        """Train clips, or their stored features where the stage wants these; and the workers."""
        if not self.stage.feature_views:
            return clips, choose_workers(self.run.recipe.num_workers, len(clips))
        return FeatureDataset(self._stored(model, clips), clips.samples, clips.target), 0

    def dev(self, model: PartModel, target: Target | None = None) -> dict[str, Any]:
        """What scores are made of: dev clips, their stored features if any, the precision."""
        clips = self.clips(model, self.run.dev_samples, training=False, target=target)
        stored: StoredFeatures | None = None
        if self.stage.feature_views:
            (stored,) = self._stored(model, clips)
        return {
            "clips": clips,
            "bfloat16": use_bfloat16(self.stage.precision),
            "features": stored,
            "leave_out": self.run.left_out.add,
        }

    def _stored(self, model: PartModel, clips: ClipDataset) -> list[StoredFeatures]:
        encoder, config = model.encoder, model.config.encoder
        return self.run.features(self.stage, encoder, config, clips, self.progress)


def build_task(job: Job) -> Task:
    """Build what a stage's objective needs.

    Raises:
        InputError: a part's source is neither a stage nor a loadable model, or does not fit.
    """
    return BUILDERS[job.stage.objective](job)


def _translation(job: Job) -> Task:
    model = build_translator(job.plan, job.earlier)
    clips = job.clips(model, job.run.train_samples, training=True)
    dataset, num_workers = job.items(model, clips)
    scores = TranslationScores(
        model,
        decoding=job.run.recipe.decoding.change(beams=job.stage.dev_beams),
        normalisation=job.run.normalisation,
        **job.dev(model),
    )
    return Task(model, dataset, scores, num_workers)


def _denoising(job: Job) -> Task:
    texts = TextDataset(job.run.texts, job.run.processor)
    dataset = MaskingDataset(texts, job.masking, job.mask_id, seed=job.seed)
    return Task(build_text_model(job.plan, job.earlier), dataset)


def _gloss_ctc(job: Job) -> Task:
    target, clips = _recognised(job, glosses_of)
    rate = clips.processor.frame_share

    def kept(sample: Sample) -> int:
        return min(len(kept_indices(sample, rate)), clips.limit)

    _tell_too_short(clips, kept, "kept frames than their glosses need")
    return _recognition(job, target, clips)


def _transcript_ctc(job: Job) -> Task:
    target, clips = _recognised(job, letters_of)
    task = _recognition(job, target, clips, from_letters)

    def positions(sample: Sample) -> int | None:
        if sample.end_seconds is None:
            return None
        seconds = sample.end_seconds - (sample.start_seconds or 0.0)
        units = min(round(seconds * clips.signal.units_per_second), clips.limit)
        return int(task.model.encoder.output_lengths(torch.tensor([units]))[0])

    _tell_too_short(clips, positions, "positions than their letters need")
    return task


def _recognition(
    job: Job, target: GlossTarget, clips: ClipDataset, words: Callable[[str], str] = str
) -> Task:
    model = build_recogniser(job.plan, job.earlier, target.glosses)
    dataset, num_workers = job.items(model, clips)
    scores = GlossScores(
        model,
        references=lambda sample: words(target.symbols(sample)),
        words=words,
        **job.dev(model, target),
    )
    return Task(model, dataset, scores, num_workers)


def _recognised(job: Job, symbols: Callable[[Sample], str]) -> tuple[GlossTarget, ClipDataset]:
    """What is recognised, and the train clips whose labels it gives."""
    target = GlossTarget(job.run.vocabulary(symbols), symbols)
    return target, job.run.clips(job.run.train_samples, training=True, target=target)


def _vlp(job: Job) -> Task:
    model = build_translator(job.plan, job.earlier)
    assert isinstance(model, VisualLanguageModel)
    clips = job.clips(model, job.run.train_samples, training=True)
    items, num_workers = job.items(model, clips)
    dataset = MaskingDataset(items, job.masking, job.mask_id, seed=job.seed)
    scores = AlignmentScores(model, masking=job.masking, mask_id=job.mask_id, **job.dev(model))
    return Task(model, dataset, scores, num_workers)


BUILDERS: Mapping[str, Callable[[Job], Task]] = {
    "translation": _translation,
    "denoising": _denoising,
    "gloss_ctc": _gloss_ctc,
    "transcript_ctc": _transcript_ctc,
    "vlp": _vlp,
}


def _tell_too_short(
    clips: ClipDataset, positions: Callable[[Sample], int | None], what: str
) -> None:
    """Say how many clips have fewer positions than CTC needs for their symbols, if any.

    Args:
        clips: with symbols as labels.
        positions: of a clip; None: not known without opening it.
        what: they have fewer of.
    """
    short = []
    for sample in clips.samples:
        try:
            count = positions(sample)
        except InputError:  # it cannot be read, and is told of when it is
            continue
        if count is not None and count < frames_needed(clips.target(sample)):
            short.append(sample.id)
    if short:
        note(
            f"{len(short)} of {len(clips)} train clips have fewer {what} (first: {short[0]});"
            " they add nothing to the loss"
        )
