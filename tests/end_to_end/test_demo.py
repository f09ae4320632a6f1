"""The demo's whole way at a small size: what it writes is what the README says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.demo import STAGE_2, run_demo

RECIPE = Path(__file__).with_name("tiny.yaml")


@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_translated_video(tmp_path, capsys):
    output = tmp_path / "demo"
    rows = run_demo(output, seed=3, num_sentences=24, recipe=str(RECIPE))

    page = (output / "report.html").read_text(encoding="utf-8")
    assert STAGE_2 in page
    assert "://" not in page.replace("http://www.w3.org/", "")  # nothing is loaded from elsewhere
    assert {row.split for row in rows} == {"test_seen", "test"}
    told = json.loads((output / "demo.json").read_text(encoding="utf-8"))
    assert told["seconds"].keys() >= {"corpus", "stage visual_initialing", "evaluation"}
    by_name = {(row["system"], row["split"]): row for row in told["rows"]}
    assert by_name["ceiling", "test"]["slot_f1"] == 1.0
    metrics = json.loads((output / "evaluation/test-stage-2/metrics.json").read_text())
    assert metrics["bleu4"] == by_name[STAGE_2, "test"]["bleu4"]
    assert (output / "new.mp4").stat().st_size > 0
    shown = capsys.readouterr().out
    assert "translated:" in shown
    assert "where the time went" in shown
