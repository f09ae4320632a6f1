"""A recogniser: an encoder with one linear layer on top, for CTC.

It is there to train the encoder, on glosses (gloss-based inheritance) or on the letters of
transcripts (a speech frontend): symbols, either way. A translator takes the encoder over.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.translator import Tagger

BLANK = 0
"""CTC's number for no symbol; symbols are numbered from 1 in the vocabulary's order."""


class RecogniserConfig(PreTrainedConfig):
    """Configuration of a `Recogniser`: its encoder as dict, and the vocabulary of symbols."""

    model_type = "unglossed_recogniser"

    encoder: dict[str, Any] | None = None
    symbols: list[str] | None = None


class _EarlierConfig(RecogniserConfig):
    """Reads what versions before 0.1 saved."""

    model_type = "unglossed_gloss"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        symbols = {"symbols": config_dict["glosses"]}
        kept = {key: config_dict[key] for key in config_dict.keys() - {"model_type", "glosses"}}
        return RecogniserConfig.from_dict(kept | symbols, **kwargs)


for _config in (RecogniserConfig, _EarlierConfig):
    AutoConfig.register(_config.model_type, _config)


class Recogniser(Tagger):
    """encoder -> linear head over blank and symbols (CTC, Graves et al. 2006)."""

    config_class = RecogniserConfig
    base_model_prefix = "recogniser"
    parts = ("encoder", "ctc_head")

    def build_parts(self, config: RecogniserConfig) -> None:
        """Make encoder and head."""
        assert config.encoder and config.symbols
        self.encoder: Encoder = build_encoder(config.encoder)
        self.ctc_head = nn.Linear(self.encoder.output_dim, 1 + len(config.symbols))

    def tag(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits of blank and symbols."""
        return self.ctc_head(features)


AutoModel.register(RecogniserConfig, Recogniser)


def symbol_ids(text: str, symbols: Sequence[str]) -> list[int]:
    """Numbers of a clip's symbols, which spaces separate; those not in the vocabulary go."""
    number = {name: index for index, name in enumerate(symbols, start=1)}
    return [number[name] for name in text.split() if name in number]


def as_letters(transcript: str) -> str:
    """A text as symbols separated by spaces: its letters in lower case, and | between words."""
    return " ".join("|".join(transcript.casefold().split()))


def from_letters(symbols: str) -> str:
    """The text of symbols that `as_letters` made."""
    return " ".join(symbols.replace(" ", "").replace("|", " ").split())


def frames_needed(ids: Sequence[int]) -> int:
    """Fewest positions that CTC can spell these in: a blank has to part two of the same."""
    return len(ids) + sum(first == second for first, second in pairwise(ids))


def decode_greedily(logits: Tensor, mask: Tensor, symbols: Sequence[str]) -> list[str]:
    """Each clip's likeliest symbols, separated by spaces: repetitions joined, blanks left out.

    From logits (batch, time, 1 + symbols) and their mask (batch, time).
    """
    rows = [best[real].tolist() for best, real in zip(logits.argmax(-1), mask, strict=True)]
    joined = ([number for number, _ in groupby(row)] for row in rows)
    return [" ".join(symbols[number - 1] for number in row if number != BLANK) for row in joined]
