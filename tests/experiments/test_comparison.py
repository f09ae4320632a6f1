"""Gathering of runs: means and spreads, norms in numbers, one file that holds everything."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.comparison import Run, mean_and_spread, norms_summary, write_results
from unglossed.evaluation.metrics import score
from unglossed.evaluation.report import ScoreRow
from unglossed.training.callbacks import METRICS_FILE, NORMS_FILE

REFERENCES = ["morgen regnet es im norden", "heute schneit es im süden am abend"]


def test_mean_and_spread_are_of_the_sample() -> None:
    values = [30.0, 34.0, 41.0]

    expected = f"{np.mean(values):.1f} ± {np.sqrt(((np.array(values) - 35) ** 2).sum() / 2):.1f}"
    assert mean_and_spread(values, 1) == expected == "35.0 ± 5.6"
    assert mean_and_spread([0.25], 3) == "0.250"


def norms_rows(encoder: list[float], language_model: list[float]) -> list[dict[str, float]]:
    rows = []
    for step, (one, other) in enumerate(zip(encoder, language_model, strict=True), start=1):
        row: dict[str, float] = {"epoch": step / 2, "step": step}
        for part, gradient in (("encoder", one), ("language_model", other)):
            row[f"{part}_gradient"] = gradient
            row[f"{part}_parameters"] = 10.0 + step
            row[f"{part}_change"] = step / 10
        rows.append(row)
    return rows


def test_norms_come_to_means_ends_and_the_share_of_larger_gradients() -> None:
    summary = norms_summary(norms_rows([1.0, 2.0, 6.0], [2.0, 1.0, 9.0]))

    assert summary == {
        "encoder": {"gradient": 3.0, "parameters": [11.0, 13.0], "change": 0.3},
        "language_model": {"gradient": 4.0, "parameters": [11.0, 13.0], "change": 0.3},
        "language_model_larger": 0.6667,
    }
    assert norms_summary([]) == {}


def write_run(folder: Path, seed: int) -> Run:
    for number, (name, key) in enumerate(
        [("recognition", "word_error_rate"), ("tuning", "bleu4")], start=1
    ):
        stage = folder / f"{number}-{name}"
        (stage / "model").mkdir(parents=True)
        facts = {"name": name, "seconds": 12.0 + number}
        (stage / "model" / "stage.json").write_text(json.dumps(facts))
        rows = [{"epoch": 1.0, "step": 2, f"eval_{key}": 20.0 + seed}]
        (stage / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [json.dumps(row) + "\n" for row in norms_rows([1.0 + seed] * 4, [2.0] * 4)]
    (folder / "1-recognition" / NORMS_FILE).write_text("".join(lines))
    return Run("gloss_based", seed, folder)


def scored(system: str, hypotheses: list[str], slot_f1: float) -> ScoreRow:
    return ScoreRow(system, "test", score(hypotheses, REFERENCES, "de"), slot_f1)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = {
        seed: [
            scored("ceiling", REFERENCES, 1.0),
            scored("gloss_based", [REFERENCES[0], "am abend schneit es"], 0.5 + seed / 4),
        ]
        for seed in (0, 1)
    }
    runs = [write_run(tmp_path / f"seed-{seed}", seed) for seed in (0, 1)]
    write_results(tmp_path, {"level": 1}, rows, runs)
    return tmp_path


def test_one_file_holds_scores_norms_and_curves_of_every_run(results: Path) -> None:
    told = json.loads((results / "results.json").read_text(encoding="utf-8"))

    assert told["level"] == 1
    assert [(row["seed"], row["system"]) for row in told["rows"]] == [
        (0, "ceiling"),
        (0, "gloss_based"),
        (1, "ceiling"),
        (1, "gloss_based"),
    ]
    assert told["rows"][0]["bleu4"] == pytest.approx(100)
    assert [(row["seed"], row["encoder"]["gradient"]) for row in told["norms"]] == [(0, 1), (1, 2)]
    assert [(row["stage"], row["measure"], row["curve"]) for row in told["dev"][:2]] == [
        ("recognition", "word_error_rate", [[1.0, 20.0]]),
        ("tuning", "bleu4", [[1.0, 20.0]]),
    ]


def test_the_page_has_mean_and_spread_over_seeds(results: Path) -> None:
    page = (results / "results.md").read_text(encoding="utf-8")
    lines = page.splitlines()

    ceiling = next(line for line in lines if line.startswith("| ceiling |"))
    assert ceiling.startswith("| ceiling | 100.0 / 100.0 | 100.0 ± 0.0 | 100.0 ± 0.0 |")
    system = next(line for line in lines if line.startswith("| gloss_based |"))
    assert system.endswith("| 0.625 ± 0.177 |")
    sizes = "11 to 14 | 0.40"
    norms = f"| gloss_based, recognition | 1.5 | {sizes} | 2 | {sizes} | 50 % of steps |"
    assert norms in lines
    assert "| gloss_based, tuning | 1 | bleu4 | 1: 21.0 |" in lines
    assert "recognition 13, tuning 14" in page


def test_both_figures_are_written(results: Path) -> None:
    assert "gloss_based: gradient norm" in (results / "norms.svg").read_text(encoding="utf-8")
    assert "gloss_based" in (results / "scores.svg").read_text(encoding="utf-8")
