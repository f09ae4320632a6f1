"""Whatever a client sends, the server stays up, its disk clean and its memory bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile import ATTACKS, paths

_MOST_GROWTH = 150_000_000


def resident_bytes() -> int:
    """Memory of this process, in which the server runs."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


@pytest.mark.parametrize("name", ATTACKS)
def test_the_server_stands(name: str, running, video: Path) -> None:
    content = video.read_bytes()
    before = resident_bytes()

    ATTACKS[name](running, content)

    end = time.monotonic() + 20
    while not (well := running.is_well()) and time.monotonic() < end:
        time.sleep(0.1)
    assert well
    jobs: Callable[[], int] = lambda: running.client.get("v1/jobs").json()["waiting"]  # noqa: E731
    while jobs() and time.monotonic() < end:
        time.sleep(0.05)
    assert jobs() == 0
    assert paths(running.folder) == []
    assert resident_bytes() - before < _MOST_GROWTH


def test_there_are_forty_attacks() -> None:
    assert len(ATTACKS) >= 40
