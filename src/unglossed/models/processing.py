"""Between raw material and tensors: pictures to a packed batch, texts to labels and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from unglossed.media.augment import AugmentationConfig, render_view
from unglossed.models.language_model import IGNORED
from unglossed.models.plain_text import encode_texts
from unglossed.models.tokenizer_rules import restore_rules
from unglossed.models.visual import real_positions


class TranslatorProcessor(ProcessorMixin):
    """Prepares clips and texts for a `Translator`; saved beside it.

    Args:
        tokenizer: the language model's tokenizer.
        language: of the texts: "de", "en", "zh", ...
        start_token: token with which the decoder starts, the language's code.
        sampling_rate: share of the frames of a 25 fps clip that is kept (FLa-LLM: 0.25).
        resize: side to which a frame is resized, in pixels.
        crop: side of the square that is cut out of it.
        sample_rate: samples of sound a second that a speech model reads; None for video.
        max_seconds: longest sound that it reads whole; None: any, or video.
        new_tokens: those that the recipe added to the tokenizer.
        max_tokens: of the longest text of training, the end token among them. A language model that
            reads clip and text in one row is left room for as many behind a clip.
        trained_seconds: lengths of the clips of training, see `TrainedLengths`; None: not known.
    """

    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        language: str = "de",
        start_token: str = "<s>",
        sampling_rate: float = 0.25,
        resize: int = 256,
        crop: int = 224,
        sample_rate: int | None = None,
        max_seconds: float | None = None,
        new_tokens: Sequence[str] = (),
        max_tokens: int = 1,
        trained_seconds: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.language = language
        self.start_token = start_token
        self.sampling_rate = sampling_rate
        self.resize = resize
        self.crop = crop
        self.sample_rate = sample_rate
        self.max_seconds = max_seconds
        self.new_tokens = list(new_tokens)
        self.max_tokens = max_tokens
        self.trained_seconds = trained_seconds
        super().__init__(tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **settings: Any) -> Self:
        """Load from a folder or the hub, the tokenizer with the rules of its files.

        Args:
            source: a folder or hub name.
            args: see transformers.
            settings: likewise.
        """
        processor: Self = super().from_pretrained(source, *args, **settings)
        restore_rules(processor.tokenizer, source)
        return processor

    def __call__(
        self,
        frames: Sequence[NDArray[Any]],
        augmentation: AugmentationConfig | None = None,
        generators: Sequence[np.random.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """Pack clips into one batch.

        Args:
            frames: for each clip (n, height, width, 3) uint8 RGB, already thinned; or (n,) float32
                samples of sound.
            augmentation: how to vary the views in training.
            generators: one source of chance a clip; without them the centre is cut.

        Returns:
            `frames` (sum of n, crop, crop, 3) uint8, or (sum of n,) float32, and `lengths` (batch,)
            int64.
        """
        views = [
            self._view(clip, augmentation, generators[i] if generators else None)
            for i, clip in enumerate(frames)
        ]
        return {
            # One clip, as a loader prepares it, is not copied.
            "frames": torch.from_numpy(views[0] if len(views) == 1 else np.concatenate(views)),
            "lengths": torch.tensor([len(view) for view in views]),
        }

    def _view(
        self,
        clip: NDArray[Any],
        augmentation: AugmentationConfig | None,
        generator: np.random.Generator | None,
    ) -> NDArray[Any]:
        if self.sample_rate is not None:
            return clip
        return render_view(
            clip,
            resize=self.resize,
            crop=self.crop,
            augmentation=augmentation,
            generator=generator,
        )

    @property
    def start_token_id(self) -> int:
        """Id of the token with which the decoder starts."""
        return int(self.tokenizer.convert_tokens_to_ids(self.start_token))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a text, closed by the end token, which no part of the text stands for."""
        return self.encode_texts([text])[0]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, see `encode_text`."""
        return [[*ids, self.tokenizer.eos_token_id] for ids in encode_texts(self.tokenizer, texts)]

    def decode(self, token_ids: Tensor) -> list[str]:
        """Texts of generated token ids (batch, tokens), special tokens left out."""
        token_ids = token_ids.masked_fill(token_ids == IGNORED, self.tokenizer.pad_token_id)
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


def pad_labels(rows: Sequence[Sequence[int]]) -> Tensor:
    """Stack token id rows into (batch, tokens), `IGNORED` where padded."""
    labels = torch.full((len(rows), max(map(len, rows))), IGNORED)
    for label_row, row in zip(labels, rows, strict=True):
        label_row[: len(row)] = torch.tensor(row)
    return labels


def pad_features(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack (time, dim) rows into (batch, time, dim), zero where padded, and their mask."""
    features = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return features, real_positions(torch.tensor([len(row) for row in rows]))
