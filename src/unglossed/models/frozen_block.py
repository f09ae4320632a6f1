"""A frozen layer of a language model behind a visual encoder, between two linear maps.

Pang et al., "Frozen Transformers in Language Models Are Effective Visual Encoder Layers", ICLR
2024, arXiv 2310.12973. What the layer has learned of text sorts out features, too; it is never
trained, and gradients go through it to what lies before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from unglossed import hub
from unglossed.models.language_model import language_model_config

KEY = "frozen_block"
"""Key of an encoder's configuration."""


def block_config(config: PreTrainedConfig, layer: int) -> dict[str, Any]:
    """Configuration of a model that has one layer of another one, and no words.

    Args:
        config: of a decoder-only language model.
        layer: number of the layer; from the end if negative.

    Raises:
        ValueError: there is no such layer, or the model is of another kind.
    """
    text = config.get_text_config()
    count = getattr(text, "num_hidden_layers", None)
    if text.is_encoder_decoder or count is None:
        raise ValueError(
            f"found a model of the type {config.model_type!r}, expected a decoder-only one, such as"
            " llama"
        )
    if not -count <= layer < count:
        raise ValueError(f"found layer {layer}, expected one from {-count} to {count - 1}")
    fields: dict[str, Any] = text.to_dict()
    for key, value in fields.items():
        if isinstance(value, list) and len(value) == count:  # such as `layer_types`
            fields[key] = [value[layer]]
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    return fields | ids | {"num_hidden_layers": 1, "vocab_size": 1, "dtype": "float32"}


def block_weights(model: Any, layer: int) -> dict[str, Tensor]:
    """Weights of a layer of a language model and of its last norm, as in `FrozenBlock.model`."""
    decoder = model.get_decoder()
    layers = {f"layers.0.{name}": one for name, one in decoder.layers[layer].state_dict().items()}
    return layers | {f"norm.{name}": one for name, one in decoder.norm.state_dict().items()}


class FrozenBlock(nn.Module):
    """Features through a frozen layer of a language model (arXiv 2310.12973, section 3.1).

    y = W_back LM(W_into f + b_into) + b_back, where LM is one layer and the model's last norm. As
    there, each position sees all others, and no position is told: all have the position 0, so that
    rotary embeddings turn nothing against each other. Only the linear maps are trained. The layer
    is part of the encoder's state and saved with it.

    Args:
        dim: width of the features, before and behind.
        config: `model`, as `block_config` gives it.

    Raises:
        ValueError: the configuration is not one of these.
    """

    def __init__(self, dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        if set(config) != {"model"}:
            raise ValueError(
                f"{KEY}: found {', '.join(sorted(config)) or 'no key'}, expected what the encoder"
                " that is taken over has: a new encoder alone can be given another block"
            )
        built = hub.build(AutoModelForCausalLM, language_model_config(config["model"]))
        self.model: PreTrainedModel = built.get_decoder()
        if not all(hasattr(self.model, name) for name in ("layers", "norm", "embed_tokens")):
            raise ValueError(
                f"{KEY}: found a model of the type {built.config.model_type!r}, whose layers are"
                " not known, expected one such as llama, mistral or qwen2"
            )
        self.model.embed_tokens = None  # it reads no words
        width = int(built.config.hidden_size)
        self.into, self.back = nn.Linear(dim, width), nn.Linear(width, dim)
        self.hold()

    def hold(self) -> None:
        """Take gradients from the layer's weights, whatever was given to all of an encoder's."""
        self.model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set training mode of the linear maps; the layer stays in eval mode."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features (batch, time, dim) to features (batch, time, dim), zero where padded.

        Args:
            features: of the temporal module.
            mask: (batch, time) bool; padding is seen by no position.
        """
        time = mask.shape[1]
        states = self.model(
            inputs_embeds=self.into(features),
            attention_mask=mask[:, None, None].expand(-1, 1, time, -1),
            position_ids=torch.zeros_like(mask, dtype=torch.long),
            use_cache=False,
        ).last_hidden_state
        return self.back(states) * mask[..., None]
