"""The queue of uploads: bounded, one translated at a time, each can be watched and ended.

A job holds its upload until it has been translated, and its sentences until nobody may ask for them
any more. Nothing outlives the process.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from unglossed.errors import InputError
from unglossed.inference.sentences import Sentence
from unglossed.server.problems import Problem, of_fault
from unglossed.server.settings import ServerSettings
from unglossed.server.uploads import Upload

_FIRST_GUESS = 2.0
_MOST_RETRY = 120


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(eq=False)
class Job:
    """One upload on its way to text.

    Attributes:
        upload: What to translate; closed when the job has ended.
        attention: Whether words are to tell which frames they attended to.
        language: To write; None: what the model usually writes.
        id: A name that cannot be guessed: who knows it may see the job and end it.
        state: Where it is.
        seconds: Length of the media; 0: not known yet.
        seconds_done: How far it has been read.
        sentences: Those found so far, in order.
        problem: Why it failed.
        ended: When it ended, by the monotonic clock.
    """

    upload: Upload
    attention: bool = False
    language: str | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: State = State.WAITING
    seconds: float = 0.0
    seconds_done: float = 0.0
    sentences: list[Sentence] = field(default_factory=list)
    problem: Problem | None = None
    ended: float | None = None
    name: str = ""
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _stop: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.name = self.upload.name

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in (State.WAITING, State.RUNNING)

    @property
    def is_cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    @property
    def progress(self) -> float:
        """Share of the media that has been read, 0 to 1."""
        if self.state is State.DONE:
            return 1.0
        return min(self.seconds_done / self.seconds, 1.0) if self.seconds else 0.0

    def cancel(self) -> None:
        """Ask it to end; it ends soon."""
        self._cancelled.set()
        if (stop := self._stop) is not None:
            stop()

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """What ends what the job is waiting for."""
        self._stop = stop
        if self.is_cancelled:
            stop()


class Jobs:
    """The queue and the thread that works on it.

    Args:
        work: Translates the upload of a job, sentence by sentence.
        settings: How many may wait, and how long results are kept.
        on_end: Told of every job that has ended.
    """

    def __init__(
        self,
        work: Callable[[Job], Generator[Sentence]],
        settings: ServerSettings,
        on_end: Callable[[Job, float], None] = lambda job, seconds: None,
    ) -> None:
        self._work, self._settings, self._on_end = work, settings, on_end
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._reserved = 0
        self._running: Job | None = None
        self._mean_seconds = _FIRST_GUESS
        self._closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Uploads that are received or wait."""
        with self._change:
            return self._reserved + len(self._waiting)

    def reserve(self) -> Place:
        """Take a place in the queue, before the upload is received.

        Raises:
            Problem: The queue is full; it says when to come again.
        """
        with self._change:
            taken = self._reserved + len(self._waiting) + (self._running is not None)
            if self._closed or taken >= self._settings.queue:
                seconds = min(math.ceil(self._mean_seconds), _MOST_RETRY)
                text = "the queue is full, expected another try a little later"
                raise Problem(429, "queue_full", text, retry_seconds=max(seconds, 1))
            self._reserved += 1
        return Place(self)

    def find(self, job_id: str) -> Job:
        """The job with a name.

        Raises:
            Problem: There is none, or its result has been thrown away.
        """
        with self._change:
            self._forget_old()
            job = self._jobs.get(job_id)
        if job is None:
            raise Problem(404, "no_job", "there is no such job, or its result is no longer kept")
        return job

    def remove(self, job: Job) -> None:
        """End a job and forget its result."""
        job.cancel()
        with self._change:
            self._jobs.pop(job.id, None)
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, State.CANCELLED)

    def close(self) -> None:
        """End all jobs and the thread."""
        with self._change:
            self._closed = True
            for job in list(self._jobs.values()):
                job.cancel()
            while self._waiting:
                self._end(self._waiting.popleft(), State.CANCELLED)
            if self._running is not None:
                self._running.cancel()
            self._change.notify_all()
        self._thread.join(timeout=30)

    def put(self, upload: Upload, attention: bool, language: str | None = None) -> Job:
        """Have an upload translated, in the place that was reserved for it."""
        job = Job(upload, attention, language)
        with self._change:
            self._reserved -= 1
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget_old()
            self._change.notify_all()
        return job

    def give_back(self) -> None:
        """Let another have a place that was reserved."""
        with self._change:
            self._reserved -= 1

    def _forget_old(self) -> None:
        now, kept = time.monotonic(), self._settings.kept_seconds
        ended = [job for job in self._jobs.values() if job.ended is not None]
        old = [job for job in ended if now - (job.ended or now) > kept]
        for job in {*old, *ended[: max(len(ended) - self._settings.max_kept, 0)]}:
            self._jobs.pop(job.id, None)

    def _loop(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait(timeout=60)
                    self._forget_old()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
            began = time.monotonic()
            state = self._run(job)
            seconds = time.monotonic() - began
            with self._change:
                self._running = None
                self._mean_seconds += (seconds - self._mean_seconds) / 4
                self._end(job, state)
            self._on_end(job, seconds)

    def _run(self, job: Job) -> State:
        job.state = State.RUNNING
        try:
            with closing(self._work(job)) as sentences:
                for sentence in sentences:
                    job.sentences.append(sentence)
                    if job.is_cancelled:
                        break
        except Exception as error:
            if not job.is_cancelled:
                job.problem = told_of(error)
                return State.FAILED
        return State.CANCELLED if job.is_cancelled else State.DONE

    def _end(self, job: Job, state: State) -> None:
        with suppress(OSError):
            job.upload.close()
        job.ended = time.monotonic()
        job.state = state


class Place:
    """A place in the queue: filled with an upload, or given back when the block ends."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs: Jobs | None = jobs

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *error: object) -> None:
        if self._jobs is not None:
            self._jobs.give_back()

    def fill(self, upload: Upload, attention: bool, language: str | None = None) -> Job:
        """Have an upload translated."""
        assert self._jobs is not None
        jobs, self._jobs = self._jobs, None
        return jobs.put(upload, attention, language)


def told_of(error: Exception) -> Problem:
    """What a client is told of an error: of a fault of the program, nothing but that there is one.

    The fault itself is printed where the server runs.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, InputError):
        return Problem(422, "not_translatable", "the model cannot translate this upload")
    report_fault(error)
    return of_fault()


def report_fault(error: BaseException) -> None:
    """Print a fault of the program to stderr, with its traceback."""
    import sys
    import traceback

    print("fault while a request was answered:", file=sys.stderr)
    traceback.print_exception(error)
