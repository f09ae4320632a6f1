"""Live captions: frames come in as they are taken, and a text grows that never takes back a word.

While a sentence is being signed, what has been seen of it is translated again and again. What two
translations in a row agree on is committed (LocalAgreement-2: Liu et al. 2020, Interspeech,
section 3.2), and every later translation begins with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.corpora.languages import has_spaces
from unglossed.errors import InputError
from unglossed.inference.search import translate_prefix
from unglossed.inference.sentences import Cut, SentenceTranslator
from unglossed.inference.windows import Block, kept_rate

EVERY_SECONDS = 0.4
"""Of signing between two translations of a sentence that goes on."""
AHEAD_SECONDS = 0.5
"""That a segmenter waits for before it says whether somebody signs."""
LEAST_SCORE = -1.2
"""Mean log-probability below which nothing is shown: the model does not know what it sees."""


@dataclass(frozen=True)
class LiveUpdate:
    """What is on the screen of the sentence at hand.

    Attributes:
        sentence: Its number, from 1.
        start_seconds: When it began, by the clock of the frames.
        end_seconds: When it ended; None while it is being signed.
        committed: Text that stays. It only grows.
        uncommitted: Text behind it that may still change; empty once the sentence has ended.
        score: Of all of it, see `Hypothesis`; None where nothing is shown.
        seen_seconds: The newest frame that it is made of.
    """

    sentence: int
    start_seconds: float
    end_seconds: float | None
    committed: str
    uncommitted: str
    score: float | None
    seen_seconds: float

    @property
    def closed(self) -> bool:
        """Whether the sentence has ended."""
        return self.end_seconds is not None


class LiveTranslator:
    """Turns frames into text while they come. Computing happens in `push`; see `LiveSession`.

    A sentence ends when the hands rest. While nobody signs there is no text: neither where nothing
    moves, nor where the model's score is too low. Memory does not grow.

        >>> live = unglossed.LiveTranslator(unglossed.SentenceTranslator(unglossed.load(model)))
        >>> updates = [one for seconds, frame in camera for one in live.push(frame, seconds)]
        >>> (updates + live.finish())[-1].committed
        'morgen regnet es im norden'

    Args:
        sentences: finds and translates.
        cut: how sentences are found, see `Cut`.
        every: seconds of signing between two translations.
        least_score: below it nothing is committed.
        decoding: fields of `DecodingSettings` of the last translation of a sentence, those on the
            way are greedy.
    """

    def __init__(
        self,
        sentences: SentenceTranslator,
        *,
        cut: str = Cut.AUTO,
        every: float = EVERY_SECONDS,
        least_score: float = LEAST_SCORE,
        **decoding: Any,
    ) -> None:
        translator = sentences.translator
        self.model, self.processor = translator.model, translator.processor
        self._decoding = translator.decoding.change(**decoding)
        self._rate = kept_rate(self.processor)
        self._finder = sentences.find(cut, ahead=round(AHEAD_SECONDS * self._rate))
        self._every = max(1, round(every * self._rate))
        self._least_score = least_score
        self._due = -math.inf
        self._newest = -math.inf
        self._number = 0
        self._current: _Current | None = None

    def push(self, frame: NDArray[np.uint8], seconds: float) -> list[LiveUpdate]:
        """Take in a frame; those that the model has no use for cost nothing.

        Args:
            frame: (height, width, 3) uint8 RGB.
            seconds: when it was taken, later than the one before.

        Raises:
            InputError: it is no such frame, or older than the one before.
        """
        _check_frame(frame)
        if not seconds > self._newest:
            raise InputError(
                f"seconds: found {seconds} behind {self._newest}, expected frames in their order"
            )
        self._newest = seconds
        step = 1 / self._rate
        if seconds < self._due - step / 4:
            return []
        # A late frame does not make the next ones late; after a gap the grid begins anew.
        self._due = seconds + step if seconds > self._due + step else self._due + step
        views = self.processor([frame[None]])["frames"].numpy()
        found = self._finder.push(Block(np.array([seconds]), views))
        updates = [self._closed(one.start, one.end, one.features) for one in found]
        return updates + self._growing(seconds)

    def finish(self) -> list[LiveUpdate]:
        """The end of the sentence that is being signed, if any: no more frames come."""
        found = self._finder.finish()
        return [self._closed(one.start, one.end, one.features) for one in found]

    def _growing(self, seconds: float) -> list[LiveUpdate]:
        """Translate what has been seen of a sentence that goes on, when it is time to."""
        opened = self._finder.cutter.opened
        if opened is None:
            self._current = None
            return []
        end = self._finder.end
        if self._current is None or self._current.opened != opened:
            self._current = _Current(opened, next_at=opened + 2 * self._every)
        if end < self._current.next_at:
            return []
        self._current.next_at = end + self._every
        seen = self._finder.between(opened, end)
        self._translate(self._current, seen.features, beams=1)
        if self._current.score is None or self._current.score < self._least_score:
            return []
        self._current.agree()
        return [self._update(self._current, seen.start, None, seconds)]

    def _closed(self, start: float, end: float, features: Tensor) -> LiveUpdate:
        current, self._current = self._current or _Current(-1), None
        self._translate(current, features, beams=self._decoding.beams)
        assert current.score is not None
        if current.score >= self._least_score or current.committed:
            current.commit_all()
        update = self._update(current, start, end, self._newest)
        if current.committed:
            self._number += 1
        return update
