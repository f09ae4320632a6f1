"""Videos, or features of an encoder, to text with a score, an n-best list and attention.

The trainer calls `translate_features` on cached features; everybody else `SignTranslator`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils import logging as transformers_logging

from unglossed.corpora.sample import Sample
from unglossed.corpora.table import TABLE_SUFFIXES
from unglossed.errors import InputError, note
from unglossed.files import find_path
from unglossed.hub import find_model
from unglossed.inference.decoding import DecodingSettings, check_count, load_decoding
from unglossed.inference.output import Hypothesis, Translation, merge_words
from unglossed.inference.precision import (
    Precision,
    encodes_in_bfloat16,
    lower_precision,
    read_precision,
)
from unglossed.inference.search import signal_limit, text_limit, text_scores, write_texts
from unglossed.media.contents import Emptiness
from unglossed.media.frames import FRAME_RATE
from unglossed.media.signal import (
    Clip,
    VideoSignal,
    WholeFile,
    at_frame_rate,
    check_frame_rate,
    sample_indices,
    signal_of,
)
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.saved import TrainedLengths, load_translator
from unglossed.models.translator import Translator

Media = Path | str | Sample

_EXPECTED = "a path of a video, a folder of frames or sound, or a Sample"


@dataclass(frozen=True, eq=False)
class ClipContent:
    """A clip as a model is given it.

    Attributes:
        content: Frames (n, height, width, 3) uint8 RGB, or sound (n,) float32.
        empty: Why there is nothing to translate in it; None: there is something.
        notes: What a user should know of it, a sentence each.
    """

    content: NDArray[Any]
    empty: Emptiness | None
    notes: tuple[str, ...]


def list_media(media: Media | Iterable[Media]) -> list[Media]:
    """The clips that a user gave: one, or several one after the other.

    Raises:
        InputError: Something is neither a path nor a sample.
    """
    return list(_each(media))


def _each(media: Media | Iterable[Media]) -> Iterator[Media]:
    if isinstance(media, (str, Path, Sample)):
        return iter([media])
    is_file = hasattr(media, "read")
    if isinstance(media, (bytes, Mapping)) or is_file or not isinstance(media, Iterable):
        raise InputError(f"media: found {_kind(media)}, expected {_EXPECTED}, or a list of them")
    clips: Iterable[Any] = [media] if hasattr(media, "shape") else media
    return (_checked(clip, number) for number, clip in enumerate(clips, start=1))


def _checked(clip: Any, number: int) -> Media:
    if not isinstance(clip, (str, Path, Sample)):
        raise InputError(f"media, clip {number}: found {_kind(clip)}, expected {_EXPECTED}")
    return clip


def read_clip(
    model: Translator,
    processor: TranslatorProcessor,
    clip: Media,
    frame_rate: float | None = None,
) -> ClipContent:
    """Read what a model is given of a clip.

    Args:
        model: the translator; it limits how long a clip may be.
        processor: of the model.
        clip: a video, a frame folder, sound, or a sample of a corpus.
        frame_rate: pictures per second of a frame folder; None: 25, or what a sample says.

    Raises:
        InputError: the clip cannot be read, or is longer than the model can take in; the rate is
            out of range, or given for what is no frame folder.
    """
    if clip == "":
        raise InputError("found an empty name, expected a video, a folder of frames, or sound")
    where: Clip = clip if isinstance(clip, Sample) else WholeFile(find_path(Path(clip)))
    if where.media.suffix.lower() in TABLE_SUFFIXES and where.media.is_file():
        raise InputError(
            f"{where.media}: is a table, expected a video, a folder of frames, or sound;"
            f" `unglossed translate` reads the clips that it lists as table:{where.media}"
        )
    if frame_rate is not None:
        where = at_frame_rate(where, frame_rate)
    try:
        content, cut = _read(model, processor, where)
    except OSError as error:
        told = error.filename or where.media
        raise InputError(f"{told}: cannot be read: {error.strerror}") from error
    return _content(processor, content, cut)


def read_frames(
    model: Translator, processor: TranslatorProcessor, frames: Any, fps: float
) -> ClipContent:
    """Thin frames in memory as those of a folder with this rate are.

    Args:
        model: the translator; it limits how long a clip may be.
        processor: of the model.
        frames: (n, height, width, 3) uint8 RGB, or an iterable of such frames.
        fps: frames per second.

    Raises:
        InputError: the frames are something else, there are too many for the model, or it reads
            audio; the rate is out of range.
    """
    signal = signal_of(processor)
    if not isinstance(signal, VideoSignal):
        raise InputError("frames: the model reads audio, expected a model that reads video")
    rate = check_frame_rate(fps, "fps")
    rows = _list_frames(frames)
    times = np.arange(len(rows)) / rate
    steps = np.arange(max(1, round(len(rows) / rate * FRAME_RATE))) / FRAME_RATE
    after = np.searchsorted(times, steps).clip(min(1, len(rows) - 1), len(rows) - 1)
    grid = after - (steps - times[after - 1] <= times[after] - steps) if len(rows) > 1 else after
    kept = grid[sample_indices(len(grid), signal.frame_share)]
    limit = model.encoder.input_limit(signal_limit(model, processor.max_tokens))
    if limit is not None and len(kept) > limit:
        raise InputError(
            f"frames: found {len(kept) / signal.units_per_second:.1f} seconds of video, expected at"
            f" most {limit / signal.units_per_second:.1f} for this model: cut it into sentences"
        )
    return _content(processor, np.stack([rows[index] for index in kept]), None)


def _list_frames(frames: Any) -> list[NDArray[np.uint8]]:
    expected = "expected (n, height, width, 3) uint8 RGB, or an iterable of such frames"
    if isinstance(frames, (str, bytes, Path, Mapping)) or not isinstance(frames, Iterable):
        raise InputError(f"frames: found {type(frames).__name__}, {expected}")
    rows = [np.asarray(frame) for frame in frames]
    for number, row in enumerate(rows, start=1):
        if row.ndim != 3 or row.shape[2] != 3 or row.dtype != np.uint8 or not row.size:
            found = f"{row.dtype} of shape {row.shape}"
            raise InputError(f"frames, frame {number}: found {found}, {expected}")
        if row.shape != rows[0].shape:
            raise InputError(
                f"frames, frame {number}: found shape {row.shape}, expected {rows[0].shape} as in"
                " the first frame"
            )
    if not rows:
        raise InputError(f"frames: found none, {expected}")
    return rows


def _content(processor: TranslatorProcessor, content: NDArray[Any], cut: str | None) -> ClipContent:
    notes = [] if cut is None else [cut]
    if cut is None and processor.trained_seconds is not None:
        lengths = TrainedLengths.from_dict(processor.trained_seconds)
        notes += filter(None, [lengths.told(len(content) / signal_of(processor).units_per_second)])
    empty = signal_of(processor).emptiness(content)
    if empty is not None:
        notes.append(f"nothing is in it to translate: {empty.told}")
    return ClipContent(content, empty, tuple(notes))


def _read(
    model: Translator, processor: TranslatorProcessor, where: Clip
) -> tuple[NDArray[Any], str | None]:
    """The content, and what is told if it was cut."""
    signal = signal_of(processor)
    room = signal_limit(model, processor.max_tokens)
    limit = model.encoder.input_limit(room)
    if processor.max_seconds is None:
        return signal.read(where, limit=limit), None
    most = round(processor.max_seconds * signal.units_per_second)
    most = most if limit is None else min(most, limit)
    read = signal.read(where, limit=most + 1, cut=True)  # one more tells whether there is more
    if len(read) <= most:
        return read, None
    seconds, kept = signal.seconds_of(where), most / signal.units_per_second
    return read[:most], f"{seconds:.1f} seconds, cut to {kept:.1f}"


def _kind(value: object) -> str:
    """What a value is, for a message."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return (
            f"{type(value).__name__} of shape {tuple(shape)} (frames in memory:"
            " `translate_frames` takes them)"
        )
    return "an open file" if hasattr(value, "read") else type(value).__name__


