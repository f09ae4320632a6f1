"""Language models fed by features: Light-T and transformers' encoder-decoders.

One face, `EncoderDecoder`: logits of a given text, generation, attention. Start token and padding
of the text side live here and nowhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MBartConfig, PreTrainedConfig
from transformers.models.mbart.modeling_mbart import MBartForConditionalGeneration

IGNORED = -100
"""Label of a position that no loss counts: padding."""

LIGHT_T_SIZES: dict[str, dict[str, int]] = {
    "tiny": {"layers": 1, "heads": 4, "width": 256, "ffn_dim": 1024},
    "small": {"layers": 2, "heads": 4, "width": 512, "ffn_dim": 2048},
    "base": {"layers": 3, "heads": 8, "width": 512, "ffn_dim": 2048},
    "large": {"layers": 4, "heads": 8, "width": 1024, "ffn_dim": 4096},
}
"""Sizes of FLa-LLM's Table 7: 3.61, 18.25, 25.61, 124.66 M parameters at 2,429 tokens."""


class LightTConfig(MBartConfig):
    """Configuration of Light-T: mBART's shape, with a language model head of its own."""

    model_type = "light_t"
    tie_word_embeddings: bool = False


AutoConfig.register("light_t", LightTConfig)


def light_t_config(
    size: str | dict[str, int], vocab_size: int, *, init_std: float | None = None, **settings: Any
) -> LightTConfig:
    """Configuration of a Light-T (FLa-LLM, section 3.2 and Table 7).

    Args:
        size: a name of `LIGHT_T_SIZES`, or a dict with its four keys.
        vocab_size: number of tokens of the tokenizer.
        init_std: spread of the initial weights; width ** -0.5 when not given, with which attention
            is not flat from the start (docs/decisions/0002-stage-1-take-off.md).
        settings: further fields of `MBartConfig`: dropout, token ids, ...

    Raises:
        KeyError: `size` is a name that is not in the table.
    """
    shape = LIGHT_T_SIZES[size] if isinstance(size, str) else size
    return LightTConfig(
        vocab_size=vocab_size,
        d_model=shape["width"],
        init_std=shape["width"] ** -0.5 if init_std is None else init_std,
        **{f"{side}_layers": shape["layers"] for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": shape["heads"] for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": shape["ffn_dim"] for side in ("encoder", "decoder")},
        **settings,
    )


class LightT(MBartForConditionalGeneration):
    """The light translation model of stage 1 (FLa-LLM, section 3.2).

    h = TextEncoder(g + PE), y = TextDecoder(WEL(o) + PE, h). An mBART-shaped network with learned
    positions on both sides, one word embedding (the decoder's:
    the encoder is fed features) and a separate head (FLa-LLM, section 3.2).
    """

    config_class = LightTConfig
    _tied_weights_keys: dict[str, str] = {}

    def __init__(self, config: LightTConfig) -> None:
        super().__init__(config)
        self.model._tied_weights_keys = {}
        self.model.shared = None
        self.model.encoder.embed_tokens = None

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's word embedding, the only one there is."""
        return self.model.decoder.embed_tokens


AutoModelForSeq2SeqLM.register(LightTConfig, LightT)


def language_model_config(config: dict[str, Any]) -> PreTrainedConfig:
    """Build a language model's transformers configuration from its dict (with `model_type`)."""
    settings = dict(config)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def shift_right(labels: Tensor, start_id: int, pad_id: int) -> Tensor:
    """Labels (batch, tokens) moved right by one behind the start token; padding for `IGNORED`."""
    start = labels.new_full((len(labels), 1), start_id)
    shifted = torch.cat([start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad_id)


class EncoderDecoder(nn.Module):
    """An encoder-decoder language model whose encoder reads features in the place of words.

    Args:
        config: the transformers configuration as dict; `decoder_start_token_id` is the language
            code with which every text starts (FLa-LLM: the target language's).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.model = AutoModelForSeq2SeqLM.from_config(language_model_config(config))

    @property
    def width(self) -> int:
        """Width of the embeddings that the model is fed."""
        return int(self.model.config.hidden_size)

    @property
    def max_positions(self) -> int | None:
        """Longest sequence on either side, in positions; None where nothing limits it."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def forward(self, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits of a text given the features.

        Args:
            embeds: (batch, time, width) adapted features.
            mask: (batch, time) bool.
            labels: (batch, tokens), `IGNORED` where padded.

        Returns:
            (batch, tokens, vocabulary), position i predicting labels[:, i].
        """
        return self.model(
            inputs_embeds=embeds,
            attention_mask=mask.long(),
            decoder_input_ids=self.decoder_inputs(labels),
            use_cache=False,
        ).logits

    def decoder_inputs(self, labels: Tensor) -> Tensor:
        """What the decoder reads to predict `labels`; see `shift_right`."""
        config = self.model.config
        return shift_right(labels, config.decoder_start_token_id, config.pad_token_id)

    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """transformers' `generate` from adapted features (batch, time, width)."""
        return self.model.generate(inputs_embeds=embeds, attention_mask=mask.long(), **settings)

    def attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Cross-attention of each generated token over the features.

        Args:
            embeds: (batch, time, width) adapted features.
            mask: (batch, time) bool.
            token_ids: (batch, tokens) as `generate` gives them, without the start token; padded
                with the padding token.

        Returns:
            (batch, tokens, time), the mean over layers and heads; each row sums to 1.
        """
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # the fast kernels do not hand attention out
        try:
            output = self.model(
                inputs_embeds=embeds,
                attention_mask=mask.long(),
                decoder_input_ids=self.decoder_inputs(token_ids),
                output_attentions=True,
                use_cache=False,
            )
        finally:
            self.model.set_attn_implementation(before)
        return torch.stack(output.cross_attentions).mean(dim=(0, 2))
