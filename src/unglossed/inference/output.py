"""What a translation is, and how it is written: as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unglossed.corpora.languages import BY_CHARACTER, CHINESE
from unglossed.corpora.sample import Sample
from unglossed.media.probe import Emptiness
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor

UNSPACED_LANGUAGES = CHINESE | BY_CHARACTER
BROKEN_CHARACTER = "\ufffd"
"""What a tokenizer of bytes shows for a character whose bytes are not all there yet."""


@dataclass(frozen=True)
class WordAttention:
    """A word of a translation and its weight on each kept frame; the weights sum to 1."""

    word: str
    weights: tuple[float, ...]


def merge_words(
    processor: TranslatorProcessor,
    token_ids: Sequence[int],
    attention: Tensor,
    language: str | None = None,
) -> tuple[WordAttention, ...]:
    """Merge the tokens of one sentence into words, with the mean of their attention.

    Where a word begins is seen from the text that each further token adds, so that it works alike
    for every kind of tokenizer. In Chinese, which writes no spaces, each token is a word.

    Args:
        processor: its tokenizer made the tokens.
        token_ids: of one sentence; special tokens are left out.
        attention: (tokens, time), a row for each token.
        language: of the sentence; None: what the model usually writes.
    """
    special = set(processor.tokenizer.all_special_ids)
    rows = [row for row, token in enumerate(token_ids) if token not in special]
    if not rows:
        return ()
    tokens = torch.tensor([token_ids[row] for row in rows])
    unseen = torch.ones(len(rows), len(rows)).triu(1).bool()
    prefixes = processor.decode(tokens.repeat(len(rows), 1).masked_fill(unseen, IGNORED))

    spaced = (language or processor.language) not in UNSPACED_LANGUAGES
    starts: list[int] = []
    groups: list[list[int]] = []
    waiting: list[int] = []
    text = ""
    for row, prefix in zip(rows, prefixes, strict=True):
        waiting.append(row)
        start = _shared_length(text, prefix)
        added = prefix[start:]
        if not added.strip() or added.endswith(BROKEN_CHARACTER):
            continue  # a lone space or half a character belongs to what comes next
        if not groups or not spaced or added[0].isspace():
            starts.append(start)
            groups.append([])
        groups[-1] += waiting
        waiting = []
        text = prefix
    ends = [*starts[1:], len(text)]
    return tuple(
        WordAttention(text[start:end].strip(), tuple(attention[group].mean(0).tolist()))
        for start, end, group in zip(starts, ends, groups, strict=True)
    )


def _shared_length(first: str, second: str) -> int:
    """Number of characters with which both texts begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


class Doubt(StrEnum):
    """Why a text that was found is not given."""

    NOT_UNDERSTOOD = "not_understood"


NOT_UNDERSTOOD = "[not understood]"
"""Stands where a text would, for people: in plain text, captions and tables."""


@dataclass(frozen=True)
class Hypothesis:
    """One candidate text.

    `score` is the mean log-probability of its tokens, the end token among them (at most 0): always
    the model's own, whatever the text was searched for with (language contrast, length penalty,
    temperature).
    """

    text: str
    score: float