# Not inference mode: a table that a model fills on first use must stay fit for later training.
@torch.no_grad()
def translate_batch(
    model: Translator,
    processor: TranslatorProcessor,
    rows: Sequence[Tensor],
    decoding: DecodingSettings,
    names: Sequence[str],
    *,
    n_best: int,
    attention: bool,
) -> list[Translation]:
    """Translate clips that share a batch.

    Args:
        model: the translator, in eval mode.
        processor: turns tokens into text.
        rows: for each clip its features (time, dim).
        decoding: how texts are searched for.
        names: the translations' `media`.
        n_best: hypotheses of each clip.
        attention: also tell which frames each word attended to.

    Returns:
        A translation for each clip, in order.
    """
    features, mask = pad_features(rows)
    features = features.to(model.device, next(model.adapter.parameters()).dtype)
    mask = mask.to(model.device)
    tokens = write_texts(model, features, mask, decoding, n_best=n_best, names=names)
    tokens = tokens.reshape(len(rows), n_best, -1)
    scores = torch.stack(
        [text_scores(model, features, mask, texts) for texts in tokens.unbind(1)], dim=1
    )
    for name, values in zip(names, scores, strict=True):
        if not values.isfinite().all():
            raise InputError(
                f"{name}: found a score that is NaN or infinite, expected a number: the model's"
                " weights are too large for its computations, or are no numbers"
            )
    ranked = [
        _rank(processor.decode(texts), values, drawn=decoding.sample)
        for texts, values in zip(tokens, scores.tolist(), strict=True)
    ]
    best = torch.stack([texts[found[0][0]] for texts, found in zip(tokens, ranked, strict=True)])
    weights = model.attend(features, mask, best).float().cpu() if attention else None
    translations = []
    for index, (row, found) in enumerate(zip(rows, ranked, strict=True)):
        n_best_list = tuple(hypothesis for _, hypothesis in found)
        words = None
        if weights is not None:
            words = merge_words(processor, best[index].tolist(), weights[index, :, : len(row)])
        first = n_best_list[0]
        translations.append(
            Translation(names[index], first.text, first.score, n_best_list, words, len(row))
        )
    return translations


