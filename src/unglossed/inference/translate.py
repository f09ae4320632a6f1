"""Videos, or features of an encoder, to text with a score, an n-best list and attention.

The trainer calls `translate_features` on cached features; everybody else `SignTranslator`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.inference.words import WordAttention, merge_words
from unglossed.media.clip import WholeFile, signal_of
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.translator import Translator, TranslatorConfig

Media = Path | str | Sample

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Hypothesis:
    """One candidate text. `score` is the mean log-probability of its tokens (at most 0)."""

    text: str
    score: float


@dataclass(frozen=True)
class Translation:
    """The translation of one clip.

    Attributes:
        media: Path of the video, or id of the sample.
        text: The best hypothesis.
        score: Its score, see `Hypothesis`: comparable between texts of different length.
        n_best: The best hypotheses, best first; `text` is the first.
        attention: Words of `text` with their weights on the kept frames, if asked for.
        num_frames: Kept frames, on which the weights lie.
    """

    media: str
    text: str
    score: float
    n_best: tuple[Hypothesis, ...]
    attention: tuple[WordAttention, ...] | None
    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """`media`, `text`, `score` and `n_best`, as `translate --format json` writes them."""
        n_best = [{"text": one.text, "score": one.score} for one in self.n_best]
        return {"media": self.media, "text": self.text, "score": self.score, "n_best": n_best}


class SignTranslator:
    """A trained model with its processor, ready to translate videos.

    Args:
        model: moved to nothing and left on its device; put into eval mode.
        processor: saved beside the model.
    """

    def __init__(self, model: Translator, processor: TranslatorProcessor) -> None:
        self.model = model.eval()
        self.processor = processor

    @classmethod
    def from_pretrained(cls, model: str | Path) -> SignTranslator:
        """Load a model onto the GPU if there is one, else onto the processor.

        Args:
            model: a run folder (which holds `model/`), a model folder, or a name on the hub.

        Raises:
            InputError: it is none of these, or cannot be loaded.
        """
        source = find_model(model)
        try:
            config, _ = TranslatorConfig.get_config_dict(source)
            if config.get("model_type") != TranslatorConfig.model_type:
                raise InputError(
                    f"{model}: found a model of the type {config.get('model_type')!r}, expected"
                    f" {TranslatorConfig.model_type!r}"
                )
            translator, loaded = Translator.from_pretrained(
                source, output_loading_info=True, ignore_mismatched_sizes=True
            )
            processor = TranslatorProcessor.from_pretrained(source)
        except InputError:
            raise
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{model}: cannot be loaded as a model: {reason}") from error
        # A weight that does not come from the file is a random one: nonsense without a sign of it.
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if loaded[kind]:
                first = sorted(str(key) for key in loaded[kind])[0]
                raise InputError(
                    f"{model}: found {len(loaded[kind])} {kind.replace('_keys', '')} weights"
                    f" ({first}, ...), expected exactly those that its config.json asks for"
                )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(translator.to(device), processor)

    @torch.inference_mode()
    def translate(
        self,
        media: Media | Sequence[Media],
        *,
        num_beams: int = 5,
        n_best: int = 1,
        max_new_tokens: int = 150,
        batch_size: int = 8,
        attention: bool = False,
        progress: bool = False,
        on_error: Callable[[str, InputError], None] | None = None,
    ) -> list[Translation]:
        """Translate clips, each on its own whatever the batch.

        A video is brought to 25 frames a second by time and thinned as in FLa-LLM's evaluation: the
        first frame of each group. A sample's begin and end are honoured.

        Args:
            media: videos, frame folders or samples of a corpus.
            num_beams: width of the beam search.
            n_best: hypotheses of each clip, at most `num_beams`.
            max_new_tokens: longest text, in tokens.
            batch_size: clips that are translated at a time.
            attention: also tell which frames each word attended to.
            progress: show a progress bar on standard error.
            on_error: called for a clip that cannot be read, which is then left out of the result;
                without it the first such clip ends the translation.

        Returns:
            A translation for each clip that could be read, in the order of `media`.

        Raises:
            InputError: a clip cannot be read, or `n_best` is larger than `num_beams`.
        """
        clips = [media] if isinstance(media, (str, Path, Sample)) else list(media)
        names, features = [], []
        for clip in _track(clips, "encoding", progress):
            name = clip.id if isinstance(clip, Sample) else str(clip)
            try:
                frames = self.read(clip)
            except InputError as error:
                if on_error is None:
                    raise
                on_error(name, error)
                continue
            names.append(name)
            features.append(self.encode(frames))
        translations = translate_features(
            self.model,
            self.processor,
            features,
            num_beams=num_beams,
            n_best=n_best,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            attention=attention,
            progress=progress,
        )
        return [
            replace(translation, media=name)
            for translation, name in zip(translations, names, strict=True)
        ]

    def read(self, clip: Media) -> NDArray[Any]:
        """What the model is given of a clip: frames (n, height, width, 3) RGB, or sound (n,).

        Raises:
            InputError: the clip cannot be read, or is longer than the language model can take in.
        """
        where = clip if isinstance(clip, Sample) else WholeFile(Path(clip))
        positions = self.model.language_model.max_positions
        limit = None if positions is None else self.model.encoder.input_limit(positions)
        return signal_of(self.processor).read(where, limit=limit)

    def encode(self, frames: NDArray[Any]) -> Tensor:
        """The encoder's features of one clip as `read` gives it: (time, dim), on the processor."""
        batch = self.processor([frames])
        device = self.model.device
        with torch.inference_mode():
            features, _ = self.model.encode(batch["frames"].to(device), batch["lengths"].to(device))
        return features[0].cpu()


