"""Ten of the parts of `make faults`: every damage and every kind of folder at least once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PARTS = [
    r"run, resumed: flip 3-llm_fine_tuning/checkpoint-8/optimizer\.pt",
    r"run, resumed: cut 2-visual_initialing/model/model\.safetensors",
    r"run, resumed: remove 3-llm_fine_tuning/checkpoint-8/scheduler\.pt",
    r"run, resumed: swap run\.json",
    r"model, translates: remove processor_config\.json",
    r"model, translates: swap model\.safetensors",
    r"run, evaluated: swap model/tokenizer\.json",
    r"packed corpus, evaluated: flip rows\.jsonl",
    r"features, trained on: flip [^/]+/00000-.*\.safetensors",
    r"features, trained on: swap [^/]+/00000-.*\.safetensors",
]


def test_damage_is_told_or_has_no_effect(tmp_path: Path) -> None:
    """In a process of its own, since the commands are forked from one that has computed nothing."""
    finished = subprocess.run(
        [
            *(sys.executable, "tests/faults/sweep.py", "--folder", str(tmp_path / "sweep")),
            *("--workers", "1", "--only", *PARTS),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    last = finished.stdout.splitlines()[-1]
    assert int(last.split()[0]) >= len(PARTS)  # "12 damages, 0 not allowed, ..."
