"""What every model that a stage trains has in common: named parts, some of which are frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from unglossed.models.lora import train_lora_alone
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

        Of a language model with LoRA only LoRA's matrices have gradients.

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
        """Features (batch, time, dim) and mask of packed frames; see the encoder's `forward`.

        A frozen encoder takes one clip at a time, so that what it gives for a clip is the same to
        the last bit whatever lies beside it in a batch, and equals what is stored of it.
        """
        if "encoder" not in self.frozen_parts:
            return self.encoder(frames, lengths)
        return one_at_a_time(self.encoder, frames, lengths)

    def features_of(
        self,
        frames: Tensor | None,
        lengths: Tensor | None,
        features: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The encoder's features and their mask, which are given, or come from frames.

        Args:
            frames: (sum of lengths, height, width, 3) uint8, or (sum of lengths,) float32 samples
                of sound; or else `features` and `mask`.
            lengths: (batch,) frames or samples of each clip.
            features: (batch, time, dim) the encoder's features, when already known.
            mask: (batch, time) bool, True where real.
        """
        if features is None:
            assert frames is not None and lengths is not None
            return self.encode(frames, lengths)
        assert mask is not None
        return features, mask
