"""Sentences of a long video, or of a talk: found, then translated, with their times.

A video is read once, in blocks. What the encoder makes of a frame is used both to find sentences
and to translate them, and is let go as soon as no sentence can need it any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from unglossed.corpora.sample import Sample
from unglossed.corpora.segments import Segment
from unglossed.errors import InputError
from unglossed.files import find_path
from unglossed.inference.cutting import Cutter, MotionCutter, SegmenterCutter
from unglossed.inference.limits import signal_limit
from unglossed.inference.output import NOT_UNDERSTOOD, Doubt, Translation, WordAttention
from unglossed.inference.pauses import LONGEST_SECONDS, find_pauses
from unglossed.inference.spans import SpanFinder
from unglossed.inference.translator import (
    SignTranslator,
    translate_features,
    without_progress_bars,
)
from unglossed.inference.windows import Block, kept_rate, kept_seconds, read_blocks
from unglossed.media.signal import (
    AudioSignal,
    Clip,
    VideoSignal,
    WholeFile,
    at_frame_rate,
    signal_of,
)
from unglossed.models.frozen import FrozenForm
from unglossed.models.saved import TrainedLengths, load_segmenter
from unglossed.models.segmenter import Segmenter

Progress = Callable[[float, float], None]
"""Is told the seconds that are done, and those of the whole."""


class Cut(StrEnum):
    """How sentences are found."""

    AUTO = "auto"
    """By the segmenter where there is one, else by motion; in audio by pauses."""
    MOTION = "motion"
    """By how much of the picture moves."""
    SEGMENTER = "segmenter"
    """By a trained segmenter."""
    PAUSES = "pauses"
    """Audio, by its loudness."""
    WHOLE = "whole"
    """All of it is one sentence."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a long video.

    Attributes:
        number: From 1.
        start_seconds: Begin in the media.
        end_seconds: End in the media.
        text: The translation; empty where nothing was in it to translate, or was not understood.
        score: Mean log-probability of its tokens, at most 0; None: it was not translated.
        words: Its words with their weights on the kept frames, if asked for.
        frame_seconds: When each kept frame is shown in the media; empty without `words`.
        calibrated: Its confidence, see `Translation`; None: the model is not calibrated.
        understood: Whether that is enough for the text to be given.
    """

    number: int
    start_seconds: float
    end_seconds: float
    text: str
    score: float | None
    words: tuple[WordAttention, ...] | None = None
    frame_seconds: tuple[float, ...] = ()
    calibrated: float | None = None
    understood: bool = True

    @property
    def confidence(self) -> float:
        """Calibrated, or else the mean probability of its tokens; 0 where it was not translated."""
        if self.calibrated is not None:
            return self.calibrated
        return 0.0 if self.score is None else math.exp(self.score)

    @property
    def shown(self) -> str:
        """The text, or for people the mark that nothing was understood."""
        return self.text if self.understood else NOT_UNDERSTOOD


@dataclass(frozen=True, eq=False)
class Found:
    """A sentence that was found, and is not translated yet.

    Attributes:
        start: When it begins, in seconds.
        end: When it ends.
        features: What the encoder makes of it, (time, dim).
        seconds: When each of its kept frames is shown.
    """

    start: float
    end: float
    features: Tensor
    seconds: tuple[float, ...]


class SentenceTranslator:
    """Finds the sentences of long videos, or of talks, and translates them.

        >>> translator = unglossed.SentenceTranslator(unglossed.load(model))
        >>> [sentence.text for sentence in translator.translate(recording)]
        ['morgen regnet es im norden', 'morgen regnet es im norden']

    Args:
        translator: writes the texts.
        segmenter: finds the sentences of videos; None: they are found by motion.
    """

    def __init__(self, translator: SignTranslator, segmenter: Segmenter | None = None) -> None:
        self.translator = translator
        self.segmenter = None if segmenter is None else segmenter.eval().to(translator.model.device)
        self._own_form = FrozenForm()
        self._shares_encoder = segmenter is not None and _are_equal(
            segmenter.encoder, translator.model.encoder
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        segmenter: str | Path | None = None,
        *,
        precision: str = "float32",
    ) -> Self:
        """Load a model, and a segmenter, see `SignTranslator.from_pretrained`.

        Args:
            model: run folder, model folder or hub name.
            segmenter: the same, of a recipe with the objective segmentation.
            precision: of the model.

        Raises:
            InputError: one of the two cannot be loaded, or they do not fit.
        """
        translator = SignTranslator.from_pretrained(model, precision=precision)
        if segmenter is None:
            return cls(translator)
        with without_progress_bars():
            return cls(translator, load_segmenter(segmenter, translator.processor))

    def translate(
        self,
        media: str | Path,
        *,
        cut: str = Cut.AUTO,
        segments: Sequence[Segment] | None = None,
        frame_rate: float | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Iterator[Sentence]:
        """Translate a long video, or a talk, sentence by sentence, as they are found.

        Args:
            media: a video, a folder of frames, or audio.
            cut: how sentences are found, a name in `Cut`.
            segments: where they are; nothing is looked for then.
            frame_rate: pictures a second of a folder of frames; None: 25.
            progress: is told how far it is.
            settings: `attention=True`: also tell which frames each word attended to.
                `batch_size=8`: sentences translated at a time. `least_score`: sentences whose score
                is less are left out. `least_confidence`: see `SignTranslator.stream`. All others
                are fields of `DecodingSettings`.

        Yields:
            The sentences in the order of time.

        Raises:
            InputError: the media cannot be read, are of another kind than the model reads, or there
                is no such way to cut.
        """
        given: Any = media
        if not isinstance(given, str | Path):
            found = type(given).__name__
            raise InputError(f"media: found {found}, expected the path of one video or audio file")
        clip: Clip = WholeFile(find_path(Path(media)))
        if frame_rate is not None:
            clip = at_frame_rate(clip, frame_rate)
        way = self._way(cut)
        if segments is not None:
            self._check_within(clip, segments)
            return self._given(clip, segments, progress, **settings)
        if way is Cut.WHOLE:
            return self._given(clip, [Segment(*self._span(clip))], progress, **settings)
        if way is Cut.PAUSES:
            return self._given(clip, self._between_pauses(clip), progress, **settings)
        end = self._span(clip)[1]
        blocks = read_blocks(clip, self.translator.processor)
        return self.translate_blocks(blocks, cut=way, progress=progress, seconds=end, **settings)

    def translate_blocks(
        self,
        blocks: Iterable[Block],
        *,
        cut: str = Cut.AUTO,
        progress: Progress | None = None,
        seconds: float = math.nan,
        attention: bool = False,
        batch_size: int = 8,
        least_score: float = -math.inf,
        least_confidence: float | None = None,
        **decoding: Any,
    ) -> Iterator[Sentence]:
        """Translate blocks of kept frames, whoever read them; see `translate`.

        Args:
            blocks: of one video, in order, as `read_blocks` gives them.
            cut: "motion", "segmenter", or "auto".
            progress: is told how far it is.
            seconds: length of all of it, for `progress`.
            attention: also tell which frames each word attended to.
            batch_size: sentences translated at a time.
            least_score: sentences whose score is less are left out.
            least_confidence: see `SignTranslator.stream`.
            decoding: fields of `DecodingSettings`.
        """
        settings = self.translator.decoding.change(**decoding)
        self.translator.processor.check_language(settings.to)
        beside = self.translator.beside
        beside.check(settings)
        beside.note_other_decoding(settings)
        least = beside.least_confidence(least_confidence)
        found = self._found(blocks, cut, progress, seconds)

        def translated() -> Iterator[Sentence]:
            number = 0
            while group := list(islice(found, batch_size)):
                texts = translate_features(
                    self.translator.model,
                    self.translator.processor,
                    [one.features for one in group],
                    settings,
                    names=[f"{one.start:.2f} to {one.end:.2f} seconds" for one in group],
                    batch_size=batch_size,
                    attention=attention,
                    beside=beside,
                )
                for one, text in zip(group, texts, strict=True):
                    if text.score is not None and text.score < least_score:
                        continue
                    number += 1
                    shown = one.seconds if attention else ()
                    yield _sentence(number, one.start, one.end, text.withheld(least), shown)

        return translated()

    def find_sentences(
        self, clip: Clip, *, cut: str = Cut.AUTO, progress: Progress | None = None
    ) -> Iterator[Found]:
        """Find the sentences of a video, with their features; nothing is translated.

        Args:
            clip: where it lies.
            cut: "motion", "segmenter" or "auto".
            progress: is told how far it is.

        Raises:
            InputError: see `translate`.
        """
        blocks = read_blocks(clip, self.translator.processor)
        return self._found(blocks, cut, progress, self._span(clip)[1])

    def _found(
        self, blocks: Iterable[Block], cut: str, progress: Progress | None, seconds: float
    ) -> Iterator[Found]:
        finder = self.find(cut)

        def found() -> Iterator[Found]:
            for block in blocks:
                yield from finder.push(block)
                if progress is not None and len(block.seconds):
                    progress(float(block.seconds[-1]), seconds)
            yield from finder.finish()

        return found()

    def find(self, cut: str = Cut.AUTO, *, ahead: int | None = None) -> Finder:
        """What finds sentences in blocks of a video; see `translate_blocks`.

        Args:
            cut: "motion", "segmenter" or "auto".
            ahead: see `SegmenterCutter`.
        """
        way = self._way(cut)
        if way not in (Cut.MOTION, Cut.SEGMENTER):
            raise InputError(f"cut: found {cut!r}, expected motion or segmenter for frames")
        rate = kept_rate(self.translator.processor)
        if way is Cut.MOTION:
            return Finder(self, MotionCutter(rate, self.longest_seconds), 1 / rate)
        assert self.segmenter is not None
        spans = SpanFinder(1 / rate, longest=self.longest_seconds)
        return Finder(self, SegmenterCutter(self.segmenter, spans, ahead=ahead), 1 / rate)

    @property
    def longest_seconds(self) -> float:
        """Of a sentence: longer ones are cut."""
        processor, model = self.translator.processor, self.translator.model
        known = [LONGEST_SECONDS]
        if processor.trained_seconds is not None:
            lengths = TrainedLengths.from_dict(processor.trained_seconds)
            known = [lengths.far_longer]
        if processor.max_seconds is not None:
            known.append(processor.max_seconds)
        limit = model.encoder.input_limit(signal_limit(model, processor.max_tokens))
        if limit is not None:
            known.append(limit / signal_of(processor).units_per_second)
        return min(known)

    def vectors_of(
        self, views: Tensor, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Vectors of frames (n, dim) for the segmenter, and for the translator if they are its own.

        Args:
            views: (n, crop, crop, 3) uint8.
            before: (crop, crop, 3) the frame before them; None: there is none.
        """
        assert self.segmenter is not None
        if self._shares_encoder:
            vectors = self.translator.vectors_of(views, before)
            return vectors, vectors
        views = views.to(self.segmenter.device)
        form: Any = self._own_form.of(self.segmenter.encoder, bfloat16=False, frames=views)
        with torch.inference_mode():
            return form.pooled(form.paired(views, before=before)), None

    def _way(self, cut: str) -> Cut:
        """How sentences are found, decided."""
        if cut not in list(Cut):
            raise InputError(f"cut: found {cut!r}, expected one of {', '.join(Cut)}")
        way, signal = Cut(cut), signal_of(self.translator.processor)
        is_video = isinstance(signal, VideoSignal)
        if not is_video and not isinstance(signal, AudioSignal) and way is not Cut.WHOLE:
            raise InputError(f"cut: found {cut!r} for a model that reads {signal.kind}: take whole")
        if way is Cut.AUTO:
            by_picture = Cut.MOTION if self.segmenter is None else Cut.SEGMENTER
            return by_picture if is_video else Cut.PAUSES
        if way is Cut.SEGMENTER and self.segmenter is None:
            raise InputError(f"cut: found {cut!r} without a segmenter, expected one (--segmenter)")
        if way is not Cut.WHOLE and is_video is (way is Cut.PAUSES):
            raise InputError(f"cut: found {cut!r} for a model that reads {signal.kind}")
        return way

    def _span(self, clip: Clip) -> tuple[float, float]:
        """When a clip's signal begins and ends."""
        signal = signal_of(self.translator.processor)
        return signal.span_of(signal.facts_of(clip.media), clip.frame_rate)

    def _between_pauses(self, clip: Clip) -> Iterator[Segment]:
        begin, end = self._span(clip)
        for span in find_pauses(clip.media, begin, end, longest=self.longest_seconds):
            yield Segment(*span)

    def _check_within(self, clip: Clip, segments: Sequence[Segment]) -> None:
        """Refuse segments behind the end of the media, before the first is translated."""
        end = self._span(clip)[1]
        for number, one in enumerate(segments, start=1):
            if one.start_seconds >= end:
                raise InputError(
                    f"{clip.media}: found a segment from {one.start_seconds:g} to"
                    f" {one.end_seconds:g} seconds (number {number}), expected it within the"
                    f" {end:.2f} seconds of the media"
                )

    def _given(
        self,
        clip: Clip,
        segments: Iterable[Segment],
        progress: Progress | None,
        *,
        least_score: float = -math.inf,
        attention: bool = False,
        **settings: Any,
    ) -> Iterator[Sentence]:
        """Translate segments that are known, each read as a clip of a corpus is."""
        processor = self.translator.processor
        _, end = self._span(clip)

        def samples() -> Iterator[Sample]:
            for one in segments:
                times = one.start_seconds, min(one.end_seconds, end)
                name = f"{clip.media}, {times[0]:.2f} to {times[1]:.2f} seconds"
                row = Sample(name, clip.media, "", "", processor.language, None, None, *times)
                yield replace(row, frame_rate=clip.frame_rate, array=clip.array)

        number = 0
        rows = self.translator.stream(samples(), attention=attention, **settings)
        for text in rows:
            begin, stop = text.start_seconds or 0.0, text.end_seconds or end
            if progress is not None:
                progress(stop, end)
            if text.score is not None and text.score < least_score:
                continue
            number += 1
            shown: tuple[float, ...] = ()
            if attention and isinstance(signal_of(processor), VideoSignal):
                part = WholeFile(clip.media, begin, stop, frame_rate=clip.frame_rate)
                due = kept_seconds(part, processor)
                shown = tuple(due[: text.num_frames].tolist())
            yield _sentence(number, begin, stop, text, shown)


