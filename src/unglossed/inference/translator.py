"""Videos, or features of an encoder, to text with a score, an n-best list and attention.

The trainer calls `translate_features` on cached features; everybody else `SignTranslator`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils import logging as transformers_logging

from unglossed.config import DecodingSettings, check_count
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.hub import find_model
from unglossed.inference.choosing import ALONE, Beside
from unglossed.inference.context import find_rows
from unglossed.inference.limits import alike_batches
from unglossed.inference.output import Doubt, Translation
from unglossed.inference.precision import (
    Precision,
    encodes_in_bfloat16,
    lower_precision,
    read_precision,
)
from unglossed.inference.reading import (
    ClipContent,
    Media,
    arrays_for,
    each_clip,
    list_media,
    read_clip,
    read_frames,
)
from unglossed.inference.search import load_decoding, translate_batch
from unglossed.media.signal import check_frame_rate
from unglossed.models.frozen import FrozenForm
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_translator
from unglossed.models.translator import Translator


def _print_note(name: str, text: str) -> None:
    note(f"{name}: {text}")


class SignTranslator:
    """A trained model with its processor, ready to translate videos.

    Args:
        model: stays on its device; put into eval mode.
        processor: saved beside the model.
        decoding: how it searches for texts unless told otherwise.
        precision: of a model in float32, whose weights are changed for it.
        beside: what judges its texts: a kept alignment, a calibrated confidence.
    """

    def __init__(
        self,
        model: Translator,
        processor: TranslatorProcessor,
        decoding: DecodingSettings | None = None,
        precision: Precision = Precision.FLOAT32,
        beside: Beside = ALONE,
    ) -> None:
        self.model = model.eval()
        self.precision = precision
        lower_precision(model, precision)
        self.processor = processor
        self.decoding = decoding or DecodingSettings()
        self.beside = beside
        self._frozen_form = FrozenForm()

    @classmethod
    def from_pretrained(cls, model: str | Path, *, precision: str = "float32") -> SignTranslator:
        """Load a model onto the GPU if there is one, else keep it on the CPU.

        Args:
            model: a run folder (which holds `model/`), a model folder, or a name on the hub.
            precision: "float32", "bfloat16", or "int8", which computes on the CPU.

        Raises:
            InputError: it is none of these, or cannot be loaded, or there is no such precision.
        """
        chosen = read_precision(precision)
        source = find_model(model)
        with without_progress_bars():
            translator, processor = load_translator(source)
        on_gpu = torch.cuda.is_available() and chosen is not Precision.INT8
        translator.to("cuda" if on_gpu else "cpu")
        return cls(translator, processor, load_decoding(source), chosen, Beside.load(source))

    def translate(
        self, media: Media | Iterable[Media], *, progress: bool = False, **settings: Any
    ) -> list[Translation]:
        """Translate clips, each on its own whatever the batch.

        A video is brought to 25 frames a second and thinned as in FLa-LLM's evaluation. A sample's
        begin and end are honoured, and audio is cut where training cut it.

            >>> translator = unglossed.load(model)
            >>> [translation.text for translation in translator.translate([clip, clip])]
            ['morgen regnet es im norden', 'morgen regnet es im norden']

        Args:
            media: Videos, frame folders or samples of a corpus.
            progress: Show a progress bar on stderr.
            settings: See `stream`.

        Returns:
            A translation for each clip that could be read, in the order of `media`.

        Raises:
            InputError: See `stream`.
        """
        clips = list_media(media)
        ahead = settings.pop("read_ahead", max(len(clips), 1))
        return list(self._stream(clips, progress=progress, read_ahead=ahead, **settings))

    def stream(self, media: Media | Iterable[Media], **settings: Any) -> Iterator[Translation]:
        """Translate clips one batch after another, as they come: `media` may never end.

            >>> translator = unglossed.load(model)
            >>> for translation in translator.stream(iter([clip, clip])):
            ...     print(translation.text)
            morgen regnet es im norden
            morgen regnet es im norden

        Args:
            media: See `translate`; read as far as needed.
            settings: `n_best=3`: hypotheses of each clip, at most as many as beams unless they are
                drawn. `batch_size=8`: clips translated at a time. `read_ahead`: clips that are read
                before the first of them is translated, a batch by default; more let clips of
                similar length share a batch. `attention=True`: also tell which frames each word
                attended to. `on_error(name, error)` is called for a clip that cannot be read, which
                is then left out; without it the first such clip ends the translation.
                `on_note(name, text)` is called for a clip that is far longer than those of
                training, was cut, or has nothing in it; by default this is printed to stderr.
                `translate_empty=True`: translate clips with nothing in them too, see
                `media.probe`; otherwise they get an empty text with the `reason`.
                `least_confidence`: of a model that is calibrated; what is less gives no text but
                the reason `not_understood`; None: the model's own threshold, 0: every text is
                given. `frame_rate`: pictures per second of frame folders, 25 unless a sample says
                otherwise. `array`: of two streams, the clip's array or a folder of such; else those
                beside the clips. All others are `DecodingSettings`: `beams=1`, `to="en"`, ...

        Yields:
            A translation for each clip that could be read, in the order of `media`.

        Raises:
            InputError: A clip cannot be read or is not a clip, a setting is unknown or out of
                range, the model does not write the language, or there are fewer beams than
                `n_best`.
        """
        return self._stream(each_clip(media), **settings)

    def translate_frames(
        self,
        frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
        fps: float,
        *,
        name: str = "frames",
        **settings: Any,
    ) -> Translation:
        """Translate one clip whose frames are in memory.

            >>> translator = unglossed.load(model)
            >>> translator.translate_frames(frames, fps=30).text
            'morgen regnet es im norden'

        Args:
            frames: (n, height, width, 3) uint8 RGB, or an iterable of such frames.
            fps: Frames per second; they are thinned to the model's rate as those of files are.
            name: The translation's `media`.
            settings: See `stream`.

        Raises:
            InputError: The frames are something else, or see `stream`.
        """
        read = read_frames(self.model, self.processor, frames, fps)
        (translation,) = self._stream([name], reader=lambda clip: read, **settings)
        return translation

    def _stream(
        self,
        clips: Iterable[Media],
        *,
        n_best: int = 1,
        batch_size: int = 8,
        read_ahead: int | None = None,
        attention: bool = False,
        progress: bool = False,
        on_error: Callable[[str, InputError], None] | None = None,
        on_note: Callable[[str, str], None] = _print_note,
        translate_empty: bool = False,
        least_confidence: float | None = None,
        frame_rate: float | None = None,
        array: Path | str | None = None,
        reader: Callable[[Media], ClipContent] | None = None,
        **decoding: Any,
    ) -> Iterator[Translation]:
        """Check the settings now, and translate when asked for the next translation."""
        check_count("n_best", n_best)
        check_count("batch_size", batch_size)
        if read_ahead is not None:
            check_count("read_ahead", read_ahead)
        settings = self.decoding.change(**decoding)
        self.processor.check_language(settings.to)
        _check_n_best(n_best, settings)
        self.beside.check(settings)
        self.beside.note_other_decoding(settings)
        least = self.beside.least_confidence(least_confidence)
        if frame_rate is not None:
            check_frame_rate(frame_rate, "frame_rate")

        arrays = arrays_for(self.processor, array)
        read = partial(read_clip, self.model, self.processor, frame_rate=frame_rate, arrays=arrays)

        def encoded() -> Iterator[tuple[Translation, Tensor | None]]:
            for clip in _track(clips, "encoding", progress):
                name = clip.id if isinstance(clip, Sample) else _readable(clip)
                try:
                    found = (reader or read)(clip)
                except InputError as error:
                    if on_error is None:
                        raise
                    on_error(name, error)
                    continue
                reason = None if translate_empty else found.empty
                for text in found.notes:
                    on_note(name, text)
                row = Translation.without_text(name, clip, reason, found.notes)
                yield row, None if reason is not None else self.encode(found.content)

        def translated() -> Iterator[Translation]:
            waiting = encoded()
            while group := list(islice(waiting, read_ahead or batch_size)):
                texts = iter(
                    translate_features(
                        self.model,
                        self.processor,
                        [features for _, features in group if features is not None],
                        settings,
                        names=[row.media for row, features in group if features is not None],
                        n_best=n_best,
                        batch_size=batch_size,
                        attention=attention,
                        progress=progress,
                        beside=self.beside,
                    )
                )
                for row, features in group:
                    told = row if features is None else row.with_text(next(texts)).withheld(least)
                    if told.reason is Doubt.NOT_UNDERSTOOD:
                        on_note(told.media, told.notes[-1])
                    yield told

        return translated()

    def read(self, clip: Media, frame_rate: float | None = None) -> NDArray[Any]:
        """What the model is given of a clip: frames (n, height, width, 3) RGB, or audio (n,).

        What there is to say of it, see `ClipContent`, is noted on stderr.

        Args:
            clip: a video, a frame folder, audio, or a sample of a corpus.
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
        """The encoder's features of one clip as `read` gives it: (time, dim), on the CPU.

        Its fast form computes them, see `models.frozen`.
        """
        return self.encode_views(self.processor([frames])["frames"])

    def encode_views(self, views: Tensor) -> Tensor:
        """Features (time, dim) of one clip as the processor gives it, on the CPU.

        Args:
            views: (n, crop, crop, 3) uint8, or samples (n,) float32.
        """
        with self._encoding(views) as (encoder, pictures):
            features, _ = encoder(pictures, torch.tensor([len(pictures)], device=pictures.device))
        return features[0].float().cpu()

    def vectors_of(self, views: Tensor, before: Tensor | None = None) -> Tensor:
        """One vector a frame (n, dim), from which `lay_out` makes features of any clip in it.

        Args:
            views: (n, crop, crop, 3) uint8; the encoder is a visual one.
            before: (crop, crop, 3) the frame before them; None: there is none.
        """
        with self._encoding(views) as (encoder, pictures):
            return encoder.pooled(encoder.paired(pictures, before=before))

    def lay_out(self, vectors: Tensor) -> Tensor:
        """Features (time, dim) of a clip from the vectors of its frames, as `encode_views` gives.

        Args:
            vectors: (n, dim) of `vectors_of`.
        """
        with self._encoding(None) as (encoder, _):
            lengths = torch.tensor([len(vectors)], device=vectors.device)
            features, _ = encoder.laid_out(vectors, lengths)
        return features[0].float().cpu()

    @contextmanager
    def _encoding(self, views: Tensor | None) -> Iterator[tuple[Any, Any]]:
        """The fast form of the encoder for views, and these on the model's device."""
        device = self.model.device
        bfloat16 = encodes_in_bfloat16(self.precision)
        pictures = None if views is None else views.to(device)
        encoder: Any = self.model.encoder
        if pictures is not None:
            encoder = self._frozen_form.of(encoder, bfloat16=bfloat16, frames=pictures)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        ):
            yield encoder, pictures


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
    context: Sequence[Tensor] | None = None,
    beside: Beside = ALONE,
) -> list[Translation]:
    """Translate from the encoder's features.

    Clips of similar length share a batch. The model is in eval mode while it translates; afterwards
    it is in the mode that it had before.

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
        progress: show a progress bar on stderr.
        context: for each clip its texts beside the features, see `find_rows`; found here when not
            given, where the model reads any.
        beside: what judges the texts; translations have a confidence where it has one, and keep
            their texts whatever it is.

    Returns:
        A translation for each clip, in the order of `features`.

    Raises:
        InputError: there are fewer beams than `n_best`, the model does not write the language, a
            clip leaves it no position for a word, or `decoding.choice` asks for an alignment that
            is not there.
    """
    _check_n_best(n_best, decoding)
    processor.check_language(decoding.to)
    beside.check(decoding)
    names = names or [str(index) for index in range(len(features))]
    batches = alike_batches(model, features, names, decoding, batch_size)
    if context is None and model.context is not None:
        context = find_rows(model, processor, features)
    done: dict[int, Translation] = {}
    was_training = model.training
    model.eval()
    try:
        with model.language_model.writing(decoding.to):
            for batch, settings in _track(batches, "translating", progress):
                rows = translate_batch(
                    model,
                    processor,
                    [features[index] for index in batch],
                    settings,
                    [names[index] for index in batch],
                    n_best=n_best,
                    attention=attention,
                    context=None if context is None else [context[index] for index in batch],
                    beside=beside,
                )
                done |= dict(zip(batch, rows, strict=True))
    finally:
        model.train(was_training)
    return [done[index] for index in range(len(features))]


