"""The kinds of encoder, by their configuration; and the one that goes up to a text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from torch import Tensor, nn

from unglossed.models.adapter import build_adapter
from unglossed.models.language_model import build_language_model
from unglossed.models.speech import SpeechEncoder
from unglossed.models.visual import VisualEncoder


class TextEncoderStates(nn.Module):
    """The states of Light-T's text encoder as features (FLa-LLM, Table 8, last row).

    An encoder, the adapter and the language model's encoder that were trained on top of it, in the
    place of the encoder alone.

    Args:
        config: `encoder`, `adapter` and `text_encoder` (the encoder-decoder whose encoder it is),
            each as in a `TranslatorConfig`, and that model's `lora`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder: Encoder = build_encoder(config["encoder"])
        writer = build_language_model(config["text_encoder"], None, config["lora"])
        self.adapter = build_adapter(self.encoder.output_dim, writer.width, config["adapter"])
        self.text_encoder = writer.model.get_encoder()
        self.output_dim: int = writer.width
        self.max_positions = writer.max_positions

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips; see the forward of the encoder within.

        Returns:
            States (batch, time, dim), zero where padded, and the mask (batch, time).
        """
        embeds, mask = self.adapter(*self.encoder(frames, lengths))
        states = self.text_encoder(inputs_embeds=embeds, attention_mask=mask.long())
        return states.last_hidden_state * mask[..., None], mask

    def input_limit(self, positions: int | None) -> int | None:
        """Most frames or samples for so many positions, or as many as the text encoder has.

        None: nothing limits them.
        """
        known = [limit for limit in (positions, self.max_positions) if limit is not None]
        limit = self.adapter.input_limit(min(known)) if known else None
        return self.encoder.input_limit(limit)


Encoder = VisualEncoder | SpeechEncoder | TextEncoderStates
KINDS: dict[str, type[VisualEncoder] | type[SpeechEncoder] | type[TextEncoderStates]] = {
    "backbone": VisualEncoder,
    "frontend": SpeechEncoder,
    "text_encoder": TextEncoderStates,
}
"""Each kind of encoder by the key that its configuration alone has."""


def encoder_kind(config: Mapping[str, Any]) -> Any:
    """The class of the encoder that a configuration describes."""
    if "kind" in config:
        return entry_points(group="unglossed.encoders")[config["kind"]].load()
    return next(kind for key, kind in KINDS.items() if key in config)


def build_encoder(config: dict[str, Any]) -> Encoder:
    """Build an encoder, random weights; see `encoder_kind`."""
    encoder: Encoder = encoder_kind(config)(config)
    return encoder
