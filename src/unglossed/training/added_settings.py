"""Settings of what a stage can have beside its translation, and of objectives of their own.

`settings.py` says where in a stage each of them stands.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unglossed.config import WHOLE, Factor, Settings, Share, Weight


class DraftSettings(Settings):
    """The draft of a clip: its translation by the earlier stage."""

    lead: str = ""
    """Words in front of it, for a model that reads instructions; `{confidence}` in them is how sure
    the draft is, in percent."""
    beams: Annotated[int, Field(gt=0, le=256), WHOLE] = 1
    """Beam width of its search."""


class RetrievalSettings(Settings):
    """Texts of train whose similarity to a clip, by the earlier stage's alignment, is largest."""

    number: Annotated[int, Field(gt=0, le=100), WHOLE] = 3
    """How many (SignRAG: 3). In training neither a clip's own text nor an equal one is taken."""
    lead: str = ""
    """Words in front of each; `{confidence}` in them is its similarity, in percent."""


class ContextSettings(Settings):
    """Texts that the language model reads behind the features; see `models/context.py`."""

    source: str
    """The earlier stage whose model finds them, from the same frozen encoder's features."""
    draft: DraftSettings | None = DraftSettings()
    """None: no draft."""
    retrieved: RetrievalSettings | None = None
    """None: no texts of train. They need an alignment in the source."""
    folds: Annotated[int, Field(ge=0, le=100), WHOLE] = 5
    """So many times the source is trained without a part of train's sentences, to find the texts of
    that part's clips: they are then as wrong as those of new clips. 0, without a draft alone: the
    source itself finds them, which has seen the clips."""
    dropped: Share = 0.5
    """Chance in training that a clip's draft is left out, and that its retrieved texts are, each
    drawn in each epoch (SignRAG, of retrieved texts: 0.5)."""

    @model_validator(mode="after")
    def _finds_something(self) -> ContextSettings:
        if self.draft is None and self.retrieved is None:
            raise ValueError("found neither draft nor retrieved, expected one of them at least")
        if self.folds == 1 or (self.folds == 0 and self.draft is not None):
            raise ValueError(
                f"folds: found {self.folds}, expected 2 at least, or 0 without a draft: a model"
                " drafts no clip that it was trained on"
            )
        return self


class RewardSettings(Settings):
    """How the texts that a model draws are rewarded (GRPO, arXiv 2402.03300)."""

    metric: Literal["bleu", "chrf"] = "bleu"
    """Of a sentence, by sacreBLEU."""
    group: Annotated[int, Field(ge=2, le=1_000), WHOLE] = 8
    """Texts that are drawn of each clip, and compared with each other."""
    kl: Weight = 0.04
    """How much the divergence from the start model counts (GRPO: 0.04); with 0 no copy of that
    model is held in memory."""


class TextContrastSettings(Settings):
    """How several wordings of a clip's text are brought together (SimCSE, arXiv 2104.08821)."""

    temperature: Annotated[float, Field(ge=0.01, le=100)] = 0.05
    """Cosines are divided by it (SimCSE: 0.05)."""
    both_ways: bool = False
    """Let each token of a decoder-only model see those behind it; so is `alignment.both_ways` of
    the stage that it teaches."""


class MaskedFeaturesSettings(Settings):
    """A second reading of each clip, by a decoder-only model, from which some features are missing.

    Its states are drawn to those of the first (ST-LLM, arXiv 2404.00308); see
    `models/feature_masking.py`.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the features, hidden; anew for each clip in each step (ST-LLM: around a half)."""
    weight: Factor = 1.0
    """How much the states' distance counts beside the translation."""
