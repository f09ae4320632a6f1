"""What a translation is, and how it is written: as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unglossed.inference.words import WordAttention


@dataclass(frozen=True)
class Hypothesis:
    """One candidate text.

    `score` is the mean log-probability of its tokens, the end token among them (at most 0): always
    the model's own, whatever the text was searched for with (language contrast, length penalty,
    temperature).
    """

    text: str
    score: float


@dataclass(frozen=True)
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
        num_frames: Kept frames, on which the weights lie.
    """

    media: str
    text: str
    score: float
    n_best: tuple[Hypothesis, ...]
    attention: tuple[WordAttention, ...] | None
    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """`media`, `text`, `score` and `n_best`, as `translate --format json` writes them."""
        n_best = [{"text": one.text, "score": one.score} for one in self.n_best]
        return {"media": self.media, "text": self.text, "score": self.score, "n_best": n_best}


def format_text(translations: Sequence[Translation], named: bool) -> str:
    """One line a translation, below it the n-best list where there is one.

    Args:
        translations: what to write.
        named: begin each line with the name of its media and a tab.
    """
    lines = []
    for translation in translations:
        lines.append(f"{translation.media}\t{translation.text}" if named else translation.text)
        if len(translation.n_best) > 1:
            lines += [f"  {one.score:.3f}\t{one.text}" for one in translation.n_best]
    return "".join(line + "\n" for line in lines)


def format_json(translations: Sequence[Translation]) -> str:
    """A JSON list with `media`, `text`, `score` and `n_best` of each translation."""
    rows = [translation.to_dict() for translation in translations]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