def _rank(
    texts: Sequence[str], scores: Sequence[float], *, drawn: bool
) -> list[tuple[int, Hypothesis]]:
    """Hypotheses of one clip with their places among its texts; see `Translation.n_best`."""
    found = [(place, Hypothesis(*one)) for place, one in enumerate(zip(texts, scores, strict=True))]
    if not drawn:
        return found
    once: dict[str, tuple[int, Hypothesis]] = {}
    for one in sorted(found, key=lambda one: -one[1].score):
        once.setdefault(one[1].text, one)
    return list(once.values())


def _print_note(name: str, text: str) -> None:
    note(f"{name}: {text}")


class SignTranslator:
    """A trained model with its processor, ready to translate videos.

    Args:
        model: stays on its device; put into eval mode.
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
        """Load a model onto the GPU if there is one, else keep it on the CPU.

        Args:
            model: a run folder (which holds `model/`), a model folder, or a name on the hub.
            precision: "float32", "bfloat16", or "int8", which computes on the CPU.

        Raises:
            InputError: it is none of these, or cannot be loaded, or there is no such precision.
        """
        chosen = read_precision(precision)
        source = find_model(model)
        with _without_progress_bars():
            translator, processor = load_translator(source)
        on_gpu = torch.cuda.is_available() and chosen is not Precision.INT8
        translator.to("cuda" if on_gpu else "cpu")
        return cls(translator, processor, load_decoding(source), chosen)

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
            progress: Show a progress bar on standard error.
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
                `media.contents`; otherwise they get an empty text with the `reason`. `frame_rate`:
                pictures per second of frame folders, 25 unless a sample says otherwise. All others
                are fields of `DecodingSettings`: `beams=1`, `max_new_tokens=60`,
                `language_contrast=0.3`, `sample=True, seed=1`, ...

        Yields:
            A translation for each clip that could be read, in the order of `media`.

        Raises:
            InputError: A clip cannot be read or is not a clip, a setting is unknown or out of
                range, or there are fewer beams than `n_best`.
        """
        return self._stream(_each(media), **settings)

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
        frame_rate: float | None = None,
        reader: Callable[[Media], ClipContent] | None = None,
        **decoding: Any,
    ) -> Iterator[Translation]:
        """Check the settings now, and translate when asked for the next translation."""
        check_count("n_best", n_best)
        check_count("batch_size", batch_size)
        settings = self.decoding.change(**decoding)
        _check_n_best(n_best, settings)
        if frame_rate is not None:
            check_frame_rate(frame_rate, "frame_rate")

        def read(clip: Media) -> ClipContent:
            return read_clip(self.model, self.processor, clip, frame_rate)

        @torch.inference_mode()
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
                    )
                )
                for row, features in group:
                    yield row if features is None else row.with_text(next(texts))

        return translated()

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
        """The encoder's features of one clip as `read` gives it: (time, dim), on the CPU."""
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
def _without_progress_bars() -> Iterator[None]:
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
