"""A language model as a reader of whole sentences, while it learns that paraphrases are alike.

What is saved is the language model alone: `TextReader` is its clothing in training.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from unglossed.models.language_model import IGNORED, build_language_model
from unglossed.models.token_alignment import read_states
from unglossed.models.translator import PartModel


class TextReaderConfig(PreTrainedConfig):
    """Configuration of a `TextReader`: `language_model` and `lora` as in a `TranslatorConfig`."""

    model_type = "unglossed_text_reader"

    language_model: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    both_ways: bool = False


AutoConfig.register("unglossed_text_reader", TextReaderConfig)


class TextReader(PartModel):
    """Sentences to embeddings: the mean of a language model's last states, of length 1."""

    config_class = TextReaderConfig
    base_model_prefix = "text_reader"
    main_input_name = "texts"
    parts: ClassVar[tuple[str, ...]] = ("language_model",)

    def build_parts(self, config: TextReaderConfig) -> None:
        """Make the language model."""
        assert config.language_model
        self.language_model = build_language_model(config.language_model, lora=config.lora)

    def forward(self, texts: Tensor, **_: Any) -> Tensor:
        """Embeddings (texts, width) of texts (texts, tokens), `IGNORED` where padded.

        What else a batch has is for the loss alone.
        """
        real = texts != IGNORED
        ids = texts.masked_fill(~real, 0)
        model = self.language_model.model
        states = read_states(model, ids, real, both_ways=self.config.both_ways).float()
        sums = states.masked_fill(~real[..., None], 0.0).sum(1)
        return nn.functional.normalize(sums / real.sum(1, keepdim=True), dim=-1)


AutoModel.register(TextReaderConfig, TextReader)
