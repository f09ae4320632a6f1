"""Settings of how a text is searched for, and the file beside a model that holds its own.

The search itself is `search.py`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from unglossed.config import Settings, check_settings, read_settings
from unglossed.errors import InputError

MOST = {
    "beams": (256, "every beam is a row of the model's batch"),
    "n_best": (256, "every text is a beam or a draw of its own"),
    "batch_size": (4096, "the clips of a batch are in memory together"),
    "read_ahead": (65536, "the features of so many clips are in memory together"),
    "max_new_tokens": (16384, "no language model has positions for more"),
}
"""The largest value of each, and why."""


def check_count(name: str, value: object, told: str | None = None) -> None:
    """Refuse what is no whole number from 1 to the largest of its name.

    Args:
        name: key of `MOST`.
        value: what was given.
        told: how the message calls it; its name if not given.

    Raises:
        InputError: it is no such number.
    """
    most, why = MOST[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{told or name}: found {value!r}, expected a whole number from 1 on")
    if value > most:
        raise InputError(f"{told or name}: found {value}, expected at most {most}: {why}")


DECODING_FILE = "decoding.yaml"
"""Beside a model: the settings of the recipe that it was trained with."""


class DecodingSettings(Settings):
    """How a text is searched for (FLa-LLM: 5 beams, 150 tokens; LST: 4 beams, 500 tokens)."""

    beams: Annotated[int, Field(ge=1, le=MOST["beams"][0])] = 5
    """Width of the beam search; 1 is greedy. No effect when texts are drawn."""
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST["max_new_tokens"][0])] = 150
    """Longest text, in tokens."""
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Beams are ranked by log-probability / length ** this: above 1 favours longer texts. No
    effect without beams."""
    language_contrast: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Strength of language-contrastive decoding (LCD, arXiv 2408.04664); 0 is off."""
    sample: bool = False
    """Draw each token from the model's distribution instead of searching for the best text."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The log-probabilities are divided by this before a token is drawn."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens alone, as few as have this probability together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draws."""

    @model_validator(mode="after")
    def _for_drawing(self) -> DecodingSettings:
        for name in ("temperature", "top_p"):
            if getattr(self, name) != 1 and not self.sample:
                raise ValueError(f"{name} is for drawing texts: set sample as well")
        return self

    def change(self, **fields: Any) -> DecodingSettings:
        """These settings with other values for some fields.

        Raises:
            InputError: no such field, or a value out of range.
        """
        return check_settings(DecodingSettings, {**self.model_dump(), **fields}, Path("decoding"))


def load_decoding(source: str) -> DecodingSettings:
    """Settings that lie beside a model, or the defaults where there are none.

    Args:
        source: a model folder or a name on the hub.

    Raises:
        InputError: the file holds something else.
    """
    from unglossed import hub  # late: the command line reads the bounds above before torch

    path = hub.find_file(source, DECODING_FILE)
    return DecodingSettings() if path is None else read_settings(DecodingSettings, path)
