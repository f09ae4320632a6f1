"""What reads an upload, seen from the server: its messages are checked, its time is bounded."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import one_line
from unglossed.server import wire
from unglossed.server.decoder import Task
from unglossed.server.problems import Problem

_ENDING_SECONDS = 5
_MOST_TOLD = 500
_PIPE_PIECE = 1 << 20
_STATUSES = {"too_long": 413, "too_many_pixels": 413, "too_much_memory": 413}


class Decoding:
    """Reads one upload in a process of its own, which ends with the block.

    Args:
        task: What to read and how much of it is allowed.
        file: Descriptor of the upload, which the process inherits.
        wait_seconds: How long it may be waited for, in all.
        waiting: Entered while it is waited for.

    Raises:
        Problem: While reading: the upload is no media, is damaged, or takes more than allowed.
    """

    def __init__(
        self,
        task: Task,
        file: int,
        wait_seconds: float,
        waiting: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._task = task
        self._left = wait_seconds
        self._waiting = waiting or nullcontext()
        environment = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")
            if name in os.environ
        }
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "unglossed.server.decoder", task.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=(file,),
            start_new_session=True,  # Ctrl-C in a terminal is for the server
        )
        self.seconds = 0.0
        """Length of the media, known once something has been read."""
        self.units = 0
        """Frames or samples in all, known with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()

    def kill(self) -> None:
        """End the process; who reads from it finds its end. Any thread may ask for it."""
        self._process.kill()

    def frames(self) -> Iterator[wire.Frames]:
        """The kept frames, in blocks: seconds (n,) and frames (n, crop, crop, 3) uint8 RGB."""
        for content in self._media(wire.FRAMES):
            yield wire.unpack_frames(content, self._task.crop)

    def samples(self) -> Iterator[NDArray[np.float32]]:
        """The audio, in pieces (n,) in -1..1; `units` in all, which is known with the first."""
        for content in self._media(wire.AUDIO):
            yield np.clip(np.nan_to_num(np.frombuffer(content, "<f4")), -1, 1)

    def _media(self, wanted: bytes) -> Iterator[bytearray]:
        """Contents of messages of one kind, until the process says that it is done."""
        left: int | None = None
        while True:
            kind, content = self._message()
            if kind == wire.REFUSED:
                raise _refused(content)
            if kind == wire.FACTS and left is None:
                left = self._take_facts(content)
            elif kind == wire.DONE and left == 0:
                return
            elif kind == wanted and left is not None:
                left -= len(content) // wire.limits_of(kind, self._task.crop)[1]
                if left < 0:
                    raise _unreadable()
                yield content
            else:
                raise _unreadable()

    def _take_facts(self, content: bytearray) -> int:
        try:
            facts = json.loads(content)
            seconds, units = float(facts["seconds"]), int(facts["units"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable() from error
        task = self._task
        rate = 25 * task.frame_share if task.audio_rate is None else task.audio_rate
        if not (0 <= seconds <= task.max_seconds and 0 <= units <= task.max_seconds * rate + 1):
            raise _unreadable()
        self.seconds, self.units = seconds, units
        return units

    def _message(self) -> tuple[bytes, bytearray]:
        kind, length = wire.HEAD.unpack(self._receive(wire.HEAD.size))
        most, unit = wire.limits_of(kind, self._task.crop)
        if length > most or length % unit:
            raise _unreadable()
        return kind, self._receive(length)

    def _receive(self, length: int) -> bytearray:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        received = bytearray()
        with self._waiting:
            while len(received) < length:
                began = time.monotonic()
                ready, _, _ = select.select([pipe], [], [], max(self._left, 0))
                self._left -= time.monotonic() - began
                if not ready:
                    raise _too_slow()
                piece = os.read(pipe, min(length - len(received), _PIPE_PIECE))
                if not piece:
                    raise self._ended()
                received += piece
        return received

    def _ended(self) -> Problem:
        """Why the process has ended before it said that it is done."""
        with suppress(subprocess.TimeoutExpired):
            if self._process.wait(_ENDING_SECONDS) == -signal.SIGXCPU:
                return _too_slow()
        return _unreadable()


def _refused(content: bytearray) -> Problem:
    """What the process says; it may be in a stranger's hands, so that its words are cut."""
    try:
        told = json.loads(content)
        code, text = str(told["code"]), str(told["text"])
    except (ValueError, KeyError, TypeError):
        return _unreadable()
    if code not in _STATUSES:
        code = "unreadable"
    return Problem(_STATUSES.get(code, 422), code, one_line(text)[:_MOST_TOLD])


def _too_slow() -> Problem:
    return Problem(413, "too_slow", "reading the upload takes longer than allowed")


def _unreadable() -> Problem:
    return Problem(422, "unreadable", "the upload cannot be read within the limits of this server")
