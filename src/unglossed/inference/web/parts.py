"""The three networks of a page, written for ONNX: frames, then a clip, then its text.

1. `FrameReader`: a frame to a vector; frames of a webcam are read as they come.
2. `ClipReader`: a clip's vectors to what the decoder attends to, a key and a value a layer.
3. `TextWriter`: a step of the search: the next token of each beam.

Each takes one clip without padding. The language model's linear layers compute in 8 bits as those
of `precision.Int8Linear` do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from unglossed.errors import InputError
from unglossed.inference.export import encoder_of_pictures
from unglossed.inference.precision import SMALLEST
from unglossed.models.language_model import EncoderDecoder
from unglossed.models.temporal import PooledTemporal, TemporalModule
from unglossed.models.translator import Translator

STEPS = 127
"""Whole numbers that a row's largest number becomes."""


class PortableInt8Linear(nn.Module):
    """`Int8Linear` in operations that ONNX has; the same numbers but for the order of float sums.

    Its sums of whole numbers are exact in both. In torch they are made in float64, which is slow
    and needs no processor in particular; what is exported has the operator `MatMulInteger`.

    Args:
        linear: the layer whose place it takes.
    """

    weight: Tensor
    scale: Tensor
    zero: Tensor
    middle: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_(min=SMALLEST) / 127
        rounded = (weight / scale[:, None]).round_().T.contiguous()  # (in, out)
        # Unsigned: processors without VNNI add products of signed ones in 16 bits, which overflow.
        self.register_buffer("weight", (rounded + 128).to(torch.uint8))
        self.register_buffer("scale", scale / STEPS)
        self.register_buffer("zero", torch.tensor(STEPS + 1, dtype=torch.uint8))
        self.register_buffer("middle", torch.tensor(128, dtype=torch.uint8))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), float32."""
        largest = inputs.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
        whole = (inputs / largest * STEPS + (STEPS + 1.5)).to(torch.uint8)
        if torch.compiler.is_exporting():
            sums = torch.onnx.ops.symbolic(
                "MatMulInteger",
                (whole, self.weight, self.zero, self.middle),
                dtype=torch.int32,
                shape=(*inputs.shape[:-1], self.weight.shape[1]),
            ).float()
        else:
            sums = ((whole.double() - self.zero) @ (self.weight.double() - self.middle)).float()
        outputs = sums * self.scale * largest
        return outputs if self.bias is None else outputs + self.bias


class FrameReader(nn.Module):
    """Backbone of the encoder: frames (n, height, width, 3) uint8 RGB to vectors (n, dim).

    With `motion` the first frame is the one before the others, and has no vector.

    Args:
        model: with a visual encoder.

    Raises:
        InputError: see `encoder_of_pictures`.
    """

    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.encoder = encoder_of_pictures(model)

    def forward(self, frames: Tensor) -> Tensor:
        """Vectors (n, dim) of frames (n, height, width, 3), with `motion` (n + 1, ...)."""
        if self.encoder.motion:
            frames = torch.cat([frames[1:], frames[:-1]], dim=-1)
        return self.encoder.traced(frames)


class ClipReader(nn.Module):
    """The rest of the encoder, the adapter and the language model's encoder, for one clip.

    Args:
        model: whose language model is an encoder-decoder.

    Raises:
        InputError: it is of another kind.
    """

    before: Tensor
    after: Tensor

    def __init__(self, model: Translator) -> None:
        super().__init__()
        writer = model.language_model
        if not isinstance(writer, EncoderDecoder):
            raise InputError(
                f"found a language model of the type {writer.model.config.model_type!r}, expected"
                " an encoder-decoder (mBART, T5, Light-T)"
            )
        self.temporal, self.adapter, self.writer = model.encoder.temporal, model.adapter, writer
        self.decoder = writer.model.get_decoder()
        sides = {"before": writer.before, "after": writer.after}
        for side, ids in sides.items():  # the prompt does not change
            with torch.no_grad():
                embedded = writer.embed(torch.tensor(ids, dtype=torch.long))
            self.register_buffer(side, embedded.float()[None])

    def forward(self, vectors: Tensor) -> list[Tensor]:
        """Keys and values of each layer's cross-attention, (1, heads, positions, width) each.

        Args:
            vectors: (time, dim) of `FrameReader`.
        """
        features = vectors[None]
        if isinstance(self.temporal, TemporalModule):
            mixed = self.temporal.conv(features.transpose(1, 2))
            features = torch.relu(self.temporal.norm(mixed)).transpose(1, 2)
        mask = features.new_ones(features.shape[:2], dtype=torch.bool)
        if isinstance(self.temporal, PooledTemporal):
            features, mask = self.temporal(features, mask)
        embeds, _ = self.adapter(features, mask)
        inputs = torch.cat([self.before, embeds, self.after], 1)
        states = self.writer.model.get_encoder()(inputs_embeds=inputs).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        # The decoder's own pass is thrown away, also by the exporter; what it attends to is left.
        start = torch.zeros(1, 1, dtype=torch.long)
        self.decoder(
            input_ids=start, encoder_hidden_states=states, past_key_values=cache, use_cache=True
        )
        return _tensors(cache.cross_attention_cache)


class TextWriter(nn.Module):
    """One step of the decoder, with its cache.

    Args:
        model: whose language model is an encoder-decoder.
    """

    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.model = model.language_model.model

    def forward(
        self, ids: Tensor, order: Tensor, past: list[Tensor], cross: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities (rows, vocabulary) of the next token of each row, and the new cache.

        Args:
            ids: (rows, new) tokens that are new.
            order: (rows,) which row of the last step each row goes on from.
            past: a key and a value a layer, (rows before, heads, tokens before, width) each.
            cross: what `ClipReader` gives, (1, heads, positions, width) each.
        """
        rows, states = ids.shape[0], cross[0]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for layer in range(len(past) // 2):
            pair = slice(2 * layer, 2 * layer + 2)
            cache.self_attention_cache.update(*(one[order] for one in past[pair]), layer)
            wide = (one.expand(rows, -1, -1, -1) for one in cross[pair])
            cache.cross_attention_cache.update(*wide, layer)
            cache.is_updated[layer] = True  # so that the states are not read
        width = self.model.config.hidden_size
        output = self.model(
            decoder_input_ids=ids,
            encoder_outputs=BaseModelOutput(states.new_zeros(rows, states.shape[2], width)),
            past_key_values=cache,
            use_cache=True,
        )
        scores = output.logits[:, -1].float().log_softmax(-1)
        return scores, _tensors(cache.self_attention_cache)


def _tensors(cache: Any) -> list[Tensor]:
    return [one for layer in cache.layers for one in (layer.keys, layer.values)]


def empty_cache(cross: list[Tensor]) -> list[Tensor]:
    """The cache before the first token, fit for what is attended to."""
    return [one[:, :, :0].clone() for one in cross]
