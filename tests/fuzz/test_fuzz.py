"""Some files of each target, changed by chance, always the same: see `fuzz.py` for more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.fuzz import fuzz
from fuzz.targets import TARGETS

EXAMPLES = 30
FOUND = {
    "more hours than a number holds": (
        *("openasl", "asl/data/openasl-v1.0.tsv"),
        *(b"00:00:02.250\tThe", b"9" * 400 + b":00:02.250\tThe"),
    ),
    "a whole number beyond all floats": (*("jsonl", "rows.jsonl", b"2.5,", b"9" * 400 + b","),),
    "the same in a part's configuration": (
        *("recipes", "demo.yaml", b"d_model: 256", b"d_model: " + b"9" * 400),
    ),
    "an unknown token that is none": (
        *("models", "model/tokenizer_config.json"),
        *(b'"unk_token": "<unk>"', b'"unk_token": ""'),
    ),
    "a column of more digits than a number may have": (
        *("csv", "rows.csv", b"text_2", b"text_" + b"9" * 5_000),
    ),
}
"""What was found and mended: the target, the file, what stood there and what it becomes."""


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


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_stays_mended(case: str, tmp_path: Path) -> None:
    name, file, old, new = FOUND[case]
    target = TARGETS[name]
    target.make(tmp_path)
    valid = (tmp_path / file).read_bytes()
    changed = valid.replace(old, new, 1)

    assert changed != valid
    assert target.fault(tmp_path, file, changed) is None
