"""Live captions: frames come in as they are taken, and a text grows that never takes back a word.

While a sentence is being signed, what has been seen of it is translated again and again. What two
translations in a row agree on is committed (LocalAgreement-2, after Liu, Spanakis and Niehues,
Interspeech 2020), and every later translation begins with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from threading import Condition, Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.corpora.languages import has_spaces
from unglossed.errors import InputError
from unglossed.inference.context import context_of
from unglossed.inference.output import BROKEN_CHARACTER
from unglossed.inference.search import continue_text
from unglossed.inference.sentences import Cut, Finder, SentenceTranslator
from unglossed.inference.windows import Block, kept_rate

EVERY_SECONDS = 0.64
"""Of signing between two translations of a sentence that goes on."""
AHEAD_SECONDS = 0.5
"""That a segmenter waits for before it says whether somebody signs."""
GAP_SECONDS = 1.0
"""Without a frame, behind which nothing is known of what was being signed."""
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
        if not isinstance(sentences, SentenceTranslator):
            raise InputError(
                f"sentences: found {type(sentences).__name__}, expected a SentenceTranslator, which"
                " finds the sentences: SentenceTranslator(translator)"
            )
        translator = sentences.translator
        self.model, self.processor = translator.model, translator.processor
        self._decoding = translator.decoding.change(**decoding)
        self._rate = kept_rate(self.processor)
        ahead = round(AHEAD_SECONDS * self._rate)
        self._make_finder: Callable[[], Finder] = partial(sentences.find, cut, ahead=ahead)
        self._finder = self._make_finder()
        self._is_spaced = has_spaces(self.processor.check_language(self._decoding.to))
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
        before = []
        if seconds - self._newest > GAP_SECONDS and math.isfinite(self._newest):
            before = self._end()
        self._newest = seconds
        step = 1 / self._rate
        if seconds < self._due - step / 4:
            return before
        # A late frame does not make the next ones late; after a gap the grid begins anew.
        self._due = seconds + step if seconds > self._due + step else self._due + step
        views = self.processor([frame[None]])["frames"].numpy()
        found = self._finder.push(Block(np.array([seconds]), views))
        updates = [self._closed(one.start, one.end, one.features) for one in found]
        return [*before, *updates, *self._gone(), *self._growing(seconds)]

    def finish(self) -> list[LiveUpdate]:
        """The end of the sentence that is being signed, if any: frames may have come to an end."""
        return self._end()

    def _end(self) -> list[LiveUpdate]:
        found = self._finder.finish()
        self._finder = self._make_finder()
        updates = [self._closed(one.start, one.end, one.features) for one in found]
        return updates + self._gone()

    def _gone(self) -> list[LiveUpdate]:
        """The end of a sentence that was none: it turned out too short. What it said stays."""
        current = self._current
        if current is None or current.opened == self._finder.cutter.opened:
            return []
        self._current = None
        if not current.shown:
            return []
        current.tokens = current.committed
        update = self._update(current, current.start, self._newest, self._newest)
        self._number += bool(current.committed)
        return [update]

    def _growing(self, seconds: float) -> list[LiveUpdate]:
        """Translate what has been seen of a sentence that goes on, when it is time to."""
        opened = self._finder.cutter.opened
        if opened is None:
            return []
        end = self._finder.end
        if self._current is None:
            self._current = _Current(opened, next_at=opened + 2 * self._every)
        if end < self._current.next_at:
            return []
        self._current.next_at = end + self._every
        seen = self._finder.between(opened, end)
        self._translate(self._current, seen.features, beams=1)
        if self._current.score is None or self._current.score < self._least_score:
            return []
        self._agree(self._current)
        self._current.start, self._current.shown = seen.start, True
        return [self._update(self._current, seen.start, None, seconds)]

    def _closed(self, start: float, end: float, features: Tensor) -> LiveUpdate:
        current, self._current = self._current or _Current(-1), None
        self._translate(current, features, beams=self._decoding.beams)
        assert current.score is not None
        if current.score >= self._least_score:
            current.committed = current.tokens
        update = self._update(current, start, end, self._newest)
        if current.committed:
            self._number += 1
        return update

    def _translate(self, current: _Current, features: Tensor, *, beams: int) -> None:
        """Find the text of what has been seen that begins with what is committed."""
        settings = self._decoding.change(beams=beams, choice="best")
        beside = context_of(self.model, self.processor, features)
        with self.model.language_model.writing(settings.to):
            tokens, score = continue_text(self.model, features, current.committed, settings, beside)
        current.before, current.tokens, current.score = current.tokens, tokens, score

    def _update(
        self, current: _Current, start: float, end: float | None, seconds: float
    ) -> LiveUpdate:
        committed, whole = (self._text(one) for one in (current.committed, current.tokens))
        if end is not None:
            whole = committed
        # A prefix of tokens is one of characters, since it ends with a word.
        rest = whole[len(committed) :] if whole.startswith(committed) else ""
        number = self._number + 1
        score = current.score if whole else None
        return LiveUpdate(number, start, end, committed, rest, score, seconds)

    def _text(self, tokens: list[int]) -> str:
        return self.processor.decode(torch.tensor([tokens]))[0] if tokens else ""

    def _agree(self, current: _Current) -> None:
        """Commit the words on which the last two translations agree."""
        pairs = zip(current.before, current.tokens, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        for count in range(alike, len(current.committed), -1):
            if self._ends_a_word(current.tokens, count):
                current.committed = current.tokens[:count]
                return

    def _ends_a_word(self, tokens: list[int], count: int) -> bool:
        """Whether what follows so many tokens begins a word of its own."""
        text, longer = self._text(tokens[:count]), self._text(tokens[: count + 1])
        if not text or text.endswith(BROKEN_CHARACTER) or not longer.startswith(text):
            return False
        rest = longer[len(text) :]
        return rest[:1].isspace() if self._is_spaced else bool(rest)


@dataclass
class _Current:
    """The sentence that is being signed.

    Attributes:
        opened: position at which it began.
        next_at: position from which it is translated again.
        committed: tokens that stay.
        tokens: of the last translation, without the end token.
        before: of the one before.
        score: of the last one.
        start: when it began, in seconds.
        shown: whether anything of it was shown.
    """

    opened: int
    next_at: int = 0
    committed: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    score: float | None = None
    start: float = 0.0
    shown: bool = False


class LiveSession:
    """A `LiveTranslator` in a thread of its own, for a camera that does not wait.

    Only the newest frame waits for its turn: where computing takes longer than a frame, frames are
    dropped, and counted, and the captions stay as fresh as they can be.

    Args:
        live: is used by this alone.
        on_update: is called with each update, in the thread.
        on_error: is called with what went wrong; nothing is computed any more then.

    Attributes:
        dropped: frames that nobody looked at.
        taken: frames that were looked at.
    """

    def __init__(
        self,
        live: LiveTranslator,
        on_update: Callable[[LiveUpdate], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.dropped = self.taken = 0
        self._live, self._on_update, self._on_error = live, on_update, on_error
        self._waiting: tuple[NDArray[np.uint8], float] | None = None
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def offer(self, frame: NDArray[np.uint8], seconds: float) -> None:
        """Give the newest frame, see `LiveTranslator.push`; returns at once."""
        with self._changed:
            if self._closing:
                return
            self.dropped += self._waiting is not None
            self._waiting = frame, seconds
            self._changed.notify()

    def close(self) -> None:
        """Translate what waits, end the sentence at hand, and wait for that."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                    frame, self._waiting = self._waiting, None
                if frame is None:
                    break
                self.taken += 1
                for update in self._live.push(*frame):
                    self._on_update(update)
            for update in self._live.finish():
                self._on_update(update)
        except Exception as error:
            if self._on_error is None:
                raise
            self._on_error(error)


def _check_frame(frame: NDArray[np.uint8]) -> None:
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3):
        raise InputError("frame: expected (height, width, 3) uint8 RGB")
    if frame.shape[2] != 3 or not frame.size:
        raise InputError(f"frame: found shape {frame.shape}, expected (height, width, 3)")
