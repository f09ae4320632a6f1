"""The model behind the server: uploads to sentences, webcams to captions, one thing at a time."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.inference.live import LiveSession, LiveTranslator, LiveUpdate
from unglossed.inference.sentences import Sentence, SentenceTranslator
from unglossed.inference.windows import Block
from unglossed.media.signal import AudioSignal, VideoSignal, signal_of
from unglossed.server.decoder import Task
from unglossed.server.decoding import Decoding
from unglossed.server.jobs import Job
from unglossed.server.nameless import NamelessFile
from unglossed.server.settings import ServerSettings
from unglossed.server.turns import Turns

_BATCH = 2  # sentences at a time: the page shows each group as soon as it is there
_FLOAT_SAMPLES = 3  # of the formats of WAV


class Engine:
    """Translates for all clients of a server.

    Args:
        sentences: Finds sentences and translates them.
        name: Of the model, as clients call it.
        settings: What reading an upload may take.
        about: What there is to say of its training, a sentence each.
    """

    def __init__(
        self,
        sentences: SentenceTranslator,
        name: str,
        settings: ServerSettings,
        about: Sequence[str] = (),
    ) -> None:
        self.sentences, self.name, self.about = sentences, name, about
        self._settings = settings
        self._turns = Turns()
        self.processor = sentences.translator.processor
        signal = signal_of(self.processor)
        if not isinstance(signal, (VideoSignal, AudioSignal)):
            raise InputError(
                f"{name}: found a model that reads {signal.kind}, expected one of video or audio,"
                " which uploads hold"
            )

    @property
    def language(self) -> str:
        """Of the texts."""
        return str(self.processor.language)

    @property
    def reads_video(self) -> bool:
        """Whether the model reads video; else it reads audio."""
        return isinstance(signal_of(self.processor), VideoSignal)

    @property
    def side(self) -> int:
        """Of the square frames that a webcam's client is to send, in pixels."""
        return int(self.processor.resize)

    def work(self, job: Job) -> Generator[Sentence]:
        """Translate the upload of a job, and say in the job how far it is.

        Raises:
            Problem: The upload cannot be read within the limits.
        """
        with self._turns, self._decoding(job) as decoding:
            found = self._video(job, decoding) if self.reads_video else self._audio(job, decoding)
            for sentence in found:
                with self._turns.away:
                    yield sentence

    def live(
        self,
        on_update: Callable[[LiveUpdate], None],
        on_frame: Callable[[float], None],
        on_error: Callable[[Exception], None],
    ) -> LiveSession:
        """Captions of one webcam; what is told is told in another thread.

        Args:
            on_update: Told of new text.
            on_frame: Told the time of each frame that has been taken in.
            on_error: Told of the error that ended the captions.
        """
        return LiveSession(_SharedLive(self.sentences, self._turns, on_frame), on_update, on_error)

    def _decoding(self, job: Job) -> Decoding:
        settings, processor = self._settings, self.processor
        task = Task(
            path=job.upload.content.path,
            kind=job.upload.kind,
            resize=processor.resize,
            crop=processor.crop,
            frame_share=processor.frame_share,
            audio_rate=processor.audio_rate,
            max_seconds=settings.max_seconds,
            max_pixels=settings.max_pixels,
            cpu_seconds=round(settings.decode_seconds),
            num_bytes=settings.decode_bytes,
        )
        decoding = Decoding(
            task, job.upload.content.descriptor, settings.decode_seconds, waiting=self._turns.away
        )
        job.on_cancel(decoding.kill)
        return decoding

    def _video(self, job: Job, decoding: Decoding) -> Iterator[Sentence]:
        def blocks() -> Iterator[Block]:
            for seconds, views in decoding.frames():
                job.seconds = decoding.seconds
                yield Block(seconds, views)
                job.seconds_done = float(seconds[-1])

        return self.sentences.translate_blocks(blocks(), attention=job.attention, batch_size=_BATCH)

    def _audio(self, job: Job, decoding: Decoding) -> Iterator[Sentence]:
        def progress(done: float, whole: float) -> None:
            job.seconds_done, job.seconds = done, whole

        rate = self.processor.audio_rate
        assert rate is not None
        with _sound_file(decoding, rate) as path:
            job.seconds = decoding.seconds
            yield from self.sentences.translate(path, progress=progress, batch_size=_BATCH)


class _SharedLive(LiveTranslator):
    """Live captions that wait for their turn on the model."""

    def __init__(
        self, sentences: SentenceTranslator, turns: Turns, on_frame: Callable[[float], None]
    ) -> None:
        super().__init__(sentences)
        self._turns, self._on_frame = turns, on_frame

    def push(self, frame: NDArray[np.uint8], seconds: float) -> list[LiveUpdate]:
        """See `LiveTranslator.push`."""
        with self._turns:
            updates = super().push(frame, seconds)
        self._on_frame(seconds)
        return updates

    def finish(self) -> list[LiveUpdate]:
        """See `LiveTranslator.finish`."""
        with self._turns:
            return super().finish()


@contextmanager
def _sound_file(decoding: Decoding, rate: int) -> Iterator[Path]:
    """A path of a WAV file with the samples of an upload; it is gone when the block ends."""
    with tempfile.TemporaryFile() as file:
        for number, piece in enumerate(decoding.samples()):
            if not number:
                file.write(_sound_head(decoding.units, rate))
            file.write(piece.astype("<f4").tobytes())
        file.flush()
        with closing(NamelessFile(file)) as nameless:
            yield Path(nameless.path)


def _sound_head(num_samples: int, rate: int) -> bytes:
    """The head of a WAV file of one channel of float32, which the module `wave` does not write."""
    num_bytes = 4 * num_samples
    layout = struct.pack("<HHIIHH", _FLOAT_SAMPLES, 1, rate, rate * 4, 4, 32)
    parts = [b"RIFF", struct.pack("<I", 36 + num_bytes), b"WAVE"]
    parts += [b"fmt ", struct.pack("<I", len(layout)), layout]
    return b"".join([*parts, b"data", struct.pack("<I", num_bytes)])


def described(engine: Engine) -> dict[str, Any]:
    """What clients may know of the model."""
    return {
        "id": engine.name,
        "object": "model",
        "owned_by": "unglossed",
        "language": engine.language,
        "input": "video" if engine.reads_video else "audio",
        "frames_per_second": signal_of(engine.processor).units_per_second,
        "frame_side": engine.side,
        "about": list(engine.about),
    }
