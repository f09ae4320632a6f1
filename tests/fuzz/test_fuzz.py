"""Some files of each target, changed by chance, always the same: see `fuzz.py` for more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.fuzz import fuzz
from fuzz.targets import TARGETS

EXAMPLES = 40


@pytest.fixture(scope="module", autouse=True)
def no_writing() -> None:
    from unglossed.cli.common import silence_loading

    silence_loading()


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_file_is_read_or_refused_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS[name]
    target.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for file in target.names(tmp_path):
        target.read(file)  # as it is nothing is wrong with it

    assert fuzz(target, tmp_path, 0, set(), EXAMPLES) >= EXAMPLES
