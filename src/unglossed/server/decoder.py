"""The process that reads one upload: `python -m unglossed.server.decoder`.

FFmpeg meets the bytes of a stranger here and nowhere else. The process limits itself first: CPU
time, address space, open files, no file written, no network. It sends frames, already cut to what
the model's encoder is given, or samples, on its standard output, see `wire`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from unglossed.errors import InputError
from unglossed.server import wire

_CORES = 2
_PART_SECONDS = 60.0
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of Linux: CLONE_NEWUSER, CLONE_NEWNET


@dataclass(frozen=True, slots=True)
class Task:
    """What to read.

    Attributes:
        path: Of the upload.
        kind: Its kind of media, see `contents`.
        resize: Side to which frames are resized, in pixels, see `render_view`.
        crop: Side of the square that is cut out of them and sent.
        frame_share: Share of 25 frames a second that is kept.
        audio_rate: Samples a second; None: frames are wanted.
        max_seconds: Length that is accepted.
        max_pixels: Of a frame that is accepted.
        cpu_seconds: CPU time of the process.
        num_bytes: Its address space.
    """

    path: str
    kind: str
    resize: int
    crop: int
    frame_share: float
    audio_rate: int | None
    max_seconds: float
    max_pixels: int
    cpu_seconds: int
    num_bytes: int

    def to_json(self) -> str:
        """For the command line of the process."""
        return json.dumps(asdict(self))


class _Refused(Exception):
    """Carries a code and a sentence."""


def limit_process(task: Task) -> None:
    """Bound what the process can take; where the system has no such limit, it is left out."""
    with suppress(AttributeError, OSError):  # FFmpeg starts as many threads as there are cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-_CORES:])
    with suppress(ImportError):
        import resource

        limits = {
            "RLIMIT_CPU": (task.cpu_seconds, task.cpu_seconds + 1),  # the first has its own signal
            "RLIMIT_AS": (task.num_bytes, task.num_bytes),
            "RLIMIT_FSIZE": (0, 0),
            "RLIMIT_CORE": (0, 0),
            "RLIMIT_NOFILE": (64, 64),
        }
        for name, value in limits.items():
            with suppress(AttributeError, ValueError, OSError):
                resource.setrlimit(getattr(resource, name), value)


def leave_network() -> bool:
    """Be without a network from now on; False: the system does not let a process give it up.

    Linux does so in a user namespace of its own, while there is one thread.
    """
    try:
        return bool(ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def read_frames(task: Task, out: BinaryIO) -> None:
    """Send the kept frames of a video."""
    import numpy as np

    from unglossed.media.augment import render_view
    from unglossed.media.frames import FRAME_RATE, open_frames, sample_indices

    path = Path(task.path)
    _check_video(task, path)
    frames = open_frames(path)
    grid = frames.indices_at(FRAME_RATE)
    steps = sample_indices(len(grid), task.frame_share)
    total = len(grid) / FRAME_RATE
    if total > task.max_seconds:
        raise _too_long(task, total)
    kept, seconds = grid[steps], frames.begin_seconds + steps / FRAME_RATE
    _send(out, wire.FACTS, _packed({"seconds": total, "units": len(kept)}))
    row, place = [], 0
    for one in frames.each(
        kept, lambda frame: render_view(frame[None], task.resize, task.crop)[0], deinterlace=False
    ):
        row.append(one)
        if len(row) == wire.AT_ONCE or place + len(row) == len(kept):
            block = wire.pack_frames(seconds[place : place + len(row)], np.stack(row))
            _send(out, wire.FRAMES, block)
            place += len(row)
            row = []


def read_samples(task: Task, out: BinaryIO) -> None:
    """Send the samples of a file's audio."""
    import numpy as np

    from unglossed.media.audio import audio_seconds, read_audio
    from unglossed.media.containers import open_container, pick_audio

    assert task.audio_rate is not None
    path = Path(task.path)
    with open_container(path, "audio") as container:
        _check_format(container.format.name, task.kind)
        pick_audio(path, container)
    rate, seconds = task.audio_rate, audio_seconds(path)
    if seconds > task.max_seconds:
        raise _too_long(task, seconds)
    count = round(seconds * rate)
    _send(out, wire.FACTS, _packed({"seconds": seconds, "units": count}))
    # In parts: an hour in the channels of its file takes gigabytes. The last part is no short one.
    starts = np.arange(max(1, int(seconds / _PART_SECONDS))) * _PART_SECONDS
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        audio = read_audio(path, rate, float(start), end)
        wanted = count - round(start * rate) if end is None else round((end - start) * rate)
        part = np.zeros(wanted, "<f4")
        part[: len(audio)] = audio[:wanted]
        for piece in _pieces(wanted):
            _send(out, wire.AUDIO, part[piece].tobytes())


def _check_video(task: Task, path: Path) -> None:
    """Refuse what is large or long by its headers, before any frame is decoded."""
    from unglossed.media.containers import header_seconds, open_video

    with open_video(path) as (container, stream):
        _check_format(container.format.name, task.kind)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > task.max_pixels:
            raise _Refused(
                "too_many_pixels",
                f"found frames of {width} x {height} pixels, expected at most"
                f" {task.max_pixels:,} pixels",
            )
        told = header_seconds(container, stream)
        if told is not None and told > task.max_seconds:
            raise _too_long(task, told)


def _check_format(name: str, kind: str) -> None:
    from unglossed.server.contents import is_of_kind

    if not is_of_kind(name, kind):
        raise _Refused("unreadable", "the content is not that of a media file of its kind")


def _too_long(task: Task, seconds: float) -> _Refused:
    told = f"found {seconds:.0f} seconds, expected at most {task.max_seconds:.0f}"
    return _Refused("too_long", told)


def _pieces(length: int) -> Iterator[slice]:
    for begin in range(0, length, wire.SAMPLES_AT_ONCE):
        yield slice(begin, begin + wire.SAMPLES_AT_ONCE)


def _packed(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode()[: wire.MOST_TEXT]


def _send(out: BinaryIO, kind: bytes, content: bytes = b"") -> None:
    out.write(wire.HEAD.pack(kind, len(content)))
    out.write(content)
    out.flush()


def main() -> None:
    """Read what the command line names, and send it."""
    task = Task(**json.loads(sys.argv[1]))
    limit_process(task)
    leave_network()
    # What a library prints must not get between the messages.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            if task.audio_rate is None:
                read_frames(task, out)
            else:
                read_samples(task, out)
        except _Refused as error:
            code, text = error.args
            _send(out, wire.REFUSED, _packed({"code": code, "text": text}))
        except InputError as error:
            text = str(error).replace(task.path, "the upload")
            _send(out, wire.REFUSED, _packed({"code": "unreadable", "text": text[:500]}))
        except MemoryError:
            told = {"code": "too_much_memory", "text": "reading it takes more memory than allowed"}
            _send(out, wire.REFUSED, _packed(dict(told)))
        else:
            _send(out, wire.DONE)


if __name__ == "__main__":
    main()
