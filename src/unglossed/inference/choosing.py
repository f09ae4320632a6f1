"""Which of the texts that were found for a clip is its translation, and what speaks for it.

Minimum risk: Kumar and Byrne, "Minimum Bayes-Risk Decoding for Statistical Machine Translation",
NAACL 2004; over drawn texts: Eikema and Aziz, COLING 2020, arXiv 2005.10283. The clip's similarity
is that of the alignment which was trained beside the translation, see `models/kept_alignment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.config import DecodingSettings
from unglossed.errors import InputError, note
from unglossed.inference.confidence import CONFIDENCE_FILE, Confidence, steadiness_of
from unglossed.models.kept_alignment import KeptAlignment

_OF_NO_MATTER = {"to", "seed", "sample", "temperature", "top_p"}
"""Settings that change no search, or which of the model's languages is written."""


@dataclass(frozen=True)
class Candidates:
    """Texts that were found for one clip.

    Attributes:
        texts: The texts, in the order of the search.
        scores: Mean log-probability of each one's tokens.
        lengths: Tokens of each, the end token included.
        similarities: How much the clip resembles each, -1 to 1; None: no alignment was asked.
    """

    texts: Sequence[str]
    scores: NDArray[np.float64]
    lengths: NDArray[np.int64]
    similarities: NDArray[np.float64] | None = None

    @cached_property
    def utilities(self) -> NDArray[np.float64]:
        """See `utilities`."""
        return utilities(self.texts)

    def gains(self, *, drawn: bool) -> NDArray[np.float64]:
        """Expected chrF (0 to 1) of each text if another one of them is the right one.

        Beams count by their probability; drawn texts all the same, as the likely ones are drawn
        more often.
        """
        weights = np.ones(len(self.texts))
        if not drawn:
            totals = self.scores * self.lengths
            weights = np.exp(totals - totals.max())
        gains: NDArray[np.float64] = self.utilities @ (weights / weights.sum())
        return gains

    @property
    def agreement(self) -> NDArray[np.float64]:
        """Mean chrF (0 to 1) of each text to the others; 1 where there are none."""
        count = len(self.texts)
        if count == 1:
            return np.ones(1)
        found = self.utilities
        agreed: NDArray[np.float64] = (found.sum(1) - np.diag(found)) / (count - 1)
        return agreed

    def evidence(self, place: int, unseen: float, features: Tensor) -> dict[str, float]:
        """What speaks for one of the texts, see `confidence.EVIDENCE`; without `oddness`.

        Args:
            place: of the text.
            unseen: its score without the clip.
            features: (time, dim) of the clip.
        """
        told = {
            "score": float(self.scores[place]),
            "agreement": float(self.agreement[place]),
            "gain": float(self.scores[place]) - unseen,
            "steadiness": steadiness_of(features.float().cpu()),
        }
        if self.similarities is not None:
            told["similarity"] = float(self.similarities[place])
        return told

    def order(self, settings: DecodingSettings) -> list[int]:
        """Places of the texts, the translation first, by `settings.choice`.

        Ties are left as the search ranked them.
        """
        if settings.choice == "minimum_risk":
            keys = self.gains(drawn=settings.sample)
        elif settings.choice == "contrast":
            assert self.similarities is not None
            keys = self.similarities
        elif settings.sample:
            keys = self.scores
        else:
            return list(range(len(self.texts)))
        return [int(place) for place in np.argsort(-keys, kind="stable")]


def utilities(texts: Sequence[str]) -> NDArray[np.float64]:
    """chrF (0 to 1) of each text (rows) with each as its reference (columns); equal ones have 1."""
    from sacrebleu.metrics.chrf import CHRF  # most translations never need it

    chrf, different = CHRF(), sorted(set(texts))
    found = np.ones((len(different), len(different)))
    for row, text in enumerate(different):
        for column, reference in enumerate(different):
            if row != column:
                found[row, column] = chrf.sentence_score(text, [reference]).score / 100
    places = [different.index(text) for text in texts]
    return found[np.ix_(places, places)]


@dataclass(frozen=True, eq=False)
class Beside:
    """What lies beside a model, and judges its texts.

    Attributes:
        alignment: Compares clips and texts; None: none was kept.
        confidence: Calibrated; None: the model was not.
        collects: Whether translations have their evidence also without a confidence.
    """

    alignment: KeptAlignment | None = None
    confidence: Confidence | None = None
    collects: bool = False
    _noted: set[str] = field(default_factory=set, init=False, repr=False)

    @classmethod
    def load(cls, source: str | Path) -> Beside:
        """Load it from a model's folder or hub name.

        Raises:
            InputError: a file is damaged.
        """
        return cls(KeptAlignment.load(source), Confidence.load(source))

    @property
    def judges(self) -> bool:
        """Whether evidence is collected."""
        return self.collects or self.confidence is not None

    def check(self, settings: DecodingSettings) -> None:
        """Refuse a choice, or a confidence, by an alignment that is not there.

        Raises:
            InputError: it is not.
        """
        if self.confidence and self.confidence.needs_alignment and self.alignment is None:
            raise InputError(
                f"{CONFIDENCE_FILE}: counts with the similarity of a kept alignment, which is not"
                " beside the model: calibrate it anew (unglossed calibrate)"
            )
        if settings.choice == "contrast" and self.alignment is None:
            raise InputError(
                "decoding.choice: found contrast, but no alignment was kept beside the model:"
                " expected one of a recipe with a stage that has `alignment` without `states`,"
                " and whose encoder no later stage trains"
            )

    def note_other_decoding(self, settings: DecodingSettings) -> None:
        """Note, once, that texts are searched for in another way than when dev was looked at."""
        if self.confidence is None or settings.sample:  # drawn texts have no confidence
            return
        asked = settings.model_dump(mode="json", exclude=_OF_NO_MATTER)
        before = DecodingSettings().model_dump(mode="json") | self.confidence.decoding
        others = [name for name in asked if asked[name] != before[name]]
        told, found = (
            ", ".join(f"{name} {one[name]}" for name in others) for one in (before, asked)
        )
        text = (
            f"{CONFIDENCE_FILE}: calibrated with {told}, found {found}: confidences may not fit;"
            " calibrate the model as it is used (unglossed calibrate)"
        )
        if others and text not in self._noted:
            self._noted.add(text)
            note(text)

    def least_confidence(self, given: float | None) -> float:
        """The confidence below which no text is given.

        Args:
            given: what a user asked for; None: the model's own threshold, 0 where it has none.

        Raises:
            InputError: the model has no confidence, or it is no share.
        """
        if given is None:
            return 0.0 if self.confidence is None else self.confidence.threshold
        if not 0 <= given <= 1:
            raise InputError(f"least_confidence: found {given}, expected 0 to 1")
        if self.confidence is None and given > 0:
            raise InputError(
                f"least_confidence: found {given}, but the model has no confidence: calibrate it"
                " first (unglossed calibrate MODEL --corpus SPEC)"
            )
        return given


ALONE = Beside()
"""A model beside which nothing lies."""


@torch.no_grad()
def similarities(
    alignment: KeptAlignment, features: Tensor, mask: Tensor, labels: Tensor
) -> Tensor:
    """How much clips resemble each of their texts, (batch, texts).

    Args:
        alignment: trained beside the translation, with the encoder that gave the features.
        features: (batch, time, dim) of the encoder.
        mask: (batch, time) bool.
        labels: (batch, texts, tokens), -100 where padded.
    """
    alignment.to(features.device)
    return torch.stack([alignment(features, mask, texts) for texts in labels.unbind(1)], dim=1)
