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
from unglossed.models.visual import TemporalModule, VisualEncoder

SIDE = 24
"""Pixels along each side of the pictures whose differences are motion."""
MEMORY_SECONDS = 120.0
"""How far back motion is compared."""
FIRST_SECONDS = 4.0
"""Of motion that is looked at before the first sentence is found in it."""
NOISE = 0.6
"""Levels of 255 that a picture without any motion may change by, as compressed video does."""


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

    The energy of a frame is the mean difference to the frame before, of small grey pictures. Where
    hands rest it is small. What is small is learned from the last two minutes: the energies fall
    into two kinds, and the threshold between them is Otsu's (1979, IEEE SMC-9) of their logarithms.

    Args:
        rate: kept frames a second.
        finder: makes sentences of shares.
    """

    def __init__(self, rate: float, finder: SpanFinder) -> None:
        super().__init__(finder)
        self._first = max(2, round(FIRST_SECONDS * rate))
        self._energies: deque[float] = deque(maxlen=round(MEMORY_SECONDS * rate))
        self._waiting: list[float] = []
        self._before: NDArray[np.float32] | None = None

    def push(self, views: NDArray[np.uint8], vectors: Tensor | None) -> list[Span]:
        """See `Cutter.push`."""
        for view in views:
            energy = self._energy(view)
            self._energies.append(energy)
            self._waiting.append(energy)
        return self._find() if len(self._energies) >= self._first else []

    def finish(self) -> list[Span]:
        """See `Cutter.finish`."""
        return [*self._find(), *self.finder.finish()]

    def _find(self) -> list[Span]:
        spans: list[Span] = []
        threshold = threshold_of(self._energies) if self._energies else 0.0
        for energy in self._waiting:
            spans += self.finder.push(energy / (energy + threshold))
        self.place += len(self._waiting)
        self._waiting = []
        return spans

    def _energy(self, view: NDArray[np.uint8]) -> float:
        small = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before, self._before = self._before, grey
        return 0.0 if before is None else float(np.abs(grey - before).mean())


def threshold_of(energies: deque[float]) -> float:
    """Otsu's threshold of logarithms, at least `NOISE`."""
    values = np.sort(np.log(np.maximum(np.fromiter(energies, np.float64), 1e-3)))
    counts = np.arange(1, len(values))
    if not len(counts):
        return NOISE
    sums = np.cumsum(values)[:-1]
    low = sums / counts
    high = (values.sum() - sums) / (len(values) - counts)
    between = counts * (len(values) - counts) * (high - low) ** 2
    best = int(np.argmax(between))
    return max(NOISE, float(np.exp((values[best] + values[best + 1]) / 2)))


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
