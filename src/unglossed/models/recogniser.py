"""A recogniser: an encoder with one linear layer on top, for CTC.

It is there to train the encoder, on glosses (gloss-based inheritance) or on what is said (a speech
frontend); a translator takes the encoder over. What is said of glosses holds for letters as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.utils import ModelOutput

from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.translator import PartModel

BLANK = 0
"""CTC's symbol for no gloss; glosses are numbered from 1 in the vocabulary's order."""


class GlossRecogniserConfig(PreTrainedConfig):
    """Configuration of a `GlossRecogniser`: its encoder as dict, and the vocabulary of glosses."""

    model_type = "unglossed_gloss"

    encoder: dict[str, Any] | None = None
    glosses: list[str] | None = None


AutoConfig.register("unglossed_gloss", GlossRecogniserConfig)


@dataclass
class GlossOutput(ModelOutput):
    """What a forward pass gives: `logits` (batch, time, 1 + glosses) and `mask` (batch, time)."""

    logits: Tensor | None = None
    mask: Tensor | None = None


class GlossRecogniser(PartModel):
    """encoder -> linear head over blank and glosses (CTC, Graves et al. 2006)."""

    config_class = GlossRecogniserConfig
    base_model_prefix = "recogniser"
    parts = ("encoder", "ctc_head")

    def build_parts(self, config: GlossRecogniserConfig) -> None:
        """Make encoder and head."""
        assert config.encoder and config.glosses
        self.encoder: Encoder = build_encoder(config.encoder)
        self.ctc_head = nn.Linear(self.encoder.output_dim, 1 + len(config.glosses))

    def forward(
        self,
        frames: Tensor | None = None,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> GlossOutput:
        """Logits of blank and glosses at each kept frame; see `features_of` for the arguments.

        `labels` are the loss's concern alone.
        """
        del labels
        features, mask = self.features_of(frames, lengths, features, mask)
        return GlossOutput(logits=self.ctc_head(features), mask=mask)


def gloss_ids(gloss: str, glosses: Sequence[str]) -> list[int]:
    """Numbers of a clip's glosses, which are separated by spaces; those not in `glosses` go."""
    number = {name: index for index, name in enumerate(glosses, start=1)}
    return [number[name] for name in gloss.split() if name in number]


def as_letters(transcript: str) -> str:
    """A text as symbols separated by spaces: its letters in lower case, and | between words."""
    return " ".join("|".join(transcript.casefold().split()))


def from_letters(symbols: str) -> str:
    """The text of symbols that `as_letters` made."""
    return " ".join(symbols.replace(" ", "").replace("|", " ").split())


def frames_needed(ids: Sequence[int]) -> int:
    """Fewest positions that CTC can spell these in: a blank has to part two of the same."""
    return len(ids) + sum(first == second for first, second in pairwise(ids))


def decode_greedily(logits: Tensor, mask: Tensor, glosses: Sequence[str]) -> list[str]:
    """Glosses of the likeliest symbol at each position, repetitions joined and blanks left out.

    Args:
        logits: (batch, time, 1 + glosses).
        mask: (batch, time) bool.
        glosses: the vocabulary.

    Returns:
        For each clip its glosses, separated by spaces.
    """
    rows = [best[real].tolist() for best, real in zip(logits.argmax(-1), mask, strict=True)]
    joined = ([symbol for symbol, _ in groupby(row)] for row in rows)
    return [" ".join(glosses[symbol - 1] for symbol in row if symbol != BLANK) for row in joined]


AutoModel.register(GlossRecogniserConfig, GlossRecogniser)
