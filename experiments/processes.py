"""Runs `unglossed` commands as processes, some side by side, each with a log of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from unglossed.errors import InputError
from unglossed.files import exclusive


class Processes:
    """Starts commands and ends them all when one fails or the caller is interrupted.

    A command holds a lock on its log as long as it lives, even when it outlives its caller: the
    next that wants the same log waits, so that two never write to one run.

    Args:
        num_jobs: commands at a time.
        num_threads: of each command.
        tell: is given a line when a command has to wait.
    """

    def __init__(self, num_jobs: int, num_threads: int, tell: Callable[[str], None]) -> None:
        self.num_jobs = num_jobs
        self.num_threads = num_threads
        self.tell = tell
        self._lock = threading.Lock()
        self._stopped = False
        self._running: set[subprocess.Popen[bytes]] = set()

    def side_by_side(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Call functions, `num_jobs` at a time, in their order; each may run commands.

        Raises:
            InputError: of the first that failed. The others are ended.
        """
        pool = ThreadPoolExecutor(self.num_jobs)
        try:
            for done in as_completed([pool.submit(self._call, task) for task in tasks]):
                done.result()
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def run(self, arguments: Sequence[str], log: Path, is_done: Callable[[], bool]) -> None:
        """Run `unglossed ARGUMENTS`, its output appended to `log`, unless it is done already.

        Raises:
            InputError: it failed; the message names the log and has its last line.
        """
        busy = f"waiting: another process still writes {log}"
        with exclusive(log, lambda: self.tell(busy)) as file:
            if is_done():
                return
            process = self._start(arguments, file.fileno())
        # From here on the process alone holds the log open, and with it the lock.
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
            raise InputError(f"{log}: unglossed {arguments[0]} ended with code {code}: {last}")

    def _call(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException:
            self._stop()  # here: the thread takes the next task before the caller hears of it
            raise

    def _start(self, arguments: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.num_threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        with self._lock:
            if self._stopped:
                raise InputError("stopped")
            process = subprocess.Popen(
                [sys.executable, "-m", "unglossed", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
            self._running.add(process)
        return process

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
