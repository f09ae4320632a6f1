"""Language models fed by features: transformers' encoder-decoders and decoder-only models.

`LanguageModel` gives the logits of a text, generates, and tells attention. Start tokens, prompt and
padding side live here and nowhere else. Light-T, the light one of FLa-LLM's stage 1, is at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    MBartConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mbart.modeling_mbart import MBartForConditionalGeneration

from unglossed import hub
from unglossed.models.tuning import NewTokens, add_lora

IGNORED = -100
"""Label of a position that no loss counts: padding."""
UNTIED = "untied"
"""Key of a transformers configuration: the matrices which it calls tied and which are not."""
Prompt = Mapping[str, Any]
"""What a language model reads beside the features, see `LanguageModel`."""


class LanguageModel(nn.Module, ABC):
    """What every language model offers; `build_language_model` picks the kind.

    Args:
        config: the transformers configuration as dict.
        prompt: token ids `before` and `after` the features, and `start`: those with which every
            text starts (an encoder-decoder's language code; its configuration's when not given).
            Of a model that writes several languages also `languages`: the same three for each, by
            its code, as many in each `start`; what stands beside them is for the first.
        lora: settings of `add_lora`; None for a model without.
    """

    auto_class: Any
    pads_left: ClassVar[bool]
    """Whether rows of different length are padded in front; else behind."""

    def __init__(
        self,
        config: dict[str, Any],
        prompt: Prompt | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model: PreTrainedModel = hub.build(self.auto_class, language_model_config(config))
        untie(self.model, config.get(UNTIED, ()))
        if lora is not None:
            add_lora(self.model, lora)
        sides = prompt or {}
        self.languages: Mapping[str, Prompt] = sides.get("languages", {})
        self._take(sides)
        self.trained_rows: range | None = None
        self.new_tokens: NewTokens | None = None

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
        """Tokens of the prompt, before and after the features together; of the longest one."""
        sides = [(self.before, self.after)]
        sides += [(one["before"], one["after"]) for one in self.languages.values()]
        return max(len(before) + len(after) for before, after in sides)

    def _take(self, prompt: Prompt) -> None:
        self.before, self.after, self.start = (
            list(prompt.get(side, ())) for side in ("before", "after", "start")
        )

    @contextmanager
    def writing(self, language: str | None) -> Iterator[None]:
        """Write, in the block, texts in one of `languages`; None: in the first, as ever.

        A model that writes one language is told nothing.
        """
        before = {"before": self.before, "after": self.after, "start": self.start}
        if language is not None and self.languages:
            self._take(self.languages[language])
        try:
            yield
        finally:
            self._take(before)

    def _ids(self, side: str, mask: Tensor, languages: Sequence[str] | None) -> Tensor:
        """Tokens of a side of the prompt (batch, tokens), `IGNORED` where padded."""
        if languages is None:
            return mask.new_tensor(getattr(self, side), dtype=torch.long).expand(len(mask), -1)
        rows = [self.languages[language][side] for language in languages]
        longest = max(map(len, rows))
        padded = [[*row, *[IGNORED] * (longest - len(row))] for row in rows]
        return mask.new_tensor(padded, dtype=torch.long)

    def train_rows(self, tokens: Sequence[int]) -> None:
        """Have the embeddings of tokens of the prompt trained while the model's own weights stay.

        Their ids follow one another.
        """
        self.trained_rows = range(min(tokens), max(tokens) + 1)

    def new_rows_parameter(self) -> nn.Parameter:
        """The rows of `train_rows` as a parameter; made when first asked for, see `NewTokens`."""
        assert self.trained_rows is not None
        if self.new_tokens is None:
            self.new_tokens = NewTokens(self.model, self.trained_rows)
        return self.new_tokens.rows

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (..., width) of token ids (...), as the model reads them."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded if self.new_tokens is None else self.new_tokens(ids, embedded)

    @abstractmethod
    def forward(
        self,
        embeds: Tensor,
        mask: Tensor,
        labels: Tensor,
        languages: Sequence[str] | None = None,
    ) -> Tensor:
        """Logits (batch, tokens, vocabulary), position i predicting labels[:, i].

        Args:
            embeds: (batch, time, width) adapted features.
            mask: (batch, time) bool.
            labels: (batch, tokens), `IGNORED` where padded.
            languages: for each row the language that is asked for; None: that of `writing`.
        """

    @abstractmethod
    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """transformers' `generate` from adapted features (batch, time, width).

        `sequences` of its output hold the new tokens alone: no start token, no prompt.
        """

    def attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Attention (batch, tokens, time) of generated tokens over features (batch, time, width).

        It is the mean over layers and heads; each row sums to 1. `token_ids` (batch, tokens) are
        as `generate` gives them, padded with the padding token.
        """
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # the fast kernels do not hand attention out
        try:
            return self._attend(embeds, mask, token_ids)
        finally:
            self.model.set_attn_implementation(before)

    @abstractmethod
    def _attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        """Attend with kernels that hand attention out."""

    def _lay_out(
        self,
        embeds: Tensor,
        mask: Tensor,
        answer: Tensor | None = None,
        languages: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt, features, prompt and answer in one row each, padding moved to one side.

        Gives embeddings (batch, positions, width), the mask of what is real, and where each
        position of the unmoved row went: (batch, positions).
        """
        words = [self._ids(side, mask, languages) for side in ("before", "after")]
        if answer is not None:
            words.append(answer)
        parts = [self.embed(ids.clamp(min=0)).to(embeds.dtype) for ids in words]
        known = [ids != IGNORED for ids in words]
        inputs = torch.cat([parts[0], embeds, *parts[1:]], 1)
        real = torch.cat([known[0], mask, *known[1:]], 1)
        order = torch.argsort((real == self.pads_left).int(), dim=1, stable=True)
        inputs = inputs.gather(1, order[..., None].expand_as(inputs))
        return inputs, real.gather(1, order), order.argsort(1)

    def _on_features(self, weights: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        """Attention over the rows of `_lay_out` to that over the features; each row sums to 1."""
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

    def forward(
        self,
        embeds: Tensor,
        mask: Tensor,
        labels: Tensor,
        languages: Sequence[str] | None = None,
    ) -> Tensor:
        """See `LanguageModel.forward`."""
        inputs, real, _ = self._lay_out(embeds, mask, languages=languages)
        start = None if languages is None else self._ids("start", mask, languages)
        logits = self._run(real, labels, start, inputs_embeds=inputs).logits
        return logits[:, -labels.shape[1] :]

    def write(self, states: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits of a text, as `forward` gives them, from states instead of the encoder's.

        The decoder attends to states (batch, positions, width) whose mask is true or 1 where real.
        """
        encoded = BaseModelOutput(last_hidden_state=states)
        logits = self._run(mask, labels, encoder_outputs=encoded).logits
        return logits[:, -labels.shape[1] :]

    def generate(self, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
        """See `LanguageModel.generate`."""
        inputs, real, _ = self._lay_out(embeds, mask)
        start = self._start_ids()
        if start[0] != self.model.config.decoder_start_token_id:
            settings["decoder_start_token_id"] = start[0]  # else put in front of what is given
        if len(start) > 1:
            settings["decoder_input_ids"] = torch.tensor([start] * len(embeds)).to(embeds.device)
        output = self.model.generate(inputs_embeds=inputs, attention_mask=real.long(), **settings)
        if isinstance(output, Tensor):
            return output[:, len(start) :]
        output.sequences = output.sequences[:, len(start) :]
        return output

    def _attend(self, embeds: Tensor, mask: Tensor, token_ids: Tensor) -> Tensor:
        inputs, real, place = self._lay_out(embeds, mask)
        output = self._run(real, token_ids, inputs_embeds=inputs, output_attentions=True)
        weights = torch.stack(output.cross_attentions).mean(dim=(0, 2))
        return self._on_features(weights[:, len(self._start_ids()) - 1 :], mask, place)

    def _run(self, real: Tensor, labels: Tensor, start: Tensor | None = None, **inputs: Any) -> Any:
        pad_id = self.model.config.pad_token_id
        read = shift_right(labels, self._start_ids() if start is None else start, pad_id)
        return self.model(
            attention_mask=real.long(), decoder_input_ids=read, use_cache=False, **inputs
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

    def forward(
        self,
        embeds: Tensor,
        mask: Tensor,
        labels: Tensor,
        languages: Sequence[str] | None = None,
    ) -> Tensor:
        """See `LanguageModel.forward`."""
        inputs, real, place = self._lay_out(embeds, mask, labels, languages)
        num_tokens = labels.shape[1]
        # The model's own way from states to logits: Gemma 2 caps them, Granite divides them.
        logits = self._run(self.model, inputs, real, logits_to_keep=num_tokens + 1).logits
        first = inputs.shape[1] - logits.shape[1]
        # The position that predicts each token; padding, moved to the front, may have none.
        before = (place[:, -num_tokens:] - 1 - first).clamp(min=0)
        return logits.gather(1, before[..., None].expand(-1, -1, logits.shape[-1]))

    def states(self, embeds: Tensor, mask: Tensor) -> Tensor:
        """Last states (batch, time, width) of the features, read behind the prompt's first part.

        Where the mask is False nothing is read, and the state means nothing.
        """
        inputs, real, place = self._lay_out(embeds, mask)
        states = self._run(self.model.get_decoder(), inputs, real).last_hidden_state
        columns = place[:, len(self.before) : len(self.before) + mask.shape[1]]
        found: Tensor = states.gather(1, columns[..., None].expand(-1, -1, states.shape[2]))
        return found

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
    prompt: Prompt | None = None,
    lora: Mapping[str, Any] | None = None,
) -> LanguageModel:
    """Build a language model, random weights, of the kind that its configuration is of.

    Raises:
        ValueError: transformers has no text model of that `model_type`.
    """
    is_encoder_decoder = language_model_config(config).is_encoder_decoder
    return (EncoderDecoder if is_encoder_decoder else DecoderOnly)(config, prompt, lora)


def language_model_config(config: dict[str, Any]) -> PreTrainedConfig:
    """Build a language model's transformers configuration from its dict (with `model_type`)."""
    settings = dict(config)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def shift_right(labels: Tensor, start_ids: Sequence[int] | Tensor, pad_id: int) -> Tensor:
    """What a decoder reads to predict labels: the start tokens, then all labels but the last.

    From labels (batch, tokens) to (batch, starts + tokens - 1); `pad_id` replaces `IGNORED`. The
    start tokens are the same for all rows, or (batch, starts).
    """
    if isinstance(start_ids, Tensor):
        start = [start_ids]
    else:  # Filled, not copied: for a copy to a GPU Python would wait.
        start = [labels.new_full((len(labels), 1), token) for token in start_ids]
    shifted = torch.cat([*start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad_id)


def untied_in(model: PreTrainedModel) -> list[str]:
    """Names of matrices that a model's configuration calls tied, and that differ all the same.

    transformers does not tie two matrices of a file that differ.
    """
    ties = model.get_expanded_tied_weights_keys(all_submodels=True)
    return sorted(
        target
        for target, source in ties.items()
        if model.get_parameter(target) is not model.get_parameter(source)
    )


def untie(model: PreTrainedModel, names: Collection[str]) -> None:
    """Make each of these matrices one of its own, in place, and have the configuration say so.

    It stays so whatever ties the model again: another vocabulary size, loading, saving. The names
    are those of parameters, as `untied_in` gives them.
    """
    if not names:
        return
    for name in names:
        parent, _, last = name.rpartition(".")
        weight = model.get_parameter(name)
        own = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        setattr(model.get_submodule(parent), last, own)
    for prefix, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and module._tied_weights_keys:
            start = f"{prefix}." if prefix else ""
            ties = module.get_expanded_tied_weights_keys()
            kept = {key: source for key, source in ties.items() if start + key not in names}
            if len(kept) < len(ties):
                module._tied_weights_keys = kept
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    setattr(model.config, UNTIED, sorted(names))


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
