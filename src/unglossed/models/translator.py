"""The translator: encoder, adapter and language model as one transformers model.

The same class serves every stage of a recipe; what differs is its configuration and what is frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from unglossed.models.adapter import Adapter
from unglossed.models.language_model import build_face
from unglossed.models.lora import is_lora
from unglossed.models.speech import SpeechEncoder
from unglossed.models.visual import VisualEncoder

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


class Translator(PreTrainedModel):
    """encoder -> adapter -> language model (FLa-LLM, sections 3.2 and 3.3).

    1. The encoder turns packed frames into features (batch, time, dim) and a mask.
    2. The adapter maps them to the width of the language model.
    3. The language model reads them in the place of embedded words and writes the text.

    A frozen part has no gradients and stays in eval mode whatever `train()` says, so that its
    normalisation statistics do not drift.
    """

    config_class = TranslatorConfig
    base_model_prefix = "translator"
    main_input_name = "frames"
    _supports_sdpa = True

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config)
        assert config.encoder and config.adapter and config.language_model
        kind = SpeechEncoder if "frontend" in config.encoder else VisualEncoder
        self.encoder: VisualEncoder | SpeechEncoder = kind(config.encoder)
        self.language_model = build_face(config.language_model, config.prompt, config.lora)
        self.adapter = Adapter(self.encoder.output_dim, self.language_model.width, config.adapter)
        self.frozen_parts: tuple[str, ...] = ()
        self.post_init()
        # transformers looks for tied weights in direct children only; the language model is deeper.
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave adapter and temporal module as torch made them; the rest initialises itself."""

    def freeze(self, parts: Iterable[str]) -> None:
        """Take gradients from the named parts (of `PARTS`) and hold them in eval mode.

        Of a language model with LoRA only LoRA's matrices have gradients.
        """
        self.frozen_parts = tuple(parts)
        for name in PARTS:
            getattr(self, name).requires_grad_(name not in self.frozen_parts)
        if self.config.lora is not None:
            for name, weight in self.language_model.named_parameters():
                weight.requires_grad_(weight.requires_grad and is_lora(name))
        self.train(self.training)

    def train(self, mode: bool = True) -> Translator:
        """Set training mode, for all but the frozen parts."""
        super().train(mode)
        for name in self.frozen_parts:
            getattr(self, name).eval()
        return self

    def encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, time, dim) and mask of packed frames; see the encoder's `forward`."""
        return self.encoder(frames, lengths)

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
        if features is None:
            assert frames is not None and lengths is not None
            features, mask = self.encode(frames, lengths)
        embeds, mask = self.adapter(features, mask)
        return TranslatorOutput(logits=self.language_model(embeds, mask, labels))

    def generate(self, features: Tensor, mask: Tensor, **settings: Any) -> Any:
        """transformers' `generate` from the encoder's features (batch, time, dim)."""
        return self.language_model.generate(*self.adapter(features, mask), **settings)

    def attend(self, features: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Attention (batch, tokens, time) of tokens over frames; see `EncoderDecoder.attend`."""
        embeds, mask = self.adapter(features, mask)
        return self.language_model.attend(embeds, mask, token_ids)
