"""How far a translation can be trusted: a probability that dev has calibrated, and when to abstain.

`unglossed calibrate` fits it and writes `confidence.json` into the model's folder. Here it is read
and applied; a model without the file has no confidence, and never abstains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from unglossed import hub
from unglossed.config import AS_LIST, Settings, Share, check_settings

CONFIDENCE_FILE = "confidence.json"
"""Beside a model."""
EVIDENCE = ("score", "agreement", "gain", "steadiness", "oddness", "similarity")
"""What speaks for a translation: the model's own score; the mean chrF to the other texts found; how
much likelier the clip makes the text; the mean cosine of features that follow one another; how far
the clip's mean feature is from dev's clips; and, where an alignment was kept, its similarity."""
_MOST = 6.0
"""Standard deviations from dev's mean that evidence counts at most."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Numbers = Annotated[tuple[_Number, ...], AS_LIST]


class Scale(Settings):
    """Mean and standard deviation of a kind of evidence over dev's clips."""

    mean: _Number
    spread: Annotated[float, Field(gt=0)]


class Logistic(Settings):
    """A logistic regression: the probability is 1 / (1 + exp(-bias - weights . x))."""

    bias: _Number
    weights: _Numbers

    def of(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (rows,) of inputs (rows, weights)."""
        logits = inputs @ np.array(self.weights) + self.bias
        probabilities: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))  # no overflow
        return probabilities


class Confidence(Settings):
    """A calibrated confidence, as `confidence.json` holds it.

    It is the probability that a sentence is good, which is that a clip like dev's was seen, times
    that its sentence is good then.
    """

    version: Annotated[int, Field(ge=1, le=1)] = 1
    """Of the file's form."""
    least_chrf: Annotated[float, Field(gt=0, le=100)]
    """A sentence is good from this chrF (0 to 100) with its reference on."""
    coverage: Share
    """Share of dev's clips that the threshold keeps, at least."""
    threshold: Share
    """Sentences of less confidence are not given."""
    scales: dict[str, Scale]
    """Of each kind of evidence."""
    centre: _Numbers
    """Mean over dev's clips of each clip's mean feature."""
    spread: _Numbers
    """Standard deviation of the same."""
    seen: Logistic
    """Whether a clip is one like dev's: weights of all evidence, then of its squares."""
    good: Logistic
    """Whether the sentence of such a clip is good: weights of all evidence."""
    decoding: dict[str, Any]
    """The settings with which texts were searched for."""
    dev: dict[str, Any] = {}
    """What was seen on dev, out of fold: for readers."""

    @model_validator(mode="after")
    def _fits(self) -> Confidence:
        unknown = [name for name in self.scales if name not in EVIDENCE]
        if unknown:
            raise ValueError(
                f".scales: found {unknown[0]!r}, expected of {', '.join(EVIDENCE)} some"
            )
        for name, found, expected in (
            ("seen.weights", len(self.seen.weights), 2 * len(self.scales)),
            ("good.weights", len(self.good.weights), len(self.scales)),
            ("spread", len(self.spread), len(self.centre)),
        ):
            if found != expected:
                raise ValueError(f".{name}: found {found} numbers, expected {expected}")
        if any(value <= 0 for value in self.spread):
            raise ValueError(".spread: found a number that is not above 0")
        return self

    @classmethod
    def load(cls, source: str | Path) -> Confidence | None:
        """Load it from a model's folder or hub name; None: the model was not calibrated.

        Raises:
            InputError: the file holds something else.
        """
        content = hub.read_fields(source, CONFIDENCE_FILE)
        if content is None:
            return None
        return check_settings(cls, content, Path(str(source), CONFIDENCE_FILE))

    def __str__(self) -> str:
        """What was seen on dev, for people."""
        dev = self.dev
        withheld = ", ".join(
            f"{kind} {100 * share:.1f} %" for kind, share in dev["abstained_corrupted"].items()
        )
        return (
            f"confidence: a chrF of {self.least_chrf:g} or more, as {100 * dev['good']:.1f} % of"
            f" {dev['clips']:,} clips have it; calibration error {dev['calibration_error']:.3f}\n"
            f"below {self.threshold:.3f} no sentence is given: {dev['abstained']:,} of"
            f" {dev['clips']:,} clips; corrupted ones: {withheld}"
        )

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    @property
    def needs_alignment(self) -> bool:
        """Whether the similarity of a kept alignment is among the evidence."""
        return "similarity" in self.scales

    def inputs(self, evidence: Mapping[str, float]) -> NDArray[np.float64]:
        """Evidence in standard deviations from dev's mean, (kinds,)."""
        values = [(evidence[name] - one.mean) / one.spread for name, one in self.scales.items()]
        return np.clip(np.array(values), -_MOST, _MOST)

    def of(self, evidence: Mapping[str, float]) -> float:
        """The confidence (0 to 1) of a translation."""
        inputs = self.inputs(evidence)[None]
        return float((self.seen.of(with_squares(inputs)) * self.good.of(inputs))[0])

    def of_clip(self, evidence: Mapping[str, float], features: Tensor) -> float:
        """The confidence of a translation, whose evidence lacks its oddness, of these features."""
        return self.of({**evidence, "oddness": self.oddness(features)})

    def oddness(self, features: Tensor) -> float:
        """See `oddness_of`."""
        return oddness_of(features, np.array(self.centre), np.array(self.spread))


def with_squares(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inputs (rows, kinds), then their squares, so that what is too much can count as too little.

    The squares are scaled to the range of the inputs.
    """
    return np.concatenate([inputs, inputs**2 / _MOST], axis=1)


def steadiness_of(features: Tensor) -> float:
    """Mean cosine of features (time, dim) that follow one another; 1 of a single one."""
    rows = features.double().numpy()
    if len(rows) < 2:
        return 1.0
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return float((rows[1:] * rows[:-1]).sum(1).mean())


def mean_feature(features: Tensor) -> NDArray[np.float64]:
    """Mean (dim,) of features (time, dim)."""
    mean: NDArray[np.float64] = features.double().mean(0).numpy()
    return mean


def oddness_of(features: Tensor, centre: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """How far a clip's mean feature is from others', in their standard deviations.

    It is the logarithm of the root mean square over the dimensions.

    Args:
        features: (time, dim).
        centre: (dim,) mean of the others' mean features.
        spread: (dim,) their standard deviations.
    """
    off = (mean_feature(features) - centre) / spread
    return math.log(max(float(np.sqrt(np.mean(off**2))), 1e-6))