def load(model: str | Path, *, precision: str = "float32") -> SignTranslator:
    """Load a trained model; see `SignTranslator.from_pretrained`.

    >>> unglossed.load(model).translate(clip)
    [Translation('morgen regnet es im norden', score=-0.0..., media='clip')]
    """
    return SignTranslator.from_pretrained(model, precision=precision)


def translate(
    model: str | Path,
    media: Media | Iterable[Media],
    *,
    precision: str = "float32",
    **settings: Any,
) -> list[Translation]:
    """Load a model and translate clips with it; settings are `SignTranslator.stream`'s.

    >>> unglossed.translate(model, clip, beams=1)[0].text
    'morgen regnet es im norden'
    """
    return load(model, precision=precision).translate(media, **settings)


def stream(
    model: str | Path,
    media: Media | Iterable[Media],
    *,
    precision: str = "float32",
    **settings: Any,
) -> Iterator[Translation]:
    """Load a model and translate clips as they come; see `SignTranslator.stream`.

    >>> next(unglossed.stream(model, iter([clip, clip]))).text
    'morgen regnet es im norden'
    """
    return load(model, precision=precision).stream(media, **settings)


def translate_frames(
    model: str | Path,
    frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    fps: float,
    *,
    precision: str = "float32",
    **settings: Any,
) -> Translation:
    """Load a model and translate frames; see `SignTranslator.translate_frames`.

    >>> frames.shape, frames.dtype.name
    ((9, 26, 21, 3), 'uint8')
    >>> unglossed.translate_frames(model, frames, fps=25).text
    'morgen regnet es im norden'
    """
    return load(model, precision=precision).translate_frames(frames, fps, **settings)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Have transformers load without its bars."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _check_n_best(n_best: int, decoding: DecodingSettings) -> None:
    if n_best > decoding.beams and not decoding.sample:
        raise InputError(f"n_best: found {n_best}, expected at most the {decoding.beams} beams")


def _readable(name: Path | str) -> str:
    """A file's name as text, also where it is in another encoding."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _track(items: Iterable[Any], label: str, shown: bool) -> Iterable[Any]:
    if not shown:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, label, console=Console(stderr=True), transient=True)
