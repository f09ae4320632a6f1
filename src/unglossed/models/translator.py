"""The translator: encoder, adapter and language model as one transformers model.

The same class serves every stage of a recipe; what differs is its configuration and what is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.utils import ModelOutput

from unglossed.models.adapter import build_adapter
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.language_model import build_face
from unglossed.models.parts import PartModel

PARTS = ("encoder", "adapter", "language_model")


class TranslatorConfig(PreTrainedConfig):
    """Configuration of a `Translator`: one dict a part (see the part's class for its keys).

    `prompt` and `lora` are those of `LanguageModel`.
    """

    model_type = "unglossed"

    encoder: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None
    language_model: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    is_encoder_decoder: bool = True


AutoConfig.register("unglossed", TranslatorConfig)


@dataclass
class TranslatorOutput(ModelOutput):
    """What a forward pass gives: `logits` (batch, tokens, vocabulary)."""

    logits: Tensor | None = None


class Translator(PartModel):
    """encoder -> adapter -> language model (FLa-LLM, sections 3.2 and 3.3).

    1. The encoder turns packed frames into features (batch, time, dim) and a mask.
    2. The adapter maps them to the width of the language model, and may make them fewer.
    3. The language model reads them in the place of embedded words and writes the text.
    """

    config_class = TranslatorConfig
    base_model_prefix = "translator"
    parts: ClassVar[tuple[str, ...]] = PARTS

    def build_parts(self, config: TranslatorConfig) -> None:
        """Make encoder, language model and adapter."""
        assert config.encoder and config.adapter and config.language_model
        self.encoder: Encoder = build_encoder(config.encoder)
        self.language_model = build_face(config.language_model, config.prompt, config.lora)
        width = self.language_model.width
        self.adapter = build_adapter(self.encoder.output_dim, width, config.adapter)

    def forward(
        self,
        frames: Tensor | None = None,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TranslatorOutput:
        """Logits of the labels' text given the clips.

        Args:
            frames: (sum of lengths, height, width, 3) uint8, or (sum of lengths,) float32 samples
                of sound; or else `features` and `mask`.
            lengths: (batch,) frames or samples of each clip.
            features: (batch, time, dim) the encoder's features, when already known.
            mask: (batch, time) bool, True where real.
            labels: (batch, tokens), -100 where padded.
        """
        embeds, mask = self.adapter(*self.features_of(frames, lengths, features, mask))
        return TranslatorOutput(logits=self.language_model(embeds, mask, labels))

    def generate(self, features: Tensor, mask: Tensor, **settings: Any) -> Any:
        """transformers' `generate` from the encoder's features (batch, time, dim)."""
        return self.language_model.generate(*self.adapter(features, mask), **settings)

    def positions(self, features: int) -> int:
        """Positions that the language model reads of so many features, prompt included."""
        return self.adapter.output_lengths(features) + self.language_model.prompt_length

    def attend(self, features: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Attention (batch, tokens, time) of tokens over features; see `LanguageModel.attend`."""
        embeds, positions = self.adapter(features, mask)
        weights = self.language_model.attend(embeds, positions, token_ids)
        return self.adapter.spread(weights, mask)


AutoModel.register(TranslatorConfig, Translator)
