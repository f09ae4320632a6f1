"""Where sentences begin and end in a row of kept frames, found while the frames come in.

A cutter is given frames and tells the sentences that have ended. Positions count kept frames from
the first one that it was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.inference.spans import Span, SpanFinder
from unglossed.models.segmenter import BEGIN, OUTSIDE, Segmenter
from unglossed.models.temporal import TemporalModule
from unglossed.models.visual import VisualEncoder

SIDE = 24
"""Pixels along each side of the pictures whose differences are motion."""
MEMORY_SECONDS = 120.0
"""How far back motion is compared."""
FIRST_SECONDS = 4.0
"""Of motion that is looked at before the first sentence is found in it."""
SHORTEST_SECONDS = 0.8
"""Of motion that is taken for a sentence."""
TWO_KINDS = 2.5
"""By how much more signing moves than resting, at least."""
LEAST = 1.0
"""Levels of 255 that are noise, also in a picture without contrast, as of a covered camera."""
FIXED_SHARE = 0.12
"""Of a picture's contrast: motion between resting (0.05) and signing (0.2 and more)."""


class Cutter(ABC):
    """Finds sentences in kept frames as they come.

    Args:
        finder: makes sentences of shares.

    Attributes:
        place: positions that the finder has seen.
    """

    def __init__(self, finder: SpanFinder) -> None:
        self.finder = finder
        self.place = 0

    @property
    def opened(self) -> int | None:
        """Where the sentence began that has not ended; None: nobody signs."""
        return self.finder.opened

    @property
    def needed(self) -> int:
        """Frames before this position belong to no sentence that is still to be told."""
        return self.place if self.opened is None else self.opened

    @abstractmethod
    def push(self, views: NDArray[np.uint8], vectors: Tensor | None) -> list[Span]:
        """Take in the next kept frames.

        Args:
            views: (n, height, width, 3) uint8 RGB.
            vectors: (n, dim) that the segmenter's encoder makes of them, before its temporal
                module; None for a cutter without a segmenter.

        Returns:
            Sentences that have ended, in order.
        """

    @abstractmethod
    def finish(self) -> list[Span]:
        """The sentences that the end of the video ends."""


class MotionCutter(Cutter):
    """Finds sentences by how much of the picture moves, without training.

    The energy of a frame is the mean difference to the frames beside it, of small grey pictures.
    Where hands rest it is small. What is small is learned from the last two minutes, see
    `threshold_of`. Hands that fidget move as those that sign do: they are taken for sentences.

    Args:
        rate: kept frames a second.
        longest: seconds of a sentence at most.
    """

    def __init__(self, rate: float, longest: float) -> None:
        super().__init__(SpanFinder(1 / rate, shortest=SHORTEST_SECONDS, longest=longest))
        self._first = max(2, round(FIRST_SECONDS * rate))
        self._energies: deque[float] = deque(maxlen=round(MEMORY_SECONDS * rate))
        self._contrast = 0.0
        self._waiting: list[float] = []
        self._before: NDArray[np.float32] | None = None

    def push(self, views: NDArray[np.uint8], vectors: Tensor | None) -> list[Span]:
        """See `Cutter.push`."""
        for view in views:
            small = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
            self._contrast = float(grey.std())
            if self._before is None:
                self._waiting.append(0.0)
            else:
                change = float(np.abs(grey - self._before).mean())
                self._energies.append(change)
                self._waiting[-1] = max(self._waiting[-1], change)
                self._waiting.append(change)
            self._before = grey
        # The newest frame is not judged before it is known what follows it.
        return self._find(self._waiting[:-1]) if len(self._energies) >= self._first else []

    def finish(self) -> list[Span]:
        """See `Cutter.finish`."""
        return [*self._find(self._waiting), *self.finder.finish()]

    def _find(self, energies: list[float]) -> list[Span]:
        threshold = threshold_of(np.fromiter(self._energies, np.float64), self._contrast)
        spans = [span for one in energies for span in self.finder.push(one / (one + threshold))]
        self.place += len(energies)
        del self._waiting[: len(energies)]
        return spans


def threshold_of(energies: NDArray[np.float64], contrast: float) -> float:
    """What is little motion and what is much: Otsu's threshold (1979) of the logarithms.

    Where they do not fall into two kinds, since somebody rests all the time or signs all the time,
    a share of the picture's contrast stands for it.

    Args:
        energies: (n,) mean changes of the pictures, in levels of 255.
        contrast: standard deviation of a picture's levels.
    """
    fixed = max(FIXED_SHARE * contrast, LEAST)
    values = np.sort(np.log(np.maximum(energies, 1e-3)))
    if len(values) < 2:
        return fixed
    counts = np.arange(1, len(values))
    sums = np.cumsum(values)[:-1]
    low, high = sums / counts, (values.sum() - sums) / (len(values) - counts)
    best = int(np.argmax(counts * (len(values) - counts) * (high - low) ** 2))
    if high[best] - low[best] < np.log(TWO_KINDS):
        return fixed
    return max(fixed / 2, float(np.exp((values[best] + values[best + 1]) / 2)))


class SegmenterCutter(Cutter):
    """Finds sentences by a trained segmenter.

    A tag depends on the frames around it; those of the last frames wait until `ahead` more have
    come, or the end.

    Args:
        segmenter: in eval mode, its encoder a visual one.
        finder: makes sentences of shares.
        ahead: frames that a tag waits for; None: all that it depends on.
    """

    def __init__(
        self, segmenter: Segmenter, finder: SpanFinder, *, ahead: int | None = None
    ) -> None:
        super().__init__(finder)
        assert isinstance(segmenter.encoder, VisualEncoder)
        self.encoder, self.head = segmenter.encoder, segmenter.segment_head
        temporal = self.encoder.temporal
        kernel = temporal.conv.kernel_size[0] if isinstance(temporal, TemporalModule) else 1
        self._reach = self.head.reach + kernel // 2
        self._ahead = self._reach if ahead is None else min(ahead, self._reach)
        self._vectors: Tensor | None = None
        self._first = 0  # position of the first of them

    def push(self, views: NDArray[np.uint8], vectors: Tensor | None) -> list[Span]:
        """See `Cutter.push`."""
        assert vectors is not None
        held = vectors if self._vectors is None else torch.cat([self._vectors, vectors])
        self._vectors = held
        return self._find(self._first + len(held) - self._ahead)

    def finish(self) -> list[Span]:
        """See `Cutter.finish`."""
        end = self._first + (0 if self._vectors is None else len(self._vectors))
        return [*self._find(end), *self.finder.finish()]

    def _find(self, end: int) -> list[Span]:
        """Tag the positions up to this one."""
        if end <= self.place or self._vectors is None:
            return []
        shares = self._shares(self._vectors)[self.place - self._first : end - self._first]
        spans: list[Span] = []
        for row in shares.tolist():
            spans += self.finder.push(1 - row[OUTSIDE], begins=row[BEGIN] >= 0.5)
        self.place = end
        gone = max(0, self.place - self._reach - self._first)
        self._vectors, self._first = self._vectors[gone:], self._first + gone
        return spans

    @torch.no_grad()
    def _shares(self, vectors: Tensor) -> Tensor:
        lengths = torch.tensor([len(vectors)], device=vectors.device)
        features, mask = self.encoder.laid_out(vectors.float(), lengths)
        return self.head(features, mask)[0].softmax(-1).cpu()
