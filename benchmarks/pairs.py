"""Two ways of doing the same, timed in turns: what the other benchmarks are made of.

Whatever else the machine does slows both ways alike, so the ratio can be trusted where the two
times cannot.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one way is as another, over pairs of runs.

    Attributes:
        baseline_seconds: Median time of the baseline.
        seconds: Median time of the other way.
        ratios: Baseline's time by the other's, one for each pair.
    """

    baseline_seconds: float
    seconds: float
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        return (
            f"{self.median:.2f} times as fast ({min(self.ratios):.2f} to {max(self.ratios):.2f}"
            f" in {len(self.ratios)} pairs; {self.baseline_seconds:.3f} s against"
            f" {self.seconds:.3f} s)"
        )


def time_pairs(
    baseline: Callable[[], object],
    ours: Callable[[], object],
    num_pairs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time two ways in turns; who comes first changes, and a first pair that warms up is left out.

    Args:
        baseline: Does the work once.
        ours: Does the same work.
        num_pairs: Pairs that are counted.
        clock: Tells seconds. `time.process_time`, with one thread, is for a machine that does much
            else: it counts what this process computed, and not what it waited for.
    """
    rows = []
    for number in range(num_pairs + 1):
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            begin = clock()
            (baseline, ours)[which]()
            seconds[which] = clock() - begin
        if number:
            rows.append(seconds)
    first, second = (statistics.median(column) for column in zip(*rows, strict=True))
    return Ratio(first, second, tuple(one / two for one, two in rows))


def peak_gigabytes(work: Callable[..., object], *arguments: Any) -> float:
    """Highest resident memory of a new process that does the work, in GB (10^9 bytes).

    Args:
        work: A function of a module, which sets up everything by itself.
        arguments: Its arguments.

    Raises:
        RuntimeError: The work failed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        peak = float(receiver.recv())
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed in its process") from None
    finally:
        process.join()
    return peak


def _measure(sender: Any, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    work(*arguments)
    # Linux' own count: that of `getrusage` begins with the peak of the process that started it.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    sender.send(int(found[1]) * 1024 / 1e9)
