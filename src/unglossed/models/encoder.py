"""What every encoder offers, and how a configuration names one.

An encoder of another package is found by its entry point; see `examples/encoder`. Neither it nor
ours knows anything of text or of files.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar

from torch import Tensor, nn

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
STREAMS_KIND = "streams"
OURS = {
    "features": "unglossed.models.features:FeatureEncoder",
    "graph": "unglossed.models.graph:GraphEncoder",
    STREAMS_KIND: "unglossed.models.two_streams:TwoStreamEncoder",
}
"""Our encoders, each by its `kind`."""


class Encoder(nn.Module, ABC):
    """Clips to features. Subclass it and name the class as an entry point in `unglossed.encoders`.

    A recipe's `encoder: {config: {kind: NAME, ...}}` then builds `Class(config)`. The configuration
    is saved with the model, the weights are its parameters and persistent buffers.
    """

    signal: str = "video"
    """Kind of signal that it reads: "video", "audio", "array", "streams" or another package's."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """All keys of the configuration of a `kind`, and their values where a recipe has none."""
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are sizes and may be 0: there is nothing of the kind then."""
    output_dim: int
    """Width of the features."""

    @classmethod
    def complete(cls, config: Mapping[str, Any], processor: Any) -> dict[str, Any]:
        """The configuration of a new one: a recipe's, defaults, and what the clips' signal tells.

        Args:
            config: the recipe's, which has a `kind`.
            processor: says how clips are read, see `TranslatorProcessor`.

        Raises:
            FieldError: it cannot read such clips.
        """
        del processor
        return {**cls.defaults, **config}

    def misfit(self, processor: Any) -> str | None:
        """Why it cannot read clips as a processor says, the kind of signal aside; None: it can."""
        del processor
        return None

    @abstractmethod
    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips; what a clip gives must not depend on the others.

        Args:
            frames: (sum of lengths, height, width, 3) uint8 RGB, the clips one after another; of
                audio (sum of lengths,) float32 samples; of arrays as `ArraySignal` reads them; of
                two streams their bytes, as `TwoStreams.packed` gives them.
            lengths: (batch,) int64 frames, samples, rows or bytes of each clip.

        Returns:
            Features (batch, time, output_dim), zero where padded, and their mask (batch, time)
            bool, True where real; real positions come first.
        """

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Positions (batch,) of clips of so many frames or samples; as many, unless overridden."""
        return lengths

    def input_limit(self, positions: int | None) -> int | None:
        """Most frames or samples that become at most so many positions; None: no limit."""
        return positions


def encoder_kind(config: Mapping[str, Any]) -> type[Encoder]:
    """The class of the encoder that a configuration describes.

    Raises:
        InputError: no installed package has the `kind`, or it is not an encoder.
    """
    name = config.get("kind")
    if name is None or name in OURS:
        place = OURS[name] if name else next(KINDS[key] for key in KINDS if key in config)
        ours: type[Encoder] = pkgutil.resolve_name(place)
        return ours
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none is installed"
        raise InputError(
            f"encoder.kind: found {name!r}, expected {', '.join(OURS)}, or an entry point in the"
            f" group {GROUP} ({known}):"
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
