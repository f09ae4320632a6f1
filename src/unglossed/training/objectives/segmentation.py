"""Segmentation: a head on a frozen encoder learns where sentences begin and end in long media.

Media are cut into windows. A corpus whose clips have no times has nothing to learn from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.corpora.segments import Segment
from unglossed.errors import InputError
from unglossed.evaluation.segments import score
from unglossed.hub import find_model
from unglossed.inference.spans import find_spans
from unglossed.media.frames import FRAME_RATE
from unglossed.media.signal import kept_indices, media_facts
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import pad_labels
from unglossed.models.saved import load_processor
from unglossed.models.segmenter import BEGIN, INSIDE, OUTSIDE
from unglossed.training.build import build_segmenter
from unglossed.training.job import DevSplit, Job, Scores
from unglossed.training.objectives import Objective, Task
from unglossed.training.parts import Origin

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings

WINDOW_SECONDS = 30.0
"""Of what is trained on and scored at once, at most."""
BEGIN_SECONDS = 0.3
"""From the begin of a sentence on, positions are tagged as its begin."""

Times = Mapping[Path, Sequence[tuple[float, float]]]


def times_of(samples: Sequence[Sample]) -> dict[Path, list[tuple[float, float]]]:
    """Begins and ends of the sentences of each medium that has some, rising."""
    found: dict[Path, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        if sample.start_seconds is not None and sample.end_seconds is not None:
            found[sample.media].append((sample.start_seconds, sample.end_seconds))
    return {media: sorted(times) for media, times in found.items()}


def cut_windows(samples: Sequence[Sample], longest: float = WINDOW_SECONDS) -> list[Sample]:
    """Windows over all of the media whose sentences have times, one after another.

    Args:
        samples: Sentences.
        longest: Seconds of a clip that training uses whole.

    Raises:
        InputError: No sentence has times, or a medium cannot be read.
    """
    first = {sample.media: sample for sample in reversed(samples)}
    windows = []
    for media in times_of(samples):
        begin, end = media_facts(media).span(first[media].frame_rate)
        count = max(1, math.ceil((end - begin) / min(WINDOW_SECONDS, longest)))
        edges = np.linspace(begin, end, count + 1).tolist()
        for start, stop in pairwise(edges):
            sample = first[media]
            windows.append(
                replace(
                    sample,
                    id=f"{sample.id}@{start:.2f}",
                    start_seconds=start,
                    end_seconds=stop,
                )
            )
    if not windows:
        raise InputError(
            "segmentation: found no clip with times, expected a corpus that says where in its"
            " media each sentence begins and ends, such as How2Sign or captions"
        )
    return windows


@dataclass(frozen=True)
class TagTarget:
    """A window's labels are a tag for each kept frame.

    Attributes:
        times: Sentences of each medium.
        frame_share: Share of the frames that is kept.
    """

    times: Times
    frame_share: float

    def __call__(self, sample: Sample) -> list[int]:
        """Tags (kept,) of a window."""
        seconds = 1 / (FRAME_RATE * self.frame_share)
        start = sample.start_seconds or 0.0
        count = len(kept_indices(sample, self.frame_share))
        middles = start + (np.arange(count) + 0.5) * seconds
        tags = np.full(count, OUTSIDE)
        for begin, end in self.times[sample.media]:
            inside = (middles >= begin) & (middles < end)
            tags[inside] = np.where(
                middles[inside] < begin + max(BEGIN_SECONDS, seconds), BEGIN, INSIDE
            )
        return [int(tag) for tag in tags]


class Segmentation(Objective):
    """A segmenter learns the times of sentences."""

    parts = ("encoder",)
    adds = ("segment_head",)
    signals = ("video",)
    smooths = False
    best = "f1_50"

    def build(self, job: Job) -> Task:
        """A segmenter, windows or their stored features, F1 of the segments on dev."""
        _check_views(job)
        model = build_segmenter(job.plan, job.earlier)
        share = job.run.processor.frame_share
        train, dev = job.run.train_samples, job.run.dev_samples
        target = TagTarget(times_of(train), share)
        longest = job.run.recipe.max_seconds - 1 / (FRAME_RATE * share)
        windows = cut_windows(train, longest)
        clips = job.clips(model, windows, training=True, target=target)
        dataset, num_workers = job.items(model, clips)
        of_dev = TagTarget(times_of(dev), share)
        scored = job.dev(model, of_dev, cut_windows(dev, longest)).scored(self.score)
        return Task(model, dataset, scored, num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """Cross-entropy of the tags, mean over the positions."""
        return tag_loss(outputs.logits, batch["labels"], count)

    def score(self, dev: DevSplit) -> Scores:
        """F1 of segments by their overlap, in 0..1, and the loss of a position."""
        found: list[list[Segment]] = []
        expected: list[list[Segment]] = []
        total, num_positions = 0.0, 0
        seconds = 1 / (FRAME_RATE * dev.clips.processor.frame_share)
        for chosen, batch, mask in dev.batches(dev.encoded()):
            logits = dev.model(features=batch, mask=mask).logits.float()
            rows = [dev.clips.target(sample) for sample in dev.samples[chosen]]
            labels = pad_labels(rows).to(logits.device)
            total += float(tag_loss(logits, labels, 1))
            num_positions += sum(map(len, rows))
            for row, real, tags in zip(logits.softmax(-1), mask, rows, strict=True):
                found.append(_segments(row[real], seconds))
                exact = torch.eye(3)[torch.tensor(tags)]
                expected.append(_segments(exact, seconds))
        scores = score(zip(found, expected, strict=True))
        f1 = {name: scores.f1[overlap] for name, overlap in (("f1_50", 0.50), ("f1_25", 0.25))}
        return {"loss": total / num_positions, **f1}


def _check_views(job: Job) -> None:
    """Refuse other pictures than the encoder was trained on, before any is encoded.

    A model whose frames are read in another way could not use the segmenter.
    """
    assert job.stage.encoder is not None
    source = job.stage.encoder.source
    if source in job.earlier or job.plan.encoder is None:
        return
    if job.plan.encoder.origin is not Origin.RUN:
        return
    processor = load_processor(find_model(source))
    changes = [
        f"video.{key}={getattr(processor, key)}"
        for key in ("frame_share", "resize", "crop")
        if getattr(processor, key) != getattr(job.run.processor, key)
    ]
    if changes:
        raise InputError(
            f"stages.{job.stage.name}.encoder.source: {source} reads frames in another way than the"
            f" recipe, expected {' '.join(changes)}"
        )


def _segments(shares: Tensor, seconds: float) -> list[Segment]:
    spans = find_spans(shares.tolist(), seconds)
    return [Segment(first * seconds, last * seconds) for first, last in spans]


def tag_loss(logits: Tensor, labels: Tensor, count: Count = None) -> Tensor:
    """Cross-entropy of tags (batch, time), `IGNORED` where padded, from logits (batch, time, 3).

    Args:
        logits: Of the head.
        labels: Tags.
        count: What the sum is divided by; None: the positions of `labels`.

    Raises:
        InputError: The encoder gives another number of positions than there are kept frames.
    """
    if logits.shape[1] != labels.shape[1]:
        raise InputError(
            f"segmentation: found {logits.shape[1]} features of {labels.shape[1]} kept frames,"
            " expected an encoder that gives one for each"
        )
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / ((labels != IGNORED).sum() if count is None else count)
