"""What a translation is, and how it is written: as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unglossed.corpora.sample import Sample
from unglossed.inference.words import WordAttention
from unglossed.media.contents import Emptiness


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
        num_frames: Kept frames, on which the weights lie; 0 where nothing was translated.
        reason: Why `text` is empty and there is no score: nothing is in the clip to translate; None
            where it was translated.
        notes: What a user should know of the clip, a sentence each: it is far longer than those of
            training, was cut, has nothing in it.
        start_seconds: Begin of the clip within its media, where a sample has one.
        end_seconds: Its end, likewise.
    """

    media: str
    text: str
    score: float | None
    n_best: tuple[Hypothesis, ...]
    attention: tuple[WordAttention, ...] | None
    num_frames: int
    reason: Emptiness | None = None
    notes: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None

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

    def to_dict(self) -> dict[str, Any]:
        """`media`, `text`, `score` and `n_best`, as `translate --format json` writes them.

        Where there are any, `start_seconds` and `end_seconds`, `reason` and `notes` follow.
        """
        n_best = [{"text": one.text, "score": one.score} for one in self.n_best]
        content = {"media": self.media, "text": self.text, "score": self.score, "n_best": n_best}
        more = {
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
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
        lines.append(f"{translation.media}\t{translation.text}" if named else translation.text)
        if len(translation.n_best) > 1:
            lines += [f"  {one.score:.3f}\t{one.text}" for one in translation.n_best]
    return "".join(line + "\n" for line in lines)


def format_json(translations: Sequence[Translation]) -> str:
    """A JSON list of translations, see `Translation.to_dict`."""
    rows = [translation.to_dict() for translation in translations]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
