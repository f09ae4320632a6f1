"""From how likely a sentence is at each kept frame to where sentences begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unglossed.models.segmenter import BEGIN, OUTSIDE

Span = tuple[int, int]
"""Position of the first kept frame of a sentence, and the one behind its last."""

SHORTEST_SECONDS = 0.5
"""Of a sentence: what is shorter is a twitch."""
PAUSE_SECONDS = 0.3
"""A sentence goes on behind a shorter pause."""


class SpanFinder:
    """Finds sentences in shares that come one after another.

    A sentence begins where the share is at least a half, or where its begin is likely once more,
    and ends where the share stays below for `pause` positions. One that grows longer than `longest`
    is cut where its share is the least in its second half.

    Args:
        seconds: between two positions.
        pause: seconds that a sentence goes on without ending.
        shortest: seconds of a sentence at least.
        longest: seconds of a sentence at most; None: any.

    Attributes:
        opened: where the sentence began that has not ended; None: there is none.
    """

    def __init__(
        self,
        seconds: float,
        *,
        pause: float = PAUSE_SECONDS,
        shortest: float = SHORTEST_SECONDS,
        longest: float | None = None,
    ) -> None:
        self.opened: int | None = None
        self._pause = max(1, round(pause / seconds))
        self._shortest = max(1, round(shortest / seconds))
        self._longest = None if longest is None else max(2, int(longest / seconds))
        self._place = 0
        self._last = 0  # position behind the last one that was inside
        self._shares: list[float] = []  # since the sentence was opened
        self._began = False

    def push(self, inside: float, begins: bool = False) -> list[Span]:
        """Take in the next position; gives the sentence that it ends, if any.

        Args:
            inside: how likely a sentence is there, in 0..1.
            begins: whether one begins there.
        """
        spans: list[Span] = []
        if self.opened is not None and begins and not self._began:
            spans += self._close(self._place)
        self._began = begins
        if inside >= 0.5:
            if self.opened is None:
                self.opened, self._shares = self._place, []
            self._last = self._place + 1
        self._place += 1
        if self.opened is None:
            return spans
        self._shares.append(inside)
        if self._place - self._last >= self._pause:
            spans += self._close(self._last)
        elif self._longest is not None and len(self._shares) >= self._longest:
            spans += self._cut()
        return spans

    def finish(self) -> list[Span]:
        """The sentence that has not ended, if any."""
        return [] if self.opened is None else self._close(self._last)

    def _close(self, end: int) -> list[Span]:
        assert self.opened is not None
        start, end = self.opened, min(end, self._last)
        self.opened = None
        return [(start, end)] if end - start >= self._shortest else []

    def _cut(self) -> list[Span]:
        assert self.opened is not None
        half = len(self._shares) // 2
        least = half + min(range(len(self._shares) - half), key=lambda n: self._shares[half + n])
        start, rest = self.opened, self._shares[least:]
        self.opened, self._shares = start + least, rest
        return [(start, start + least)]


def find_spans(rows: Iterable[Sequence[float]], seconds: float) -> list[Span]:
    """Sentences in a whole row of positions.

    Args:
        rows: shares of the tags of each position, see `models.segmenter`.
        seconds: between two positions.
    """
    finder = SpanFinder(seconds)
    spans: list[Span] = []
    for row in rows:
        spans += finder.push(1 - row[OUTSIDE], begins=row[BEGIN] >= 0.5)
    return spans + finder.finish()
