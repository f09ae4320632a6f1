"""How threads that wait for each other do so; to be set before torch is loaded."""

import os
import sys

SPINS = "10000"
"""Turns of a loop in which a thread of GNU OpenMP waits before it sleeps: some ten microseconds."""
_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Have torch's threads sleep soon while they wait, unless the user has said how they wait.

    Left alone, GNU OpenMP, which torch's builds for Linux bring, spins for milliseconds. With other
    work on the machine the threads then wait for each other on cores that others need, and training
    takes many times as long (docs/performance.md). Processes that are started later inherit it.
    Other OpenMP libraries have other names (`KMP_BLOCKTIME`) and are left as they are.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in _CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = SPINS
