"""How well confidences tell good sentences from others: reliability, and risk against coverage.

Reliability: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2. Risk and
coverage: El-Yaniv and Wiener, JMLR 2010; a sentence that is not good is a risk of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from unglossed.evaluation.metrics import DEFAULT_NORMALISATION, normalise
from unglossed.plots import Points

NUM_BINS = 10
_CHRF = CHRF()


def sentence_chrf(
    hypothesis: str, references: Sequence[str], normalisation: str = DEFAULT_NORMALISATION
) -> float:
    """chrF (0 to 100) of a sentence with the nearest of its references."""
    (text,) = normalise([hypothesis], normalisation)
    return float(_CHRF.sentence_score(text, normalise(references, normalisation)).score)


@dataclass(frozen=True)
class Reliability:
    """Confidences of the sentences of a split, and which of them were good.

    Attributes:
        confidences: (sentences,) 0 to 1.
        good: (sentences,) bool.
        threshold: Below it no text is given.
        least_chrf: From which chrF on a sentence is good.
    """

    confidences: NDArray[np.float64]
    good: NDArray[np.bool_]
    threshold: float
    least_chrf: float

    @property
    def brier(self) -> float:
        """Mean squared difference of confidence and outcome; 0 is best."""
        return float(np.mean((self.confidences - self.good) ** 2))

    @property
    def bins(self) -> list[tuple[float, float, int]]:
        """Mean confidence, share of good ones and number of each bin of equal width that has any.

        There are `NUM_BINS`.
        """
        places = np.minimum((self.confidences * NUM_BINS).astype(int), NUM_BINS - 1)
        found = []
        for number in range(NUM_BINS):
            chosen = places == number
            if chosen.any():
                sure, right = self.confidences[chosen].mean(), self.good[chosen].mean()
                found.append((float(sure), float(right), int(chosen.sum())))
        return found

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean distance of the bins, by their sentences; 0 is best."""
        total = len(self.confidences)
        return sum(count * abs(sure - right) for sure, right, count in self.bins) / total

    @property
    def risk_coverage(self) -> Points:
        """(coverage, risk) where the most confident sentences alone are given, by coverage.

        Sentences of equal confidence are given or kept back together.
        """
        order = np.argsort(-self.confidences, kind="stable")
        wrong = np.cumsum(~self.good[order])
        sure = self.confidences[order]
        last = np.append(sure[1:] != sure[:-1], True)
        counts = np.arange(1, len(order) + 1)
        rows = zip(counts[last] / len(order), wrong[last] / counts[last], strict=True)
        return tuple((float(coverage), float(risk)) for coverage, risk in rows)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which sentences reach the threshold."""
        return self.confidences >= self.threshold

    @property
    def abstained(self) -> int:
        """How many sentences do not reach it."""
        return int((~self.kept).sum())

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the measures, and of the threshold its coverage and risk."""
        kept = self.kept
        risk = float(np.mean(~self.good[kept])) if kept.any() else None
        return {
            "least_chrf": self.least_chrf,
            "good": round(float(self.good.mean()), 4),
            "brier": round(self.brier, 4),
            "calibration_error": round(self.calibration_error, 4),
            "threshold": round(self.threshold, 4),
            "coverage": round(float(kept.mean()), 4),
            "abstained": self.abstained,
            "risk": None if risk is None else round(risk, 4),
            "risk_of_all": round(float(np.mean(~self.good)), 4),
        }
