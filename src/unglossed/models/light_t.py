"""Light-T, the light translation model of FLa-LLM's stage 1, and its four sizes."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MBartConfig
from transformers.models.mbart.modeling_mbart import MBartForConditionalGeneration

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
    fields = {"layers": "layers", "attention_heads": "heads", "ffn_dim": "ffn_dim"}
    return LightTConfig(
        vocab_size=vocab_size,
        d_model=shape["width"],
        init_std=shape["width"] ** -0.5 if init_std is None else init_std,
        **{f"encoder_{field}": shape[key] for field, key in fields.items()},
        **{f"decoder_{field}": shape[key] for field, key in fields.items()},
        **settings,
    )


class LightT(MBartForConditionalGeneration):
    """The light translation model of stage 1 (FLa-LLM, section 3.2).

    h = TextEncoder(g + PE), y = TextDecoder(WEL(o) + PE, h). An mBART-shaped network with learned
    positions on both sides, one word embedding (the decoder's: the encoder is fed features) and a
    separate head.
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
