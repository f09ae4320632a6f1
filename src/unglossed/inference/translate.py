"""Videos, or features of an encoder, to text with a score, an n-best list and attention.

The trainer calls `translate_features` on cached features; everybody else `SignTranslator`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.files import RUN_FILE, as_path, may_be_on_hub
from unglossed.inference.batches import translate_batch
from unglossed.inference.counts import check_count
from unglossed.inference.decoding import DecodingSettings, load_decoding
from unglossed.inference.output import Translation
from unglossed.inference.precision import (
    Precision,
    encodes_in_bfloat16,
    lower_precision,
    read_precision,
)
from unglossed.inference.reading import Media, list_media, read_clip
from unglossed.inference.search import signal_limit, text_limit
from unglossed.media.clip import check_frame_rate
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_translator
from unglossed.models.translator import Translator


def _print_note(name: str, text: str) -> None:
    note(f"{name}: {text}")


class SignTranslator:
    """A trained model with its processor, ready to translate videos.

    Args:
        model: moved to nothing and left on its device; put into eval mode.
        processor: saved beside the model.
        decoding: how it searches for texts unless told otherwise.
        precision: of a model in float32, whose weights are changed for it.
    """

    def __init__(
        self,
        model: Translator,
        processor: TranslatorProcessor,
        decoding: DecodingSettings | None = None,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        self.model = model.eval()
        self.precision = precision
        lower_precision(model, precision)
        self.processor = processor
        self.decoding = decoding or DecodingSettings()

    @classmethod
    def from_pretrained(cls, model: str | Path, *, precision: str = "float32") -> SignTranslator:
        """Load a model onto the GPU if there is one, else onto the processor.

        Args:
            model: a run folder (which holds `model/`), a model folder, or a name on the hub.
            precision: "float32", "bfloat16", or "int8", which computes on the processor.

        Raises:
            InputError: it is none of these, or cannot be loaded, or there is no such precision.
        """
        chosen = read_precision(precision)
        source = find_model(model)
        translator, processor = load_translator(source)
        on_gpu = torch.cuda.is_available() and chosen is not Precision.INT8
        translator.to("cuda" if on_gpu else "cpu")
        return cls(translator, processor, load_decoding(source), chosen)

    @torch.inference_mode()
    def translate(
        self,
        media: Media | Iterable[Media],
        *,
        n_best: int = 1,
        batch_size: int = 8,
        attention: bool = False,
        progress: bool = False,
        on_error: Callable[[str, InputError], None] | None = None,
        on_note: Callable[[str, str], None] = _print_note,
        translate_empty: bool = False,
        frame_rate: float | None = None,
        **decoding: Any,
    ) -> list[Translation]:
        """Translate clips, each on its own whatever the batch.

        A video is brought to 25 frames a second and thinned as in FLa-LLM's evaluation. A sample's
        begin and end are honoured, and sound is cut where training cut it.

        Args:
            media: videos, frame folders or samples of a corpus.
            n_best: hypotheses of each clip; at most as many as beams unless they are drawn.
            batch_size: clips that are translated at a time.
            attention: also tell which frames each word attended to.
            progress: show a progress bar on standard error.
            on_error: called for a clip that cannot be read, which is then left out of the result;
                without it the first such clip ends the translation.
            on_note: called with a clip's name and what is to be known of it: it is far longer than
                training's, was cut, or has nothing in it; it is noted on standard error by default.
            translate_empty: translate clips with nothing in them, too (see `media.contents`):
                silence, black, blank or still pictures, one picture alone. Else they get an empty
                text with the `reason`.
            frame_rate: pictures per second of frame folders; None: 25, or what a sample says.
            decoding: fields of `DecodingSettings` that shall differ from the model's own:
                `beams=1`, `max_new_tokens=60`, `language_contrast=0.3`, `sample=True, seed=1`, ...

        Returns:
            A translation for each clip that could be read, in the order of `media`.

        Raises:
            InputError: a clip cannot be read or is no clip, a setting is unknown or out of range,
                or there are fewer beams than `n_best`.
        """
        check_count("n_best", n_best)
        check_count("batch_size", batch_size)
        settings = self.decoding.change(**decoding)
        _check_n_best(n_best, settings)
        if frame_rate is not None:
            check_frame_rate(frame_rate, "frame_rate")
        rows: list[Translation] = []  # their texts come later, but for those that stay empty
        features: list[Tensor] = []
        for clip in _track(list_media(media), "encoding", progress):
            name = clip.id if isinstance(clip, Sample) else _readable(clip)
            try:
                read = read_clip(self.model, self.processor, clip, frame_rate)
            except InputError as error:
                if on_error is None:
                    raise
                on_error(name, error)
                continue
            reason = None if translate_empty else read.empty
            rows.append(Translation.without_text(name, clip, reason, read.notes))
            for text in read.notes:
                on_note(name, text)
            if reason is None:
                features.append(self.encode(read.content))
        texts = iter(
            translate_features(
                self.model,
                self.processor,
                features,
                settings,
                names=[row.media for row in rows if row.reason is None],
                n_best=n_best,
                batch_size=batch_size,
                attention=attention,
                progress=progress,
            )
        )
        return [
            row
            if row.reason is not None
            else replace(
                next(texts),
                notes=row.notes,
                start_seconds=row.start_seconds,
                end_seconds=row.end_seconds,
            )
            for row in rows
        ]

    def read(self, clip: Media, frame_rate: float | None = None) -> NDArray[Any]:
        """What the model is given of a clip: frames (n, height, width, 3) RGB, or sound (n,).

        What there is to say of it, see `ClipContent`, is noted on standard error.

        Args:
            clip: a video, a frame folder, sound, or a sample of a corpus.
            frame_rate: pictures per second of a frame folder; None: 25, or what a sample says.

        Raises:
            InputError: the clip cannot be read, or is longer than the model can take in; the rate
                is out of range, or given for what is no frame folder.
        """
        (clip,) = list_media(clip)
        read = read_clip(self.model, self.processor, clip, frame_rate)
        for text in read.notes:
            _print_note(clip.id if isinstance(clip, Sample) else _readable(clip), text)
        return read.content

    def encode(self, frames: NDArray[Any]) -> Tensor:
        """The encoder's features of one clip as `read` gives it: (time, dim), on the processor."""
        batch = self.processor([frames])
        device = self.model.device
        bfloat16 = encodes_in_bfloat16(self.precision)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        ):
            features, _ = self.model.encode(batch["frames"].to(device), batch["lengths"].to(device))
        return features[0].float().cpu()


