"""Plans: each fault in one line, and what the shipped ones come to at either scale."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.reproduce.graph import Graph, _chain, build_graph
from unglossed.reproduce.plan import Scale, choose_rows, load_plan, row_recipe, told_of
from unglossed.training.plan import plan_stages
from unglossed.training.recipe import Recipe, load_recipe
from unglossed.training.run import Run

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "plans").glob("*.yaml"))
SOURCE = Path(__file__).with_name("plan.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  - name: joint", "  - name: both", "rows: two have the name 'both'"),
        ("row: stage_1_alone,", "row: stage_2,", "tables.table1.rows: found no row 'stage_2'"),
        ("reference: both", "reference: wrong", "tables.table1.reference: found no row 'wrong'"),
        ("norms: [joint]", "norms: [jont]", "found no row 'jont', did you mean joint?"),
        ("name: figure2", "name: table1", "tables and figures: two have the name 'table1'"),
        ("seeds: [3]", "seeds: [yes]", "seeds.0: found True"),
        ("bleu1: 12.50", "blue1: 12.50", "rows.0.paper.blue1: no such key"),
        ("norms: [joint]", "metric: bleu1", "figures.figure1: expected either norms or lines"),
        (
            "[tokenizer.pretrained=./nowhere]",
            "[seed=9]",
            "rows.wrong.changes: found 'seed=9', expected",
        ),
        (
            "corpora: [csl_daily, ",
            "corpora: [csldaily, ",
            "corpora.0: found no kind of corpus 'csldaily', did you mean csl_daily?",
        ),
        ("phoenix14t/en]", "phoenix14t/english]", "corpora.1: found 'english', expected that of"),
        ("title: A tiny paper", "titel: A tiny paper", "titel: no such key, did you mean title?"),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SOURCE
    path = tmp_path / "plan.yaml"
    path.write_text(SOURCE.replace(old, new), encoding="utf-8")

    with pytest.raises(InputError) as raised:
        load_plan(path)

    assert str(path) in str(raised.value)
    assert message in str(raised.value)


def test_an_unknown_plan_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"plan flallm: no such file; .*fla_llm, lst"):
        load_plan("flallm")


def test_a_fault_in_a_rows_recipe_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(SOURCE.replace("RECIPE", "demo").replace("skip=true", "skpi=true"))
    plan = load_plan(path)

    told = r"plan.yaml: rows.stage_1_alone, scale small: changes: .*skpi: no such key"
    with pytest.raises(InputError, match=told):
        row_recipe(plan, plan.row("stage_1_alone"), "small", kind="x", language="de", seed=0)


def test_a_recipe_that_is_not_there_and_a_change_of_the_command_line_are_told_apart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plan.yaml"
    tiny_recipe = ROOT / "tests" / "end_to_end" / "tiny.yaml"
    path.write_text(SOURCE.replace("RECIPE", str(tiny_recipe), 1))
    plan = load_plan(path)

    def load(scale: Scale, *overrides: str) -> Recipe:
        known = {"kind": "x", "language": "de"}
        return row_recipe(plan, plan.row("both"), scale, seed=0, overrides=overrides, **known)

    with pytest.raises(InputError, match=r"plan.yaml: rows.both, scale small: recipe RECIPE: no"):
        load("small")
    with pytest.raises(
        InputError, match=r"^rows.both, scale paper: key=value on the .* line: seeed: no"
    ):
        load("paper", "seeed=3")


def test_rows_are_those_that_the_paper_has_for_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(SOURCE)
    plan = load_plan(path)

    assert choose_rows(plan, "phoenix14t", "de") == ["both", "stage_1_alone", "joint"]
    assert "wrong" in choose_rows(plan, "csl_daily", "zh")
    assert "wrong" in choose_rows(plan, "phoenix14t", "en")
    assert choose_rows(plan, "phoenix14t", "de", ["table2", "both"]) == ["both", "wrong"]
    with pytest.raises(InputError, match="--only: found 'table3', expected rows, tables or fig"):
        choose_rows(plan, "phoenix14t", "de", ["table3"])


def test_no_table_has_another_corpus_title() -> None:
    plan = load_plan(ROOT / "plans" / "fla_llm.yaml")
    every = [row.name for row in plan.rows]

    def names(kind: str, done: list[str]) -> list[str]:
        return [one.name for one in told_of(plan, kind, "de", done)]

    ours = [f"table{number}" for number in (1, *range(4, 11))] + ["figure2", "figure4"]
    assert names("phoenix14t", every) == ours
    assert names("csl_daily", ["factorized"]) == ["table2"]
    assert names("csl_daily", ["factorized", "stage_1_alone"]) == ["table2", "table5", "figure4"]


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_plans_resolve(name: str, scale: Scale, corpus: Corpus, tmp_path: Path) -> None:
    plan = load_plan(name)
    rows = [row.name for row in plan.rows]

    graph = build_graph(plan, rows, scale, [0, 1], corpus, "fingerprint", tmp_path)

    assert {run.row for run in graph.ends} == set(rows)
    last = {run: node.key for run, node in graph.ends.items()}
    assert len(set(last.values())) == len(last), "two rows are the same"
    shown = {name for one in plan.shown for name in one.own_rows}
    assert shown == set(rows), "a row is in no table or figure"


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_tables_5_and_8_to_10_share_one_stage_1(
    scale: Scale, corpus: Corpus, tmp_path: Path
) -> None:
    plan = load_plan("fla_llm")
    names = ["factorized", "stage_1_alone", "frame_wise", "light_t_states", "nothing_frozen"]
    names += ["backbone_frozen", "mbart_random"]

    graph = build_graph(plan, names, scale, [0], corpus, "fingerprint", tmp_path)

    first = [node for node in graph.nodes.values() if node.stage.name == "visual_initialing"]
    assert len(first) == 1
    assert {run.row for run in first[0].used_by} == set(names)
    other = build_graph(plan, names, scale, [0], corpus, "another corpus", tmp_path)
    assert not graph.nodes.keys() & other.nodes.keys()


@pytest.mark.parametrize(
    "change",
    [
        "video.frame_share=0.5",
        "audio={}",
        "array={dim: 8}",
        "languages=[de, en]",
        "decoding.beams=7",
    ],
)
def test_how_clips_are_read_and_texts_written_is_part_of_a_stage(
    change: str, corpus: Corpus, tmp_path: Path
) -> None:
    recipe = load_recipe("demo", ["extra_texts=null"])
    other = load_recipe("demo", ["extra_texts=null", change])

    def first(one: Recipe) -> str:
        nodes = _chain(one, corpus, "fingerprint", tmp_path)
        return next(node.key for node in nodes if node.stage.name == "visual_initialing")

    assert first(recipe) != first(other)


def test_models_of_the_small_plan_can_be_built(corpus: Corpus, tmp_path: Path) -> None:
    plan = load_plan("fla_llm")
    for name in ("joint", "no_stage_1", "light_t_large", "light_t_states", "frame_wise", "mt5"):
        row = plan.row(name)
        recipe = row_recipe(plan, row, "small", kind="phoenix14t", language="de", seed=0)
        smaller = Recipe.model_validate(
            {**recipe.model_dump(mode="json"), "tokenizer": {"vocab_size": 120}}
        )
        run = Run(smaller, corpus, tmp_path)
        assert plan_stages(smaller.stages, run.processor)


def test_a_row_is_trained_without_the_stages_that_it_takes_nothing_from(
    corpus: Corpus, tmp_path: Path
) -> None:
    plan = load_plan("fla_llm")

    def build(*names: str) -> Graph:
        return build_graph(plan, names, "small", [0], corpus, "fingerprint", tmp_path)

    both, alone = build("factorized"), build("stage_1_alone")

    assert [node.stage.name for node in alone.nodes.values()] == ["visual_initialing"]
    (node,) = alone.nodes.values()
    assert not node.taken
    assert both.nodes[node.key].stage_folder == node.stage_folder
    assert len(node.recipe.stages) == 2  # so that it draws as it does beside the other one
    assert len(next(iter(both.ends.values())).taken) == 2


def test_a_figure_that_is_called_as_a_row_is_refused(tmp_path: Path) -> None:
    plan = Path(__file__).with_name("plan.yaml").read_text(encoding="utf-8")
    changed = tmp_path / "plan.yaml"
    changed.write_text(plan.replace("{name: figure1", "{name: both"), encoding="utf-8")

    with pytest.raises(InputError, match=r"found 'both', which is a row's name, too"):
        load_plan(changed)
