"""What every encoder offers, how a configuration names one, and masks of padded batches.

An encoder of another package is found by its entry point; see `examples/encoder`. Neither it nor
ours knows anything of text or of files.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unglossed.config import suggest
from unglossed.errors import InputError

GROUP = "unglossed.encoders"
"""Group of the entry points under which other packages offer encoders."""
KINDS = {
    "backbone": "unglossed.models.visual:VisualEncoder",
    "frontend": "unglossed.models.speech:SpeechEncoder",
    "text_encoder": "unglossed.models.translator:TextEncoderStates",
}
"""Our encoders, each by the key that its configuration alone has."""


class Encoder(nn.Module, ABC):
    """Clips to features. Subclass it and name the class as an entry point in `unglossed.encoders`.

    A recipe's `encoder: {config: {kind: NAME, ...}}` then builds `Class(config)`. The configuration
    is saved with the model, the weights are its parameters and persistent buffers.
    """

    signal: Literal["video", "audio"] = "video"
    """What it reads."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """All keys of the configuration of a `kind`, and their values where a recipe has none."""
    output_dim: int
    """Width of the features."""

    @abstractmethod
    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips; what a clip gives must not depend on the others.

        Args:
            frames: (sum of lengths, height, width, 3) uint8 RGB, the clips one after another; of
                audio (sum of lengths,) float32 samples.
            lengths: (batch,) int64 frames or samples of each clip.

        Returns:
            Features (batch, time, output_dim), zero where padded, and their mask (batch, time)
            bool, True where real; real positions come first.
        """

    def input_limit(self, positions: int | None) -> int | None:
        """Most frames or samples that become at most so many positions; None: no limit."""
        return positions


def encoder_kind(config: Mapping[str, Any]) -> type[Encoder]:
    """The class of the encoder that a configuration describes.

    Raises:
        InputError: no installed package has the `kind`, or it is not an encoder.
    """
    name = config.get("kind")
    if name is None:
        ours: type[Encoder] = pkgutil.resolve_name(
            next(KINDS[key] for key in KINDS if key in config)
        )
        return ours
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none is installed"
        raise InputError(
            f"encoder.kind: found {name!r}, expected an entry point in the group {GROUP} ({known}):"
            " install the package that the encoder comes from"
        )
    place = f"encoder.kind: {name!r} ({points[name].value})"
    try:
        kind = points[name].load()
    except Exception as error:  # of code that is not ours, any
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{place} cannot be imported: {reason}") from error
    if not (isinstance(kind, type) and issubclass(kind, Encoder)):
        raise InputError(f"{place}: expected a subclass of unglossed.models.encoder.Encoder")
    return kind


def build_encoder(config: dict[str, Any]) -> Encoder:
    """Build an encoder with random weights.

    Raises:
        InputError: see `encoder_kind`; or one of another package has no such key.
    """
    kind = encoder_kind(config)
    known = {"kind", *kind.defaults}
    if "kind" in config and (unknown := sorted(config.keys() - known)):
        raise InputError(f"encoder.{unknown[0]}: no such key{suggest(unknown[0], known)}")
    return kind(config)


def real_positions(lengths: Tensor, time: int | None = None) -> Tensor:
    """Mask (batch, time) of the real positions of rows of these lengths (batch,), True where real.

    `time` is the padded length, by default that of the longest row.
    """
    size = int(lengths.max()) if time is None else time
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def one_at_a_time(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], frames: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Encode the clips of a batch one after another; see `Encoder.forward` for the shapes."""
    rows = []
    for clip, length in zip(torch.split(frames, lengths.tolist()), lengths, strict=True):
        features, mask = encoder(clip, length[None])
        rows.append(features[0, mask[0]])
    num_positions = torch.tensor([len(row) for row in rows], device=frames.device)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), real_positions(num_positions)


def spare_single_values(module: nn.Module) -> None:
    """Let a module's batch normalisations take single values with their running statistics.

    In training, a batch of one value a channel is then normalised as in eval mode and leaves the
    running statistics as they are: its own would be that value and a variance of 0. All other
    batches are normalised as before.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(_begin)
            norm.register_forward_hook(_end, always_call=True)


def _begin(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if norm.training and inputs[0].numel() == inputs[0].shape[1]:
        norm.training, norm.spared = False, True  # type: ignore[assignment]


def _end(norm: nn.Module, *_: Any) -> None:
    if getattr(norm, "spared", False):
        norm.training, norm.spared = True, False  # type: ignore[assignment]
