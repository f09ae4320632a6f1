"""Ten of the ends of `make kills`, and all checks of several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from several import CHECKS

pytestmark = pytest.mark.slow


def run(script: str, *options: str) -> str:
    """In a process of its own, since commands are forked from one that has computed nothing."""
    finished = subprocess.run(
        [sys.executable, f"tests/faults/{script}", *options],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_a_training_ended_at_random_moments_ends_as_if_never_ended() -> None:
    told = run("kills.py", "--kills", "10", "--seed", "1")
    assert told.splitlines()[-1].startswith("10 ends, all as if never ended")


@pytest.mark.parametrize("check", CHECKS)
def test_several_processes(check: str) -> None:
    assert f"{check}: " in run("several.py", check)