@dataclass(frozen=True, repr=False)
class Translation:
    """The translation of one clip.

    Attributes:
        media: Path of the video, or id of the sample.
        text: The best hypothesis.
        score: Its score, see `Hypothesis`: comparable between texts of different length.
        n_best: The best hypotheses, best first; `text` is the first. Beams are ranked by what they
            were searched for with; without language contrast and length penalty that is the score.
            Texts that were drawn are ranked by their score, and each stands there once, so that
            they can be fewer than asked for.
        attention: Words of `text` with their weights on the kept frames, if asked for.
        num_frames: Kept frames, on which the weights lie; 0 where nothing was translated.
        reason: Why `text` is empty: nothing is in the clip to translate, and there is no score; or
            the model is not sure enough of what it found; None where it was translated.
        notes: What a user should know of the clip, a sentence each: it is far longer than those of
            training, was cut, has nothing in it.
        start_seconds: Begin of the clip within its media, where a sample has one.
        end_seconds: End of the clip within its media, where a sample has one.
        confidence: Calibrated probability (0 to 1) that the sentence found is good, see
            `Confidence`; None where the model was not calibrated, or texts were drawn.
        evidence: What that was made of.
    """

    media: str
    text: str
    score: float | None
    n_best: tuple[Hypothesis, ...]
    attention: tuple[WordAttention, ...] | None
    num_frames: int
    reason: Emptiness | Doubt | None = None
    notes: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    confidence: float | None = None
    evidence: Mapping[str, float] | None = None

    @classmethod
    def without_text(
        cls, name: str, clip: object, reason: Emptiness | None, notes: tuple[str, ...]
    ) -> Translation:
        """What is known of a clip before it is translated, or if it is not.

        Args:
            name: of the clip.
            clip: a sample's times are kept.
            reason: why it is not translated.
            notes: on the clip.
        """
        times = (clip.start_seconds, clip.end_seconds) if isinstance(clip, Sample) else (None, None)
        return cls(name, "", None, (), None, 0, reason, notes, *times)

    def with_text(self, translated: Translation) -> Translation:
        """The text that was found for this clip, with what was known of the clip before."""
        known = {name: getattr(self, name) for name in ("notes", "start_seconds", "end_seconds")}
        return replace(translated, **known)

    def withheld(self, least: float) -> Translation:
        """Without its text where its confidence is less than `least`, with the reason and a note.

        The score stays: it is of the text that is not given.
        """
        if self.confidence is None or self.confidence >= least:
            return self
        told = f"not understood: confidence {self.confidence:.2f}, expected {least:.2f} at least"
        return replace(
            self,
            text="",
            n_best=(),
            attention=None,
            reason=Doubt.NOT_UNDERSTOOD,
            notes=(*self.notes, told),
        )

    @property
    def shown(self) -> str:
        """The text, or for people the mark that nothing was understood."""
        return NOT_UNDERSTOOD if self.reason is Doubt.NOT_UNDERSTOOD else self.text

    def __repr__(self) -> str:
        told = [repr(self.text)]
        told += [f"score={self.score:.2f}"] if self.score is not None else []
        told += [f"confidence={self.confidence:.2f}"] if self.confidence is not None else []
        told += [f"reason={self.reason.value!r}"] if self.reason is not None else []
        told.append(f"media={Path(self.media).name!r}")
        return f"Translation({', '.join(told)})"

    def to_dict(self) -> dict[str, Any]:
        """`media`, `text`, `score` and `n_best`, as `translate --format json` writes them.

        Where there are any, `start_seconds` and `end_seconds`, `confidence`, `reason` and `notes`
        follow.
        """
        n_best = [{"text": one.text, "score": one.score} for one in self.n_best]
        content = {"media": self.media, "text": self.text, "score": self.score, "n_best": n_best}
        more = {
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "reason": None if self.reason is None else self.reason.value,
            "notes": list(self.notes) or None,
        }
        return content | {key: value for key, value in more.items() if value is not None}


def format_text(translations: Sequence[Translation], named: bool) -> str:
    """One line a translation, below it the n-best list where there is one.

    Args:
        translations: what to write.
        named: begin each line with the name of its media and a tab.
    """
    lines = []
    for translation in translations:
        text = translation.shown
        lines.append(f"{translation.media}\t{text}" if named else text)
        if len(translation.n_best) > 1:
            lines += [f"  {one.score:.3f}\t{one.text}" for one in translation.n_best]
    return "".join(line + "\n" for line in lines)


def format_json(translations: Sequence[Translation]) -> str:
    """A JSON list of translations, see `Translation.to_dict`."""
    rows = [translation.to_dict() for translation in translations]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
