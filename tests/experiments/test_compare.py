"""The comparison's whole way at a small size."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from experiments.compare import Comparison, Condition, main, run_comparison
from experiments.processes import Processes
from experiments.systems import FACTORIZED, GLOSS_BASED, JOINT
from processes import run_python
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import exclusive
from unglossed.training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "tests" / "end_to_end" / "tiny.yaml"
NUM_SENTENCES = 12


def command(output: Path, *options: str) -> list[str]:
    arguments = ["--output", str(output), "--recipe", str(RECIPE), "--seeds", "3"]
    arguments += ["--sentences", str(NUM_SENTENCES), *options]
    return [sys.executable, "-m", "experiments.compare", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def run(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_python(command(output, *options)[1:], env=environment())


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that nobody killed, once for all workers. Tests do not change it."""
    folder = tmp_path_factory.mktemp("compare")
    if run_id := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        folder = folder.parents[1] / f"compare-{run_id}"
        folder.mkdir(exist_ok=True)
    output = folder / "whole"
    with exclusive(folder / ".lock", lambda: None):
        if not (output / "results.md").is_file():
            condition = Condition(NUM_SENTENCES, 1)
            page = run_comparison(output, condition, recipe=str(RECIPE), seeds=[3])
            assert page == output / "results.md"
    return output


@pytest.mark.slow
def test_every_system_is_trained_scored_and_measured(whole: Path) -> None:
    told = results(whole)

    systems = ["ceiling", "ceiling, typical saying", "stage 1 alone"]
    systems += [FACTORIZED, JOINT, GLOSS_BASED]
    assert [row["system"] for row in told["rows"] if row["split"] == "test"] == systems
    assert {row["split"] for row in told["rows"]} == {"test", "test_seen"}
    metrics = whole / "seed-3" / "evaluation" / "stage_1_alone-test" / "metrics.json"
    scored = next(
        row for row in told["rows"] if (row["system"], row["split"]) == ("stage 1 alone", "test")
    )
    assert json.loads(metrics.read_text(encoding="utf-8"))["bleu4"] == scored["bleu4"]
    measured = {(row["system"], row["stage"]): set(row) for row in told["norms"]}
    both = {"encoder", "language_model", "language_model_larger"}
    assert both <= measured[JOINT, "joint"]
    assert both <= measured[FACTORIZED, "visual_initialing"]
    assert "encoder" not in measured[FACTORIZED, "llm_fine_tuning"]
    assert "language_model" not in measured[GLOSS_BASED, "gloss_recognition"]
    assert (whole / "norms.svg").is_file()
    assert (whole / "scores.svg").is_file()


def test_a_corpus_is_drawn_by_one_process_at_a_time(tmp_path: Path) -> None:
    told: queue.Queue[str] = queue.Queue()
    comparison = Comparison(
        tmp_path, Condition(4, 1), load_recipe(RECIPE), Processes(1, 1, told.put), told.put
    )
    corpus = tmp_path / "seed-3" / "corpus"
    with exclusive(corpus.with_name(".corpus.lock"), lambda: None):
        other = threading.Thread(target=comparison.make_corpus, args=(3,))
        other.start()
        assert told.get(timeout=60) == f"waiting: another process draws {corpus}"
        assert not corpus.exists()
    other.join()

    assert len(read_corpus(f"phoenix14t:{corpus}").split("train")) > 0


@pytest.mark.slow
def test_all_systems_start_from_one_language_model(whole: Path) -> None:
    sources = set()
    for system in (FACTORIZED, JOINT, GLOSS_BASED):
        recipe = (whole / "seed-3" / system / "recipe.yaml").read_text(encoding="utf-8")
        sources |= {line.strip() for line in recipe.splitlines() if "language_model/1-" in line}

    folder = whole / "seed-3" / "language_model" / "1-pretraining" / "model"
    assert sources == {f"source: {folder}", f"pretrained: {folder}"}


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(whole: Path, tmp_path: Path) -> None:
    names = ("results.json", "results.md", "scores.svg", "norms.svg")
    before = {name: (whole / name).read_bytes() for name in names}
    started = time.time()

    assert run(whole).returncode == 0

    assert {name: (whole / name).read_bytes() for name in names} == before
    changed = [path for path in (whole / "seed-3").rglob("*") if path.stat().st_mtime > started]
    assert not changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "pieces"),
    [
        (Condition(NUM_SENTENCES, 2), ["seed-3/corpus", "'level': 1", "'level': 2", "--output"]),
        (
            Condition(NUM_SENTENCES, 1, ("stages.0.batch_size=3",)),
            ["seed-3/language_model", "another recipe", "--output"],
        ),
    ],
)
def test_another_condition_in_the_same_folder_is_refused(
    whole: Path, condition: Condition, pieces: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        run_comparison(whole, condition, recipe=str(RECIPE), seeds=[3])

    assert "\n" not in str(caught.value)
    assert all(piece in str(caught.value) for piece in pieces)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ["half"]}, "--only: found 'half', expected one of factorized, joint"),
        ({"condition": "rain"}, "--condition: found 'rain', expected one of demo, few_clips"),
        ({"seeds": "one"}, "--seeds: found 'one', expected numbers"),
        ({"recipe": "joint"}, "recipe: found stages with the objectives ['translation']"),
        ({"overrides": ["colour=1"]}, "colour: no such key"),
    ],
)
def test_a_mistake_is_one_line(
    options: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught:
        main(output=tmp_path / "new", **options)

    told = capsys.readouterr().err
    assert caught.value.exit_code == 2
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "new").exists()
