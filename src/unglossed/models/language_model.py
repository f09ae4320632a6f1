"""Language models fed by features: transformers' encoder-decoders and decoder-only models.

One face, `LanguageModel`: logits of a given text, generation, attention. Start tokens, prompt and
padding side live here and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput

import unglossed.models.light_t  # noqa: F401 (makes it known to transformers)
from unglossed import hub
from unglossed.models.lora import UNTIED, add_lora, untie

IGNORED = -100
"""Label of a position that no loss counts: padding."""


class LanguageModel(nn.Module, ABC):
    """What every language model answers; `build_language_model` picks the kind.

    Args:
        config: the transformers configuration as dict.
        prompt: token ids `before` and `after` the features, and `start`: those with which every
            text starts (an encoder-decoder's language code; its configuration's when not given).
        lora: settings of `add_lora`; None for a model without.
    """

    auto_class: Any
    pads_left: ClassVar[bool]
    """Whether rows of different length are padded in front; else behind."""

    def __init__(
        self,
        config: dict[str, Any],
        prompt: Mapping[str, Sequence[int]] | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model: PreTrainedModel = hub.build(self.auto_class, language_model_config(config))
        untie(self.model, config.get(UNTIED, ()))
        if lora is not None:
            add_lora(self.model, lora)
        sides = prompt or {}
        self.before = list(sides.get("before", ()))
        self.after = list(sides.get("after", ()))
        self.start = list(sides.get("start", ()))
        self.trained_rows: range | None = None
        self.new_rows: nn.Parameter | None = None

    @property
    def width(self) -> int:
        """Width of the embeddings that the model is fed."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def max_positions(self) -> int | None:
        """Longest sequence, in positions; None where nothing limits it."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt, before and after the features together."""
        return len(self.before) + len(self.after)

    def train_rows(self, tokens: Sequence[int]) -> None:
        """Have the embeddings of some tokens trained while the model's own weights stay.

        They are tokens of the prompt that no text has. Where the output head is tied to the
        embeddings, its rows are these.

        Args:
            tokens: their ids, which follow one another.
        """
        self.trained_rows = range(min(tokens), max(tokens) + 1)

    def new_rows_parameter(self) -> nn.Parameter:
        """The rows of `train_rows` as a parameter of their own, made when first asked for.

        It lies over the table's own numbers, so that there is nothing to write back, nor is it
        saved. The table itself gets no gradient, which would be as large as the table.
        """
        assert self.trained_rows is not None
        if self.new_rows is None:
            table = self.model.get_input_embeddings().weight
            table.requires_grad_(False)
            self.new_rows = nn.Parameter(
                table.data[self.trained_rows.start : self.trained_rows.stop]
            )
            head = self.model.get_output_embeddings()
            if head.weight is table:
                head.register_forward_hook(self._let_learn_from_logits)
        return self.new_rows

    def _let_learn_from_logits(self, _: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        """The logits as they are, through whose columns the new rows get their gradient."""
        assert self.trained_rows is not None and self.new_rows is not None
        if torch.is_grad_enabled():
            column = nn.functional.linear(inputs[0].detach(), self.new_rows)
            columns = logits[..., self.trained_rows.start : self.trained_rows.stop]
            columns += column - column.detach()
        return logits

    def _embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids, through which the new rows get their gradient."""
        table = self.model.get_input_embeddings()
        embedded: Tensor = table(ids)
        if self.trained_rows is None or self.new_rows is None or not torch.is_grad_enabled():
            return embedded
        place = ids - self.trained_rows.start
        is_new = (place >= 0) & (place < len(self.trained_rows))
        row = self.new_rows[place.clamp(0, len(self.trained_rows) - 1)]
        scale = getattr(table, "embed_scale", 1.0)  # mBART, Gemma 3: the table multiplies by it
        return embedded + is_new[..., None] * scale * (row - row.detach())

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.pop(f"{prefix}new_rows", None)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        *others: Any,
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *others
        )
        if f"{prefix}new_rows" in missing_keys:  # they lie in the table
            missing_keys.remove(f"{prefix}new_rows")

    @abstractmethod
    def forward(self, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits of a text given the features.

        Args:
            embeds: (batch, time, width) adapted features.
            mask: (batch, time) bool.
            labels: (batch, tokens), `IGNORED` where padded.

        Returns:
            (batch, tokens, vocabulary), position i predicting labels[:, i].
        """

    @abstractmethod
    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """transformers' `generate` from adapted features (batch, time, width).

        Returns:
            Its output, `sequences` holding the new tokens alone: no start token, no prompt.
        """

    def attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Attention of each generated token over the features.

        Args:
            embeds: (batch, time, width) adapted features.
            mask: (batch, time) bool.
            token_ids: (batch, tokens) as `generate` gives them, padded with the padding token.

        Returns:
            (batch, tokens, time), the mean over layers and heads; each row sums to 1.
        """
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # the fast kernels do not hand attention out
        try:
            return self._attend(embeds, mask, token_ids)
        finally:
            self.model.set_attn_implementation(before)

    @abstractmethod
    def _attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """See `attend`, which has chosen kernels that hand attention out."""

    def _lay_out(
        self, embeds: Tensor, mask: Tensor, answer: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt, features, prompt and answer in one row each, padding moved to one side.

        Returns:
            Embeddings (batch, positions, width), the mask of what is real, and where each position
            of the unmoved row went: (batch, positions).
        """
        before, after = (
            mask.new_tensor(side, dtype=torch.long) for side in (self.before, self.after)
        )
        words = [before.expand(len(mask), -1), after.expand(len(mask), -1)]
        if answer is not None:
            words.append(answer)
        parts = [self._embed(ids.clamp(min=0)).to(embeds.dtype) for ids in words]
        known = [ids != IGNORED for ids in words]
        inputs = torch.cat([parts[0], embeds, *parts[1:]], 1)
        real = torch.cat([known[0], mask, *known[1:]], 1)
        order = torch.argsort((real == self.pads_left).int(), dim=1, stable=True)
        inputs = inputs.gather(1, order[..., None].expand_as(inputs))
        return inputs, real.gather(1, order), order.argsort(1)

    def _on_features(self, weights: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        """Of attention (batch, tokens, positions) that on the features, each row made to sum to 1.

        Args:
            weights: over the rows of `_lay_out`.
            mask: (batch, time) bool of the features.
            place: where each position went, see `_lay_out`.
        """
        columns = place[:, len(self.before) : len(self.before) + mask.shape[1]]
        weights = weights.gather(2, columns[:, None].expand(-1, weights.shape[1], -1))
        weights = weights.masked_fill(~mask[:, None], 0.0)
        return weights / weights.sum(-1, keepdim=True)


class EncoderDecoder(LanguageModel):
    """An encoder-decoder (mBART, T5, NLLB, Light-T) whose encoder reads features, not words.

    Every text starts with the language code (FLa-LLM: the target language's).
    """

    auto_class = AutoModelForSeq2SeqLM
    pads_left = False

    def forward(self, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """See `LanguageModel.forward`."""
        inputs, real, _ = self._lay_out(embeds, mask)
        logits = self._run(inputs, real, labels).logits
        return logits[:, len(self._start_ids()) - 1 :]

    def write(self, states: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits of a text, as `forward` gives them, from states in the place of the encoder's.

        Args:
            states: (batch, positions, width) which the decoder attends to.
            mask: (batch, positions), true or 1 where real.
            labels: (batch, tokens), `IGNORED` where padded.
        """
        start = self._start_ids()
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask.long(),
            decoder_input_ids=shift_right(labels, start, self.model.config.pad_token_id),
            use_cache=False,
        ).logits
        return logits[:, len(start) - 1 :]

    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """See `LanguageModel.generate`."""
        inputs, real, _ = self._lay_out(embeds, mask)
        start = self._start_ids()
        if len(start) > 1:
            settings["decoder_input_ids"] = torch.tensor([start] * len(embeds)).to(embeds.device)
        output = self.model.generate(inputs_embeds=inputs, attention_mask=real.long(), **settings)
        if isinstance(output, Tensor):
            return output[:, len(start) :]
        output.sequences = output.sequences[:, len(start) :]
        return output

    def _attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        inputs, real, place = self._lay_out(embeds, mask)
        layers = self._run(inputs, real, token_ids, output_attentions=True).cross_attentions
        weights = torch.stack(layers).mean(dim=(0, 2))[:, len(self._start_ids()) - 1 :]
        return self._on_features(weights, mask, place)

    def _run(self, inputs: Tensor, real: Tensor, labels: Tensor, **settings: Any) -> Any:
        return self.model(
            inputs_embeds=inputs,
            attention_mask=real.long(),
            decoder_input_ids=shift_right(
                labels, self._start_ids(), self.model.config.pad_token_id
            ),
            use_cache=False,
            **settings,
        )

    def _start_ids(self) -> list[int]:
        return self.start or [self.model.config.decoder_start_token_id]


class DecoderOnly(LanguageModel):
    """A decoder-only model (Llama, Qwen, Gemma, ...) that reads prompt, features, prompt, answer.

    Sequences are padded on the left, so that in generation the last position is every row's own.
    Logits of the answer alone are computed: neither prompt nor features nor padding is predicted.
    """

    auto_class = AutoModelForCausalLM
    pads_left = True

    def forward(self, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """See `LanguageModel.forward`."""
        inputs, real, place = self._lay_out(embeds, mask, labels)
        num_tokens = labels.shape[1]
        # The model's own way from states to logits: Gemma 2 caps them, Granite divides them.
        logits = self._run(self.model, inputs, real, logits_to_keep=num_tokens + 1).logits
        first = inputs.shape[1] - logits.shape[1]
        # The position that predicts each token; padding, moved to the front, may have none.
        before = (place[:, -num_tokens:] - 1 - first).clamp(min=0)
        return logits.gather(1, before[..., None].expand(-1, -1, logits.shape[-1]))

    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """See `LanguageModel.generate`."""
        inputs, real, _ = self._lay_out(embeds, mask)
        beams = settings.get("num_beams", 1)
        if beams > 1 and inputs.shape[1] > 1:
            # All beams of a row start from the same reading: it is made once and copied.
            read = self._run(self.model.get_decoder(), inputs[:, :-1], real[:, :-1], use_cache=True)
            cache = getattr(read, "past_key_values", None)  # Mamba's is of another kind
            if cache is not None:
                rows = torch.arange(len(inputs), device=inputs.device)
                cache.reorder_cache(rows.repeat_interleave(beams))
                settings["past_key_values"] = cache
        return self.model.generate(inputs_embeds=inputs, attention_mask=real.long(), **settings)

    def _attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        inputs, real, place = self._lay_out(embeds, mask, token_ids)
        layers = self._run(
            self.model.get_decoder(), inputs, real, output_attentions=True
        ).attentions
        weights = torch.stack(layers).mean(dim=(0, 2))  # (batch, positions, positions)
        rows = (place[:, -token_ids.shape[1] :] - 1).clamp(min=0)
        weights = weights.gather(1, rows[..., None].expand(-1, -1, weights.shape[-1]))
        return self._on_features(weights, mask, place)

    def _run(
        self, model: Any, inputs: Tensor, real: Tensor, *, use_cache: bool = False, **settings: Any
    ) -> Any:
        return model(
            inputs_embeds=inputs,
            attention_mask=real.long(),
            position_ids=(real.long().cumsum(1) - 1).clamp(min=0),
            use_cache=use_cache,
            **settings,
        )


def build_language_model(
    config: dict[str, Any],
    prompt: Mapping[str, Sequence[int]] | None = None,
    lora: Mapping[str, Any] | None = None,
) -> LanguageModel:
    """Build a language model, random weights, by the kind that its configuration names.

    Args:
        config: the transformers configuration as dict, with `model_type`.
        prompt: see `LanguageModel`.
        lora: see `LanguageModel`.

    Raises:
        ValueError: transformers knows no text model of that type.
    """
    is_encoder_decoder = language_model_config(config).is_encoder_decoder
    return (EncoderDecoder if is_encoder_decoder else DecoderOnly)(config, prompt, lora)


def language_model_config(config: dict[str, Any]) -> PreTrainedConfig:
    """Build a language model's transformers configuration from its dict (with `model_type`)."""
    settings = dict(config)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def shift_right(labels: Tensor, start_ids: Sequence[int], pad_id: int) -> Tensor:
    """What a decoder reads to predict labels: the start tokens, then all labels but the last.

    Args:
        labels: (batch, tokens), `IGNORED` where padded.
        start_ids: tokens with which every text starts, at least one.
        pad_id: takes the place of `IGNORED`.

    Returns:
        (batch, len(start_ids) + tokens - 1).
    """
    start = labels.new_tensor(list(start_ids)).expand(len(labels), -1)
    shifted = torch.cat([start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad_id)
