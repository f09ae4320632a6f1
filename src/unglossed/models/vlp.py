"""Visual-language pre-training, stage 1 of GFSLT-VLP (Zhou et al., ICCV 2023, arXiv 2307.14768).

A translator with a text encoder beside it: clips and sentences are brought into one space, and
the translator's decoder learns to restore masked sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
from transformers.utils import ModelOutput

from unglossed import hub
from unglossed.models.language_model import IGNORED, EncoderDecoder, language_model_config
from unglossed.models.translator import PARTS, Translator, TranslatorConfig
from unglossed.ranks import here

FIRST_TEMPERATURE = 0.07
"""Where the learned temperature of the similarities starts (CLIP's, arXiv 2103.00020)."""


class VisualLanguageConfig(TranslatorConfig):
    """A translator's configuration, and the model whose encoder reads the sentences."""

    model_type = "unglossed_vlp"

    text_encoder: dict[str, Any] | None = None


AutoConfig.register("unglossed_vlp", VisualLanguageConfig)


@dataclass
class VisualLanguageOutput(ModelOutput):
    """What a forward pass gives."""

    logits: Tensor | None = None
    """(batch, tokens, vocabulary) of the restored sentences."""
    similarities: Tensor | None = None
    """(clips, sentences) cosines over the temperature."""


class Alignment(nn.Module):
    """What the comparison of clips with sentences needs and a translator has no use for.

    A token at the front of every clip whose state stands for the clip, a linear map of this state
    to the sentences' space, and the temperature.
    """

    def __init__(self, clip_dim: int, text_dim: int) -> None:
        super().__init__()
        self.clip_token = nn.Parameter(torch.randn(clip_dim))
        self.projection = nn.Linear(clip_dim, text_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / FIRST_TEMPERATURE)))

    def forward(self, clips: Tensor, texts: Tensor) -> Tensor:
        """Similarities (clips, sentences) of embeddings of length 1: (clips, dim), (texts, dim)."""
        with torch.autocast(clips.device.type, enabled=False):  # bfloat16 is too coarse for them
            scale = here().evenly(self.log_scale).exp()
            return scale * clips.float() @ texts.float().T


class VisualLanguageModel(Translator):
    """A translator that is pre-trained with a text encoder (GFSLT-VLP, section 3.2).

    1. Encoder, adapter and the language model's encoder turn a clip into states; that of a token
       put in front of it is the clip's embedding.
    2. The text encoder turns a sentence into states; that of its end token is its embedding.
    3. The language model's decoder reads the text encoder's states of the masked sentence and
       writes the whole one. No gradient goes back from here into the text encoder.
    """

    config_class = VisualLanguageConfig
    base_model_prefix = "visual_language"
    parts = (*PARTS, "text_encoder", "alignment")

    def build_parts(self, config: VisualLanguageConfig) -> None:
        """Make the translator's parts, the text encoder and the alignment.

        Raises:
            ValueError: a language model is no encoder-decoder, or their widths differ.
        """
        super().build_parts(config)
        assert config.text_encoder
        reader = language_model_config(config.text_encoder)
        if not (reader.is_encoder_decoder and isinstance(self.language_model, EncoderDecoder)):
            raise ValueError("found a decoder-only model, expected two encoder-decoders")
        width = self.language_model.width
        if reader.hidden_size != width:
            raise ValueError(
                f"text_encoder: found width {reader.hidden_size}, expected the language model's"
                f" {width}"
            )
        self.text_encoder = hub.build(AutoModelForSeq2SeqLM, reader).get_encoder()
        self.alignment = Alignment(width, width)

    def forward(  # type: ignore[override]  # texts are read masked, in one language
        self,
        frames: Tensor | None = None,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> VisualLanguageOutput:
        """Similarities of clips and sentences, and logits of the sentences from their masked form.

        Processes that train together compare the clips and sentences of all.

        Of the sentences, `labels` (batch, tokens) are whole, `IGNORED` where padded; `input_ids`
        (batch, positions) masked. See `features_of` for what says the clips.
        """
        assert labels is not None and input_ids is not None and attention_mask is not None
        clips = self.embed_clips(*self.features_of(frames, lengths, features, mask))
        texts = self.embed_texts(labels)
        return VisualLanguageOutput(
            logits=self.restore(input_ids, attention_mask, labels),
            similarities=self.alignment(here().gathered(clips), here().gathered(texts)),
        )

    def embed_clips(self, features: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (batch, dim) of length 1 of the encoder's features (batch, time, dim)."""
        embeds, mask = self.adapter(features, mask)
        token = self.alignment.clip_token.to(embeds.dtype).expand(len(embeds), 1, -1)
        states = self.language_model.model.get_encoder()(
            inputs_embeds=torch.cat([token, embeds], 1),
            attention_mask=nn.functional.pad(mask, (1, 0), value=True).long(),
        ).last_hidden_state
        return nn.functional.normalize(self.alignment.projection(states[:, 0]).float(), dim=-1)

    def embed_texts(self, labels: Tensor) -> Tensor:
        """Embeddings (batch, dim) of length 1 of sentences (batch, tokens), each with its end."""
        real = labels != IGNORED
        pad_id = self.language_model.model.config.pad_token_id
        states = self.text_encoder(
            input_ids=labels.masked_fill(~real, pad_id), attention_mask=real.long()
        ).last_hidden_state
        last = real.sum(1) - 1
        ends = states[torch.arange(len(last), device=last.device), last]
        return nn.functional.normalize(ends.float(), dim=-1)

    def restore(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Logits (batch, tokens, vocabulary) of sentences, from their masked form."""
        with torch.no_grad():
            states = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask)
        assert isinstance(self.language_model, EncoderDecoder)
        return self.language_model.write(states.last_hidden_state, attention_mask, labels)


AutoModel.register(VisualLanguageConfig, VisualLanguageModel)
