"""A tiny plan from end to end: shared stages, tables, kills, several calls at a time."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import tiny
from unglossed.cli.reproduce import _chosen as chosen
from unglossed.errors import InputError
from unglossed.evaluation.metrics import score
from unglossed.files import exclusive
from unglossed.reproduce.run import reproduce
from unglossed.reproduce.task import LOCK

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "tests" / "end_to_end" / "tiny.yaml"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A plan and the spec of a corpus, one of whose test sentences train has as well."""
    folder = tmp_path_factory.mktemp("inputs")
    path = folder / "plan.yaml"
    source = Path(__file__).with_name("plan.yaml").read_text(encoding="utf-8")
    path.write_text(source.replace("RECIPE", str(RECIPE)), encoding="utf-8")
    spec = tiny.write_corpus(folder / "corpus")
    labels = folder / "corpus/PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.test.corpus.csv"
    tiny.edit(labels, "|regen im süden test 0", "|regen im süden train 0")
    return path, spec


@pytest.fixture(scope="module")
def whole(inputs: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a call gave that nobody disturbed. Tests do not change it."""
    output = tmp_path_factory.mktemp("reproduce") / "whole"
    told: list[str] = []
    page = reproduce(inputs[0], output, corpus=inputs[1], tell=told.append)
    assert page == output / "results.md"
    (output / "told.txt").write_text("\n".join(told), encoding="utf-8")
    return output


def results(output: Path) -> dict[str, Any]:
    """All but what it took."""
    content = json.loads((output / "results.json").read_text(encoding="utf-8"))
    del content["costs"]
    return content


def stages(output: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (output / "stages").iterdir())


@pytest.mark.slow
def test_a_stage_that_rows_share_is_trained_once(whole: Path) -> None:
    assert stages(whole) == ["llm_fine_tuning"] * 2 + ["pretraining", "visual_initialing"]
    told = (whole / "told.txt").read_text(encoding="utf-8").splitlines()
    assert told[0].startswith("3 rows with their seeds: 4 stages, 0 done; to do: 4 (1 on texts,")
    assert "24 steps" in told[0]
    assert sum(line.startswith("begins: visual_initialing") for line in told) == 1
    assert told[-1].endswith("4 of 4 stages; left: about 0 s")


@pytest.mark.slow
def test_numbers_are_those_of_the_predictions(whole: Path) -> None:
    told = results(whole)

    assert list(told["rows"]) == ["both", "stage_1_alone", "joint"]
    own = told["rows"]["both"]
    folder = next((whole / "stages").glob(f"*-{own['model']}"))
    lines = (folder / "scores/test/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    pairs = [row["hypothesis"] for row in rows], [row["reference"] for row in rows]
    assert own["scores"]["rouge_l"]["values"] == [round(score(*pairs, "de").rouge_l, 4)]
    assert "nrefs:1" in own["scores"]["bleu1"]["signature"]
    apart = own["without_train_sentences"]
    assert (own["num_clips"], apart["num_clips"]) == (2, 1)
    alone = score(pairs[0][1:], pairs[1][1:], "de")
    assert apart["scores"]["rouge_l"]["mean"] == round(alone.rouge_l, 4)
    assert set(own["parameters"]) == {"pretraining", "visual_initialing", "llm_fine_tuning"}
    assert own["parameters"]["llm_fine_tuning"]["encoder"] > 0
    assert set(told["rows"]["stage_1_alone"]["parameters"]) == {"visual_initialing"}
    by_label = {entry["label"]: entry for entry in told["tables"][0]["rows"]}
    tested = by_label["stage 1"]["differences"]["rouge_l"]
    scores = told["rows"]["stage_1_alone"]["scores"]["rouge_l"]["mean"]
    assert tested["difference"] == pytest.approx(
        scores - own["scores"]["rouge_l"]["mean"], abs=2e-4
    )
    assert 0 < tested["p"] <= 1
    assert by_label["both"]["differences"] == {}
    assert told["figures"][0]["language_model_larger"]["joint"]


@pytest.mark.slow
def test_all_formats_have_the_papers_numbers_beside_ours(whole: Path) -> None:
    page = (whole / "results.md").read_text(encoding="utf-8")
    latex = (whole / "results.tex").read_text(encoding="utf-8")
    with (whole / "results.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "bleu1"]

    assert [line for line in page.splitlines() if line.startswith("| quoted | BLEU-1 | 12.50 | –")]
    assert "The paper's hours of stage 1: stage 1 4.75;" in page
    assert "| both * | BLEU-1 | – |" in page
    assert "a joint one & small" in page
    assert r"\caption{Table 1: 100 \% tiny}" in latex
    assert [row["label"] for row in rows] == ["quoted", "stage 1", "both", "joint"]
    assert [row["paper"] for row in rows] == ["12.5", "17.25", "", ""]
    assert all("normalisation:nfc.v1" in row["signature"] for row in rows[1:])
    assert float(rows[1]["hours"]) > 0
    for name in ("figure1", "figure2"):
        assert (whole / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.slow
def test_what_is_done_is_not_done_again(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    told: list[str] = []

    reproduce(inputs[0], output, corpus=inputs[1], only=["table1"], tell=told.append)

    assert told == ["3 rows with their seeds: 4 stages, 4 done; to do: 0, 0 steps; time: about 0 s"]
    assert results(output) == results(whole)


@pytest.mark.slow
def test_a_row_alone_needs_only_its_stages_and_is_the_same(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    reproduce(inputs[0], tmp_path, corpus=inputs[1], only=["stage_1_alone"], tell=lambda _: None)

    assert stages(tmp_path) == ["visual_initialing"]
    rows = results(tmp_path)["rows"]
    assert rows == {"stage_1_alone": results(whole)["rows"]["stage_1_alone"]}


@pytest.mark.slow
def test_a_stage_whose_weights_were_cut_is_trained_again(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "cut"
    shutil.copytree(whole, output)
    weights = next(output.glob("stages/pretraining-*/run/1-pretraining/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:400])
    told: list[str] = []

    reproduce(inputs[0], output, corpus=inputs[1], tell=told.append)

    assert "4 stages, 3 done" in told[0]
    assert results(output) == results(whole)


@pytest.mark.slow
def test_a_row_that_fails_leaves_the_others_done(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "failed"
    shutil.copytree(whole, output)

    with pytest.raises(InputError, match=r"pretraining \(seed 3; wrong\): .*nowhere.*log.txt"):
        reproduce(inputs[0], output, corpus=inputs[1], only=["wrong", "both"], tell=lambda _: None)

    assert results(output) == results(whole)


@pytest.mark.slow
def test_nothing_is_built_upon_a_damaged_stage(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "damaged"
    shutil.copytree(whole, output)
    joint = results(output)["rows"]["joint"]["model"]
    shutil.rmtree(next((output / "stages").glob(f"*-{joint}")))
    weights = next(output.glob("stages/pretraining-*/run/1-pretraining/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    with pytest.raises(InputError, match=r"seed 3; joint\): .*differs from what was saved"):
        reproduce(inputs[0], output, corpus=inputs[1], tell=lambda _: None)

    assert list(results(output)["rows"]) == ["both", "stage_1_alone"]


@pytest.mark.slow
def test_a_killed_call_goes_on_and_others_are_waited_for(
    whole: Path, inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "unglossed", "reproduce", inputs[0], "--corpus", inputs[1]]
    process = subprocess.Popen(
        [*map(str, command), "--output", str(output)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    ends = time.monotonic() + 600
    while not any(output.glob("stages/visual_*/run/2-*/checkpoint-*/complete")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < ends
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = next(output.glob("stages/visual_*"))
    assert not (first / "run" / "model").exists()

    told: list[str] = []
    with ExitStack() as held:
        held.enter_context(exclusive(first / LOCK, lambda: None))

        def tell(line: str) -> None:
            told.append(line)
            if line.startswith("another call works on it: visual_initialing"):
                threading.Timer(0.5, held.close).start()

        reproduce(inputs[0], output, corpus=inputs[1], num_workers=2, tell=tell)

    assert "4 stages, 1 done" in told[0]
    waited = [line for line in told if line.startswith("another call works on it")]
    assert len(waited) == 1
    assert stages(output) == stages(whole)
    assert results(output) == results(whole)


def test_a_folder_belongs_to_one_plan_and_scale(inputs: tuple[Path, str], tmp_path: Path) -> None:
    plan, spec = inputs
    reproduce(plan, tmp_path / "a", corpus=spec, dry_run=True, tell=lambda _: None)

    with pytest.raises(
        InputError, match=r"plan.json: scale: found 'paper'.*choose another --output"
    ):
        reproduce(plan, tmp_path / "a", corpus=spec, scale="small", tell=lambda _: None)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"found 'thesis.tex' and no plan.json, expected a new"):
        reproduce(plan, tmp_path / "b", corpus=spec, tell=lambda _: None)


def test_a_scale_without_a_corpus_of_its_own_asks_for_one(
    inputs: tuple[Path, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--corpus: the plan .* needs one at scale paper"):
        reproduce(inputs[0], tmp_path / "a", tell=lambda _: None)


def test_the_small_scale_draws_its_corpus_once(inputs: tuple[Path, str], tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        reproduce(inputs[0], tmp_path, scale="small", dry_run=True, tell=told.append)

    assert told[0] == "the corpus is generated"
    assert len(told) == 3
    assert "3 rows with their seeds" in told[1]
    assert told[1] == told[2]
    assert len((tmp_path / "extra_texts.txt").read_text(encoding="utf-8").splitlines()) == 20


def test_a_changed_seed_and_an_empty_choice_are_refused(
    inputs: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "a"
    with pytest.raises(InputError, match=r"^seed=99: found a change of the seed, expected --seeds"):
        reproduce(inputs[0], output, corpus=inputs[1], overrides=["seed=99"], dry_run=True)
    for only in ("", ","):
        with pytest.raises(InputError, match=r"^--only: found '.*', expected rows, tables or fig"):
            chosen(only)
    assert not output.exists()


@pytest.mark.slow
def test_a_figure_of_norms_that_nothing_measures_is_left_out_and_told(
    inputs: tuple[Path, str], tmp_path: Path
) -> None:
    told: list[str] = []
    page = reproduce(
        *(inputs[0], tmp_path / "a"),
        corpus=inputs[1],
        only=["joint"],
        overrides=["stages.llm_fine_tuning.norms_every=0"],
        tell=told.append,
    )

    assert page is not None
    assert "Norms" not in page.read_text(encoding="utf-8")
    assert not (tmp_path / "a" / "figure1.svg").exists()
    assert any("figures.figure1.norms: found no norms_every" in line for line in told)