def translate_features(
    model: Translator,
    processor: TranslatorProcessor,
    features: Sequence[Tensor],
    *,
    num_beams: int = 5,
    n_best: int = 1,
    max_new_tokens: int = 150,
    batch_size: int = 8,
    attention: bool = False,
    progress: bool = False,
) -> list[Translation]:
    """Translate from the encoder's features; their number is the translations' `media`.

    Clips of like length share a batch. The model is in eval mode while it translates; afterwards it
    is in the mode that it had before.

    Args:
        model: the translator.
        processor: turns tokens into text.
        features: for each clip (time, dim).
        num_beams: width of the beam search.
        n_best: hypotheses of each clip, at most `num_beams`.
        max_new_tokens: longest text, in tokens; at most what the language model has positions for.
        batch_size: clips that are translated at a time.
        attention: also tell which frames each word attended to.
        progress: show a progress bar on standard error.

    Returns:
        A translation for each clip, in the order of `features`.

    Raises:
        InputError: `n_best` is larger than `num_beams`.
    """
    if n_best > num_beams:
        raise InputError(f"n_best: found {n_best}, expected at most the {num_beams} beams")
    limit = model.language_model.max_positions
    if limit is not None:
        max_new_tokens = min(max_new_tokens, limit - 1)  # one position is the start token's
    order = sorted(range(len(features)), key=lambda index: -len(features[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    done: dict[int, Translation] = {}
    was_training = model.training
    model.eval()
    try:
        for batch in _track(batches, "translating", progress):
            rows = _translate_batch(
                model,
                processor,
                [features[index] for index in batch],
                num_beams=num_beams,
                n_best=n_best,
                max_new_tokens=max_new_tokens,
                attention=attention,
            )
            for index, translation in zip(batch, rows, strict=True):
                done[index] = replace(translation, media=str(index))
    finally:
        model.train(was_training)
    return [done[index] for index in range(len(features))]


# Not inference mode: a table that a model fills on first use must stay fit for later training.
@torch.no_grad()
def _translate_batch(
    model: Translator,
    processor: TranslatorProcessor,
    rows: Sequence[Tensor],
    *,
    num_beams: int,
    n_best: int,
    max_new_tokens: int,
    attention: bool,
) -> list[Translation]:
    features, mask = pad_features(rows)
    features = features.to(model.device, model.dtype)
    mask = mask.to(model.device)
    output = model.generate(
        features=features,
        mask=mask,
        num_beams=num_beams,
        num_return_sequences=n_best,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens = output.sequences
    scores = _greedy_scores(output, processor) if num_beams == 1 else output.sequences_scores
    candidates = [
        Hypothesis(text, score)
        for text, score in zip(processor.decode(tokens), scores.tolist(), strict=True)
    ]
    best = tokens[::n_best]
    weights = model.attend(features, mask, best).float().cpu() if attention else None
    translations = []
    for index, row in enumerate(rows):
        found = tuple(candidates[index * n_best : (index + 1) * n_best])
        words = None
        if weights is not None:
            words = merge_words(processor, best[index].tolist(), weights[index, :, : len(row)])
        translations.append(Translation("", found[0].text, found[0].score, found, words, len(row)))
    return translations


def _greedy_scores(output: Any, processor: TranslatorProcessor) -> Tensor:
    """Mean log-probability of each text's tokens, which transformers gives for beams alone."""
    tokens = output.sequences
    steps = [
        logits.log_softmax(-1).gather(1, tokens[:, step, None])
        for step, logits in enumerate(output.scores)
    ]
    real = tokens != processor.tokenizer.pad_token_id
    return torch.cat(steps, 1).where(real, 0).sum(1) / real.sum(1).clamp(min=1)


def find_model(model: str | Path) -> str:
    """The folder or hub name from which a model is loaded, given a run or model folder or a name.

    Raises:
        InputError: a folder without a model, or neither a folder nor like a hub name.
    """
    folder = Path(model)
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            return str(candidate)
    if folder.is_dir():
        raise InputError(
            f"{model}: found neither model/config.json nor config.json,"
            " expected a run folder or a model folder"
        )
    # `runs/dmeo` looks like a hub name: where there is a folder `runs`, it is a folder misspelt.
    if folder.exists() or folder.parent.is_dir() or not HUB_NAME.fullmatch(str(model)):
        raise InputError(
            f"{model}: no such folder, expected a run folder, a model folder or a hub name"
        )
    return str(model)


def load(model: str | Path) -> SignTranslator:
    """Load a trained model; see `SignTranslator.from_pretrained`."""
    return SignTranslator.from_pretrained(model)


def translate(
    model: str | Path, media: Media | Sequence[Media], **settings: Any
) -> list[Translation]:
    """Load a model and translate clips with it; settings are `SignTranslator.translate`'s."""
    return SignTranslator.from_pretrained(model).translate(media, **settings)


def _track(items: Sequence[Any], label: str, shown: bool) -> Iterable[Any]:
    if not shown:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, label, console=Console(stderr=True), transient=True)
