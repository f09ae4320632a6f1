"""A long recording of one signer: sentences, rests between them, and what happens in the rests.

What is signed is decided in `signing`, how a rest looks in `resting`; files are `recording`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from unglossed_synth.hands import PLACE
from unglossed_synth.motion import (
    FRAME_RATE,
    HEAD,
    LEAD_FRAMES,
    Motion,
    Poses,
    drift,
    enliven,
    plan_face,
    plan_hands,
    pose,
)
from unglossed_synth.resting import FIDGETS, Rest, at_rest, fidget
from unglossed_synth.signer import Signer
from unglossed_synth.signing import SignToken

FloatArray = NDArray[np.float64]
Span = tuple[int, int]

SENTENCE, HOLD = "sentence", "hold"
"""Kinds of events, beside those of `resting.FIDGETS`."""

SHORTEST_REST_SECONDS = 0.4
"""Of quiet hands around each sentence and each fidget."""

LONGEST_QUIET_SECONDS = 8.0
_MEAN_QUIET_SECONDS = 1.2  # beyond the shortest
_EDGE_SECONDS = (1.5, 4.0)  # before the first sentence and after the last
_FIDGET_RATE = 0.3
_MOST_FIDGETS = 2
_HOLD_RATE = 0.06
_HOLD_SECONDS = (0.3, 1.1)
# Posture wanders over seconds, beside the quick drift that every sentence has.
_POSTURE_FRAMES = 40.0
_POSTURE_LEAN, _POSTURE_HEAD, _POSTURE_HANDS = 0.03, 0.05, 0.035


@dataclass(frozen=True)
class Event:
    """Something that happens in a recording: a sentence, a fidget or a hold.

    Attributes:
        kind: `SENTENCE`, `HOLD`, or a key of `resting.FIDGETS`.
        start: First frame of it, of 25 a second.
        end: First frame after it.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Programme:
    """A signer's whole recording, before it is drawn.

    Attributes:
        signer: Who signs.
        motion: What moves, 25 moments a second.
        events: Sentences, fidgets and holds in the order of their starts. A sentence lasts from
            where the hands leave their rest to where they are back.
    """

    signer: Signer
    motion: Motion
    events: tuple[Event, ...]

    def poses(self, rate: Fraction) -> Poses:
        """Joints at so many frames a second; frame k is what is seen k / rate seconds after."""
        return pose(self.motion, self.signer, rate)


class _Course:
    """Collects hands and body of a recording, piece by piece."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.hands: list[FloatArray] = []
        self.body: list[FloatArray] = []
        self.tokens: list[SignToken] = []
        self.spans: list[Span] = []
        self.events: list[Event] = []
        self.length = 0

    def rest(self, rest: Rest, kind: str | None = None) -> None:
        if kind is not None:
            self.events.append(Event(kind, self.length, self.length + len(rest)))
        self.hands.append(rest.hands)
        self.body.append(np.concatenate([rest.head, rest.lean], axis=1))
        self.length += len(rest)

    def sign(
        self,
        tokens: Sequence[SignToken],
        hands: FloatArray,
        spans: Sequence[Span],
        holds: list[int],
    ) -> None:
        """Add a sentence, each of its signs held for so many frames at its end."""
        self.events.append(Event(SENTENCE, self.length, self.length + len(hands) + sum(holds)))
        added = 0
        repeats = np.ones(len(hands), int)
        for (first, last), hold in zip(spans, holds, strict=True):
            start = self.length + first + added
            self.spans.append((start, start + last - first + hold))
            if hold:
                end = start + last - first
                self.events.append(Event(HOLD, end, end + hold))
            repeats[last - 1] += hold
            added += hold
        self.tokens += tokens
        self.hands.append(np.repeat(hands, repeats, axis=0))
        self.body.append(np.zeros((len(hands) + added, 5)))
        self.length += len(hands) + added


def perform(
    sentences: Sequence[tuple[Sequence[SignToken], np.random.Generator]],
    signer: Signer,
    rng: np.random.Generator,
) -> Programme:
    """Lets a signer sign sentences, with rests before, between and after them.

    Args:
        sentences: The signs of each, and what decides how they are signed: as in a clip alone.
        signer: Who signs.
        rng: Decides all else: rests, fidgets, holds and how the body drifts.
    """
    course = _Course(signer)
    _idle(course, rng, rng.uniform(*_EDGE_SECONDS))
    for place, (tokens, own_rng) in enumerate(sentences):
        if place:
            _idle(course, rng, SHORTEST_REST_SECONDS)
        hands, spans = plan_hands(tokens, signer, own_rng)
        # The clip's own rest at either end is no part of the sentence.
        hands = hands[LEAD_FRAMES : len(hands) - LEAD_FRAMES]
        spans = [(first - LEAD_FRAMES, last - LEAD_FRAMES) for first, last in spans]
        course.sign(tokens, hands, spans, _draw_holds(len(tokens), rng))
    _idle(course, rng, rng.uniform(*_EDGE_SECONDS))
    return Programme(signer, _enliven(course, rng), tuple(course.events))


def sit(signer: Signer, seconds: float, rng: np.random.Generator) -> Programme:
    """Lets a signer do nothing: breathe, blink, and shift a little."""
    course = _Course(signer)
    course.rest(at_rest(signer, int(np.ceil(FRAME_RATE * seconds))))
    return Programme(signer, _enliven(course, rng), ())


def _idle(course: _Course, rng: np.random.Generator, shortest: float) -> None:
    """Add a rest of random length, in which the signer may fidget."""
    _be_quiet(course, rng, shortest)
    for _ in range(_MOST_FIDGETS):
        if rng.random() >= _FIDGET_RATE:
            return
        kind = list(FIDGETS)[int(rng.integers(len(FIDGETS)))]
        course.rest(fidget(kind, course.signer, rng), kind)
        _be_quiet(course, rng, SHORTEST_REST_SECONDS)


def _be_quiet(course: _Course, rng: np.random.Generator, shortest: float) -> None:
    seconds = min(shortest + rng.exponential(_MEAN_QUIET_SECONDS), LONGEST_QUIET_SECONDS)
    course.rest(at_rest(course.signer, int(np.ceil(FRAME_RATE * seconds))))


def _draw_holds(num_signs: int, rng: np.random.Generator) -> list[int]:
    """Frames by which each sign of a sentence is held; the last one is not."""
    holds = [
        round(FRAME_RATE * rng.uniform(*_HOLD_SECONDS)) if rng.random() < _HOLD_RATE else 0
        for _ in range(num_signs - 1)
    ]
    return [*holds, 0][:num_signs]


def _enliven(course: _Course, rng: np.random.Generator) -> Motion:
    hands, body = np.concatenate(course.hands), np.concatenate(course.body)
    face = plan_face(course.tokens, course.spans, course.length, course.signer)
    face[:, HEAD] += body[:, :3]

    def wander(dim: int, size: float) -> FloatArray:
        # At its ends a drift goes far astray: a course from the middle of a longer one.
        margin = int(3 * _POSTURE_FRAMES)
        path = drift(rng, course.length + 2 * margin, dim, size, _POSTURE_FRAMES)
        return path[margin:-margin]

    hands[..., PLACE] += wander(6, _POSTURE_HANDS).reshape(-1, 2, 3)
    motion = enliven(hands, face, course.signer, rng)
    return replace(
        motion,
        head=motion.head + wander(3, _POSTURE_HEAD),
        lean=motion.lean + body[:, 3:] + wander(2, _POSTURE_LEAN),
    )