class Finder:
    """Sentences of one video, found while its blocks come in.

    Args:
        sentences: encodes them.
        cutter: says where they are.
        seconds: from one kept frame to the next.
    """

    def __init__(self, sentences: SentenceTranslator, cutter: Cutter, seconds: float) -> None:
        self._sentences, self.cutter, self._step = sentences, cutter, seconds
        self._first = 0  # position of the first frame held
        self._views: list[Tensor] = []
        self._vectors: list[Tensor] = []
        self._seconds: list[float] = []
        self._before: Tensor | None = None  # the last frame of the block before

    def push(self, block: Block) -> list[Found]:
        """Take in the next frames; gives the sentences that have ended."""
        views = torch.from_numpy(block.views)
        vectors = None
        if isinstance(self.cutter, SegmenterCutter):
            vectors, own = self._sentences.vectors_of(views, self._before)
            self._before = views[-1] if len(views) else self._before
            if own is not None:
                self._vectors += own.unbind()
        self._views += views.unbind()
        self._seconds += block.seconds.tolist()
        found = [self.between(*span) for span in self.cutter.push(block.views, vectors)]
        gone = self.cutter.needed - self._first
        self._first += gone
        for held in (self._views, self._vectors, self._seconds):
            del held[:gone]
        return found

    def finish(self) -> list[Found]:
        """The sentences that the end of the video ends."""
        return [self.between(*span) for span in self.cutter.finish()]

    @property
    def end(self) -> int:
        """Position behind the last frame that came in."""
        return self._first + len(self._views)

    def between(self, first: int, end: int) -> Found:
        """A sentence by its first position and the one behind its last."""
        held = slice(first - self._first, end - self._first)
        translator = self._sentences.translator
        if self._vectors:
            features = translator.lay_out(torch.stack(self._vectors[held]))
        else:
            features = translator.encode_views(torch.stack(self._views[held]))
        seconds = tuple(self._seconds[held])
        return Found(seconds[0], seconds[-1] + self._step, features, seconds)


def _sentence(
    number: int, start: float, end: float, text: Translation, shown: tuple[float, ...]
) -> Sentence:
    return Sentence(
        *(number, start, end, text.text, text.score, text.attention, shown),
        calibrated=text.confidence,
        understood=text.reason is not Doubt.NOT_UNDERSTOOD,
    )


def _are_equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two encoders have the same weights."""
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours
    )