def translate_features(
    model: Translator,
    processor: TranslatorProcessor,
    features: Sequence[Tensor],
    decoding: DecodingSettings,
    *,
    names: Sequence[str] | None = None,
    n_best: int = 1,
    batch_size: int = 8,
    attention: bool = False,
    progress: bool = False,
) -> list[Translation]:
    """Translate from the encoder's features.

    Clips of like length share a batch. The model is in eval mode while it translates; afterwards it
    is in the mode that it had before.

    Args:
        model: the translator.
        processor: turns tokens into text.
        features: for each clip (time, dim).
        decoding: how texts are searched for; they get no longer than the language model has
            positions for.
        names: the translations' `media`; their numbers when not given.
        n_best: hypotheses of each clip; at most as many as beams unless they are drawn.
        batch_size: clips that are translated at a time.
        attention: also tell which frames each word attended to.
        progress: show a progress bar on standard error.

    Returns:
        A translation for each clip, in the order of `features`.

    Raises:
        InputError: there are fewer beams than `n_best`, or a clip leaves the language model no
            position for a word.
    """
    _check_n_best(n_best, decoding)
    names = names or [str(index) for index in range(len(features))]
    limits = []
    for name, row in zip(names, features, strict=True):
        room = text_limit(model, len(row))
        if room is not None and room < 1:
            raise InputError(
                f"{name}: found {len(row)} positions of signal, expected at most"
                f" {signal_limit(model)}, for which the language model has room"
            )
        limits.append(min(room or decoding.max_new_tokens, decoding.max_new_tokens))
    order = sorted(range(len(features)), key=lambda index: -len(features[index]))
    batches = []
    for _, group in groupby(order, lambda index: limits[index]):  # a clip has its own room, alone
        alike = list(group)
        batches += [alike[i : i + batch_size] for i in range(0, len(alike), batch_size)]
    done: dict[int, Translation] = {}
    was_training = model.training
    model.eval()
    try:
        for batch in _track(batches, "translating", progress):
            rows = translate_batch(
                model,
                processor,
                [features[index] for index in batch],
                decoding.change(max_new_tokens=limits[batch[0]]),
                [names[index] for index in batch],
                n_best=n_best,
                attention=attention,
            )
            done |= dict(zip(batch, rows, strict=True))
    finally:
        model.train(was_training)
    return [done[index] for index in range(len(features))]


def find_model(model: str | Path) -> str:
    """The folder or hub name from which a model is loaded, given a run or model folder or a name.

    Raises:
        InputError: a folder without a model, or neither a folder nor like a hub name.
    """
    folder = as_path(model, "model")
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            return str(candidate)
    if (folder / RUN_FILE).is_file():
        raise InputError(f"{model}: the run is not finished: `unglossed train --resume` goes on")
    if folder.is_dir():
        fault = "found neither model/config.json nor config.json"
        raise InputError(f"{model}: {fault}, expected a run folder or a model folder")
    if not may_be_on_hub(model):
        raise InputError(
            f"{model}: no such folder, expected a run folder, a model folder or a hub name"
        )
    return str(model)


def load(model: str | Path, *, precision: str = "float32") -> SignTranslator:
    """Load a trained model; see `SignTranslator.from_pretrained`."""
    return SignTranslator.from_pretrained(model, precision=precision)


def translate(
    model: str | Path,
    media: Media | Sequence[Media],
    *,
    precision: str = "float32",
    **settings: Any,
) -> list[Translation]:
    """Load a model and translate clips with it; settings are `SignTranslator.translate`'s."""
    return load(model, precision=precision).translate(media, **settings)


def _check_n_best(n_best: int, decoding: DecodingSettings) -> None:
    if n_best > decoding.beams and not decoding.sample:
        raise InputError(f"n_best: found {n_best}, expected at most the {decoding.beams} beams")


def _readable(name: Path | str) -> str:
    """A file's name as text, also where it is in another encoding."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _track(items: Sequence[Any], label: str, shown: bool) -> Iterable[Any]:
    if not shown:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, label, console=Console(stderr=True), transient=True)
