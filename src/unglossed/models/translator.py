"""The translator: encoder, adapter and language model as one transformers model.

The same class serves every stage of a recipe; what differs is its configuration and what is frozen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from unglossed.models.adapter import build_adapter
from unglossed.models.context import Context
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.feature_masking import masked_distances
from unglossed.models.frozen import FrozenForm
from unglossed.models.frozen_block import FrozenBlock
from unglossed.models.language_model import DecoderOnly, build_language_model
from unglossed.models.token_alignment import Similarities, TokenAlignment
from unglossed.models.tuning import train_lora_alone
from unglossed.models.visual import one_at_a_time


class PartModel(PreTrainedModel, ABC):
    """A model made of named parts; any of them, or any part of one, can be frozen.

    What is frozen has no gradients and stays in eval mode whatever `train()` says, so that its
    normalisation statistics do not drift.
    """

    parts: ClassVar[tuple[str, ...]]
    """Names of the parts that a stage gives learning rates to."""

    main_input_name = "frames"
    _supports_sdpa = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.frozen_parts: tuple[str, ...] = ()
        self.frozen_form = FrozenForm()
        self.build_parts(config)
        self.post_init()
        # transformers looks for tied weights in direct children only; language models lie deeper.
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    @abstractmethod
    def build_parts(self, config: Any) -> None:
        """Make the parts, random weights; called once, by the constructor."""

    def _init_weights(self, module: nn.Module) -> None:
        """Leave what is ours as torch made it; models of transformers initialise themselves."""

    def freeze(self, names: Iterable[str]) -> None:
        """Take gradients from the named parts and hold them in eval mode; the rest is trained.

        Of a language model with LoRA only LoRA's matrices have gradients, of a frozen block only
        the linear maps around it.

        Args:
            names: of parts, or of modules in them, such as `encoder.backbone`.

        Raises:
            AttributeError: there is no such module.
        """
        self.frozen_parts = tuple(names)
        for part in self.parts:
            getattr(self, part).requires_grad_(True)
        if getattr(self.config, "lora", None) is not None:
            train_lora_alone(self.language_model)
        for module in self.modules():
            if isinstance(module, FrozenBlock):
                module.hold()
        for name in self.frozen_parts:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, for all but what is frozen."""
        super().train(mode)
        for name in self.frozen_parts:
            self.get_submodule(name).eval()
        return self

    def encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, time, dim) and mask of packed frames; see `Encoder.forward`.

        A frozen encoder has its fast form (`fast_encoder`). It takes one clip at a time, so that
        what it gives for a clip is the same to the last bit whatever lies beside it in a batch, and
        equals what is stored of it.
        """
        if "encoder" not in self.frozen_parts:
            return self.encoder(frames, lengths)
        bfloat16 = torch.is_autocast_enabled(frames.device.type)
        form = self.frozen_form.of(self.encoder, bfloat16=bfloat16, frames=frames)
        return one_at_a_time(form, frames, lengths)

    def features_of(
        self,
        frames: Tensor | None,
        lengths: Tensor | None,
        features: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The encoder's features and their mask.

        Args:
            frames: packed, as `Encoder.forward` reads them; or else `features` and `mask`.
            lengths: (batch,) frames or samples of each clip.
            features: (batch, time, dim) the encoder's features, when already known.
            mask: (batch, time) bool, True where real.
        """
        if features is None:
            assert frames is not None and lengths is not None
            return self.encode(frames, lengths)
        assert mask is not None
        return features, mask


@dataclass
class TagOutput(ModelOutput):
    """What a forward pass gives: `logits` (batch, time, tags) and `mask` (batch, time)."""

    logits: Tensor | None = None
    mask: Tensor | None = None


