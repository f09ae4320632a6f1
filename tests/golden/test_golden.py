"""The kept records of small runs: losses and steps of every family of recipes are as they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from golden.golden import EXPECTED, FAMILIES, RELATIVE_TOLERANCE, difference

pytestmark = pytest.mark.slow


def test_losses_of_every_family_are_as_recorded() -> None:
    """In processes of their own, as the command runs them."""
    command = [sys.executable, "tests/golden/golden.py"]
    root = Path(__file__).parents[2]
    finished = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=900
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr[-3000:]
    assert finished.stdout.count("as before") == len(FAMILIES)


def test_a_loss_that_moved_is_found() -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))["fla_llm"]
    moved = {**expected, "losses": [*expected["losses"][:-1], expected["losses"][-1] * 1.01]}

    assert difference(expected, expected, RELATIVE_TOLERANCE) is None
    found = difference(moved, expected, RELATIVE_TOLERANCE)
    assert found is not None
    assert f"step {len(expected['losses'])}" in found
    assert difference({**expected, "weights": "other"}, expected, 0.0) is not None
