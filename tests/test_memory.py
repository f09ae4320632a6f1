"""How a process asks for memory."""

import subprocess
import sys

import pytest

from unglossed.memory import HUGE_PAGES, save_memory

USED = """
from unglossed.memory import save_memory
assert save_memory(), "nothing was done"
import torch
def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
rows = [torch.ones(2**21) for _ in range(20)]  # 8 MB each
kept = rows[1::2]
before = resident()
del rows
print(before - resident())
"""


def test_memory_between_blocks_in_use_is_handed_back() -> None:
    if "[never]" in (HUGE_PAGES.read_text() if HUGE_PAGES.is_file() else "[never]"):
        pytest.skip("this system has no huge pages")
    # A new interpreter: torch must not be there yet.
    told = subprocess.run([sys.executable, "-c", USED], check=True, capture_output=True, text=True)

    assert int(told.stdout) > 70e6


def test_nothing_is_done_once_torch_is_there() -> None:
    import torch

    assert torch.ones(1) == 1
    assert not save_memory()