class Tagger(PartModel):
    """An encoder with a head that gives a tag to each of its positions."""

    encoder: Encoder

    @abstractmethod
    def tag(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits (batch, time, tags) of features (batch, time, dim) and their mask."""

    def forward(
        self,
        frames: Tensor | None = None,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TagOutput:
        """Logits of the tags at each position; see `features_of` for the arguments.

        `labels` are for the loss alone.
        """
        del labels
        features, mask = self.features_of(frames, lengths, features, mask)
        return TagOutput(logits=self.tag(features, mask), mask=mask)


PARTS = ("encoder", "adapter", "language_model")


class TranslatorConfig(PreTrainedConfig):
    """Configuration of a `Translator`: one dict a part (see the part's class for its keys).

    `prompt` and `lora` are those of `LanguageModel`; `context` that of a `Context`, or None.
    """

    model_type = "unglossed"

    encoder: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None
    language_model: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    is_encoder_decoder: bool = True


AutoConfig.register("unglossed", TranslatorConfig)


@dataclass
class TranslatorOutput(ModelOutput):
    """What a forward pass gives."""

    logits: Tensor | None = None
    """(batch, tokens, vocabulary)."""
    wrong_logits: Tensor | None = None
    """The same where a wrong language is asked for, if it was."""
    similarities: Similarities | None = None
    """Of clips and texts, while an alignment is trained beside."""
    distances: Tensor | None = None
    """(batch,) of clips read in part and whole, while features are masked; `masked_distances`."""


class Translator(PartModel):
    """encoder -> adapter -> language model (FLa-LLM, sections 3.2 and 3.3).

    1. The encoder turns packed frames into features (batch, time, dim) and a mask.
    2. The adapter maps them to the width of the language model, and may make them fewer.
    3. The language model reads them instead of embedded words, behind them perhaps the texts of a
       `Context`, and writes the text.
    """

    config_class = TranslatorConfig
    base_model_prefix = "translator"
    parts: ClassVar[tuple[str, ...]] = PARTS

    def build_parts(self, config: TranslatorConfig) -> None:
        """Make encoder, language model and adapter."""
        assert config.encoder and config.adapter and config.language_model
        self.align(None)
        self.mask_features(None)
        self.explore(None)
        self.encoder: Encoder = build_encoder(config.encoder)
        self.language_model = build_language_model(
            config.language_model, config.prompt, config.lora
        )
        width = self.language_model.width
        self.adapter = build_adapter(self.encoder.output_dim, width, config.adapter)
        self.context: Context | None = None
        if config.context is not None:
            self.context = Context(width, self.encoder.output_dim, config.context)

    def align(self, alignment: TokenAlignment | None) -> None:
        """Train an alignment beside the translation, or leave it off: it belongs to no translator.

        Adapted features of a clip are compared with the word embeddings of the texts.
        """
        self.alignment: Any = alignment

    def read_beside(self, context: Context) -> None:
        """Have the language model read texts beside the features; saved with the model."""
        self.context, self.config.context = context, context.settings
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    def mask_features(self, share: float | None) -> None:
        """Have training read clips a second time without a share of their features; None: once.

        The language model is a decoder-only one; see `masked_distances`.
        """
        self.masked_share = share

    def explore(self, explorer: Callable[..., Any] | None) -> None:
        """Have training try texts of its own instead of reading the labels'; None: read those.

        The explorer gives the output of a forward pass for (model, features, mask, draws).
        """
        self.explorer = explorer

    def forward(
        self,
        frames: Tensor | None = None,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
        texts: Tensor | None = None,
        context: Tensor | None = None,
        languages: Sequence[str] | None = None,
        wrong_languages: Sequence[str] | None = None,
        draws: Tensor | None = None,
    ) -> Any:
        """A `TranslatorOutput`, but where it explores; see `explore`.

        Logits of the labels' text (batch, tokens), -100 where padded, given the clips.

        `languages` are those that are asked for, a row each, of a language model that writes
        several; with `wrong_languages` the same texts are also read as answers to these.

        `context` (batch, tokens, 3) are texts beside them, see `pad_rows`. An alignment compares
        the clips with `texts` (texts, tokens), of which the first are theirs; with the labels where
        there are no others. `draws` (batch, 2), epoch and number of each clip, are for an explorer.
        See `features_of` for the other arguments.
        """
        features, mask = self.features_of(frames, lengths, features, mask)
        if self.explorer is not None and self.training:
            return self.explorer(self, features, mask, draws)
        embeds, mask = self.adapter(features, mask)
        read = self._beside(embeds, mask, context)
        output = TranslatorOutput(logits=self.language_model(*read, labels, languages))
        if wrong_languages is not None:
            output.wrong_logits = self.language_model(*read, labels, wrong_languages)
        if self.alignment is not None and self.training:
            words = self.language_model.model.get_input_embeddings()
            compared = labels if texts is None else texts
            output.similarities = self.alignment(embeds, mask, compared, words)
        if self.masked_share is not None and self.training:
            assert isinstance(self.language_model, DecoderOnly)
            output.distances = masked_distances(
                self.language_model, embeds, mask, self.masked_share
            )
        return output

    def _beside(
        self, embeds: Tensor, mask: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Adapted features with the texts of their context behind them, and the mask of both."""
        if self.context is None or context is None:
            return embeds, mask
        words, real = self.context.embed(context, self.language_model.embed)
        return torch.cat([embeds, words.to(embeds.dtype)], 1), torch.cat([mask, real], 1)

    def generate(
        self, features: Tensor, mask: Tensor, context: Tensor | None = None, **settings: Any
    ) -> Any:
        """transformers' `generate` from the encoder's features (batch, time, dim).

        See `forward` for `context`.
        """
        embeds, mask = self.adapter(features, mask)
        read = self._beside(embeds, mask, context)
        return self.language_model.generate(*read, **settings)

    @property
    def context_positions(self) -> int:
        """Most positions that the language model reads of texts beside the features."""
        return 0 if self.context is None else self.context.positions

    def positions(self, features: int) -> int:
        """Positions that the language model reads of so many features, all else included."""
        beside = self.language_model.prompt_length + self.context_positions
        return self.adapter.output_lengths(features) + beside

    def attend(
        self, features: Tensor, mask: Tensor, token_ids: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Attention (batch, tokens, time) of tokens over features; see `LanguageModel.attend`.

        What goes to texts of a context does not count; rows sum to 1 all the same.
        """
        embeds, positions = self.adapter(features, mask)
        weights = self.language_model.attend(*self._beside(embeds, positions, context), token_ids)
        if weights.shape[-1] > embeds.shape[1]:
            weights = weights[..., : embeds.shape[1]]
            weights = weights / weights.sum(-1, keepdim=True)
        return self.adapter.spread(weights, mask)


AutoModel.register(TranslatorConfig, Translator)


class TextEncoderStates(Encoder):
    """The states of Light-T's text encoder as features (FLa-LLM, Table 8, last row).

    An encoder, the adapter and the language model's encoder that were trained on top of it, as one.

    Args:
        config: `encoder`, `adapter` and `text_encoder` (the encoder-decoder whose encoder it is),
            each as in a `TranslatorConfig`, and that model's `lora`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder: Encoder = build_encoder(config["encoder"])
        writer = build_language_model(config["text_encoder"], None, config["lora"])
        self.adapter = build_adapter(self.encoder.output_dim, writer.width, config["adapter"])
        self.text_encoder = writer.model.get_encoder()
        self.signal, self.output_dim = self.encoder.signal, writer.width
        self.max_positions = writer.max_positions

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`."""
        embeds, mask = self.adapter(*self.encoder(frames, lengths))
        states = self.text_encoder(inputs_embeds=embeds, attention_mask=mask.long())
        return states.last_hidden_state * mask[..., None], mask

    def input_limit(self, positions: int | None) -> int | None:
        """See `Encoder.input_limit`; the text encoder may have fewer positions."""
        known = [limit for limit in (positions, self.max_positions) if limit is not None]
        return self.encoder.input_limit(self.adapter.input_limit(min(known)) if known else None)
