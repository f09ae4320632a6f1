"""torch is told before it is loaded how its threads wait, and the user has the last word."""

import os
import subprocess
import sys

import pytest

LOADS_TORCH = {
    "a command": """
import sys
from unglossed.cli import main
sys.argv = ["unglossed", "--version"]
try:
    main()
except SystemExit:
    import torch
""",
    "an experiment": "import experiments, torch",
}


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP")
@pytest.mark.parametrize(
    ("program", "given", "expected"),
    [
        ("a command", {}, "GOMP_SPINCOUNT = '10000'"),
        ("an experiment", {}, "GOMP_SPINCOUNT = '10000'"),
        ("a command", {"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
        ("an experiment", {"OMP_WAIT_POLICY": "passive"}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_threads_of_torch_wait_briefly_unless_the_user_says_how(
    program: str, given: dict[str, str], expected: str
) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT",)}
    finished = subprocess.run(
        [sys.executable, "-c", LOADS_TORCH[program]],
        env={**kept, "OMP_DISPLAY_ENV": "verbose", **given},
        capture_output=True,
        text=True,
        check=True,
    )

    assert expected in finished.stderr
