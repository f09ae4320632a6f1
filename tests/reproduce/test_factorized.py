"""The plan `factorized`: what its systems share, and that each is trained and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.reproduce.graph import Graph, build_graph
from unglossed.reproduce.plan import find_plan, load_plan
from unglossed.reproduce.run import reproduce
from unglossed.training.callbacks import NORMS_FILE, read_metrics
from unglossed.training.recipe import load_recipe
from unglossed.training.settings import StageSettings

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
PLAN = load_plan("factorized")
FIRST, SECOND = load_recipe("fla_llm_small", PLAN.small.changes).stages[1:]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus")))


def build(corpus: Corpus, folder: Path, *overrides: str) -> Graph:
    names = [row.name for row in PLAN.rows]
    return build_graph(
        *(PLAN, names, "small", [0], corpus, "fingerprint", folder), overrides=overrides
    )


def stages_of(graph: Graph) -> dict[str, list[StageSettings]]:
    """What each row trains behind the language model."""
    return {
        run.row: [node.stage for node in nodes if node.stage.name != "language_pretraining"]
        for run, nodes in graph.chains.items()
    }


def test_all_systems_start_from_one_language_model(corpus: Corpus, tmp_path: Path) -> None:
    graph = build(corpus, tmp_path)

    names = [node.stage.name for node in graph.nodes.values()]
    assert names.count("language_pretraining") == 1
    assert len(names) == 8  # stage 1 is one for factorized training and alone
    (pretraining,) = (n for n in graph.nodes.values() if n.stage.name == "language_pretraining")
    assert {run.row for run in pretraining.used_by} == {
        row.name for row in PLAN.rows if row.name != "stage_1_alone"
    }
    for run, node in graph.ends.items():
        if run.row != "stage_1_alone":
            assert node.taken["language_pretraining"] == pretraining.key
            assert pretraining.key in node.needs


def test_systems_differ_in_what_is_trained_when_and_in_nothing_else(
    corpus: Corpus, tmp_path: Path
) -> None:
    stages = stages_of(build(corpus, tmp_path))

    factorized = stages["factorized"]
    assert factorized == [FIRST, SECOND]
    assert {one.norms_every for one in factorized} == {4}
    assert stages["stage_1_alone"] == factorized[:1]
    joint, longer, one_rate = (stages[name] for name in ("joint", "joint_long", "joint_one_rate"))
    rates = {**FIRST.learning_rates, "language_model": SECOND.learning_rates["language_model"]}
    parts = {"language_model": SECOND.language_model, "learning_rates": rates}
    assert joint == [factorized[0].model_copy(update=parts)]
    epochs = {"epochs": FIRST.epochs + SECOND.epochs}
    assert longer == [joint[0].model_copy(update=epochs)]
    same = dict.fromkeys(rates, rates["language_model"])
    assert one_rate == [joint[0].model_copy(update={"learning_rates": same})]
    recognition, tuning = stages["gloss_based"]
    assert tuning == factorized[1]
    told = set(type(FIRST).model_fields) - {"learning_rates", "objective", "alignment"}
    told -= {"adapter", "language_model", "label_smoothing"}
    assert recognition.model_dump(include=told) == factorized[0].model_dump(include=told)
    assert recognition.objective == "gloss_ctc"
    rate = FIRST.learning_rates["encoder"]
    assert recognition.learning_rates == {"encoder": rate, "ctc_head": rate}


def test_a_change_of_stage_1_is_one_of_what_stands_in_its_place(
    corpus: Corpus, tmp_path: Path
) -> None:
    stages = stages_of(build(corpus, tmp_path, "stages.visual_initialing.epochs=3"))

    assert {name: found[0].epochs for name, found in stages.items()} == dict.fromkeys(stages, 3)


@pytest.mark.slow
def test_joint_and_gloss_based_systems_are_trained_scored_and_measured(tmp_path: Path) -> None:
    text = find_plan("factorized").read_text(encoding="utf-8")
    path = tmp_path / "factorized.yaml"
    for old, new in (
        ("recipe: fla_llm_small", f"recipe: {RECIPE}"),
        ("language_pretraining", "pretraining"),
        ("num_sentences: 1800, extra_texts: 4000", "num_sentences: 12, extra_texts: 8"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    names = [stage.name for stage in load_recipe(RECIPE).stages]
    output = tmp_path / "output"

    reproduce(
        *(path, output),
        scale="small",
        only=["joint", "gloss_based"],
        seeds=[3],
        overrides=[f"stages.{name}.epochs=1" for name in names],
        tell=lambda _: None,
    )

    told = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert {"joint", "gloss_based"} <= told["rows"].keys()
    assert told["split"] == "test"
    stages = {
        row: {one["stage"]: one["key"] for one in costs[0]["stages"]}
        for row, costs in told["costs"].items()
    }
    assert stages["joint"]["pretraining"] == stages["gloss_based"]["pretraining"]
    both = {"encoder_gradient", "language_model_gradient"}
    for row, stage, expected in (
        ("joint", "visual_initialing", both),
        ("gloss_based", "visual_initialing", {"encoder_gradient"}),
        ("gloss_based", "llm_fine_tuning", {"language_model_gradient"}),
    ):
        (run,) = output.glob(f"stages/{stage}-{stages[row][stage]}/run/*-{stage}/{NORMS_FILE}")
        rows = read_metrics(run)
        assert rows
        assert rows[0].keys() & both == expected
    assert "gloss_based: gradient norm" in (output / "norms.svg").read_text(encoding="utf-8")
