"""What a folder of `reproduce` holds from earlier calls: other plans, changed and damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tiny
from sentencepiece_models import write_mbart
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import write_checksums
from unglossed.reproduce.graph import RUN, Graph, build_graph, held
from unglossed.reproduce.plan import load_plan
from unglossed.reproduce.results import Gathered
from unglossed.reproduce.run import _trimmed, reproduce
from unglossed.reproduce.task import USAGE, _drop_damaged, read_usage
from unglossed.reproduce.weights import num_parameters

ROOT = Path(__file__).parents[2]
SOURCE = (
    Path(__file__)
    .with_name("plan.yaml")
    .read_text(encoding="utf-8")
    .replace("RECIPE", str(ROOT / "tests" / "end_to_end" / "tiny.yaml"))
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


def write_plan(folder: Path, source: str = SOURCE) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "plan.yaml"
    path.write_text(source, encoding="utf-8")
    return path


def begin(plan: Path, output: Path, spec: str, **settings: object) -> None:
    settings = {"dry_run": True, "tell": lambda _: None, **settings}
    reproduce(plan, output, corpus=spec, **settings)  # type: ignore[arg-type]


def test_a_model_is_trimmed_again_for_other_texts_and_another_model(
    spec: str, tmp_path: Path
) -> None:
    model = tmp_path / "mbart"
    model.mkdir()
    write_mbart(model)
    more = tiny.write_corpus(tmp_path / "corpus", num_train=9)
    told: list[str] = []

    def trim(corpus: str) -> Path:
        found = _trimmed([str(model)], read_corpus(corpus), tmp_path, False, told.append)
        return Path(found[str(model)])

    first, again, other = trim(spec), trim(spec), trim(more)
    assert first == again
    assert first.is_dir()
    assert other.is_dir()
    assert first != other
    (model / "more.txt").write_text("a change")
    assert trim(spec) != first
    assert len(told) == 3


def test_a_models_folder_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    weights = tmp_path / "part" / "model.safetensors"
    weights.write_bytes(b"one")
    before = held(str(tmp_path))
    assert held(str(tmp_path)) == before

    weights.write_bytes(b"two")

    assert held(str(tmp_path)) != before
    assert held("a/hub-name") == "a/hub-name"


def test_another_plan_of_the_same_name_is_refused_and_an_edited_one_goes_on(
    spec: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    begin(write_plan(tmp_path / "a"), output, spec)
    more = SOURCE.replace("  - name: joint", "  - name: both_again\n  - name: joint")
    begin(write_plan(tmp_path / "b", more), output, spec)
    begin(write_plan(tmp_path / "a"), output, spec)

    other = SOURCE.replace("title: A tiny paper", "title: Another paper")
    with pytest.raises(InputError, match=r"plan.json: title: found 'A tiny paper', expected 'Ano"):
        begin(write_plan(tmp_path / "c", other), output, spec)
    rows = "title: A tiny paper\npaper: {recipe: demo}\nsmall: {recipe: demo}\nrows: [{name: x}]\n"
    with pytest.raises(InputError, match=r"plan.json: rows: found \['both', .*choose another"):
        begin(write_plan(tmp_path / "d", rows), output, spec, only=["x"])


def test_a_call_that_cannot_begin_leaves_nothing(spec: str, tmp_path: Path) -> None:
    plan, output = write_plan(tmp_path / "a"), tmp_path / "output"
    with pytest.raises(InputError):
        begin(plan, output, "phoenix14t:./nowhere")
    with pytest.raises(InputError, match="epochz"):
        begin(plan, output, spec, overrides=["epochz=1"])
    with pytest.raises(InputError, match="table9"):
        begin(plan, output, spec, only=["table9"])
    with pytest.raises(InputError, match="table9"):
        reproduce(plan, output, scale="small", only=["table9"], dry_run=True)
    no_split = SOURCE.replace("split: test\n", "split: tset\n")
    with pytest.raises(InputError, match="tset"):
        begin(write_plan(tmp_path / "b", no_split), output, spec)
    assert not output.exists()
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis.tex"):
        begin(plan, own, spec)
    assert [file.name for file in own.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 400])
def test_what_is_no_time_is_dropped(tmp_path: Path, value: str) -> None:
    (tmp_path / USAGE).write_text(f'{{"memory": 3, "seconds": {value}}}')

    assert read_usage(tmp_path).keys() <= {"memory"}


@pytest.fixture
def done(spec: str, tmp_path: Path) -> Graph:
    """A row whose stages have models, of which the last is scored."""
    corpus = read_corpus(spec)
    plan = load_plan(write_plan(tmp_path / "plan"))
    graph = build_graph(plan, ["both"], "paper", None, corpus, "x", tmp_path / "output")
    for node in graph.nodes.values():
        for model in (node.model, node.folder / RUN / "model"):
            model.mkdir(parents=True)
            weights = {"encoder.weight": np.zeros((40, 30), np.float32)}
            save_file(weights, model / "model.safetensors")
            write_checksums(model)
        if node.split is not None:
            node.scores.mkdir(parents=True)
            (node.scores / "metrics.json").touch()
            write_predictions(node.scores, [one.id for one in corpus.split("test")])
    return graph


def write_predictions(scores: Path, ids: list[str]) -> Path:
    rows = [{"id": one, "hypothesis": "regen", "reference": "schnee"} for one in ids]
    path = scores / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def gather(graph: Graph, spec: str, folder: Path) -> Gathered:
    plan = load_plan(write_plan(folder / "plan"))
    return Gathered(plan, "paper", graph, read_corpus(spec))


@pytest.mark.parametrize("num_bytes", [None, 4, 400])
def test_a_stage_without_its_weights_is_not_done_and_its_row_not_shown(
    done: Graph, spec: str, tmp_path: Path, num_bytes: int | None
) -> None:
    assert all(node.is_done() for node in done.nodes.values())
    assert gather(done, spec, tmp_path).runs("both")
    first = next(iter(done.nodes.values()))
    assert num_parameters(first.model) == {"encoder": 1200}
    weights = first.model / "model.safetensors"
    if num_bytes is None:
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:num_bytes])

    assert not first.is_done()
    assert gather(done, spec, tmp_path).content()["rows"] == {}
    _drop_damaged(first.folder / RUN)  # so that it is trained again
    assert not first.model.exists()
    assert (first.folder / RUN / "model").is_dir()


@pytest.mark.parametrize("content", ["", "x", '{"id": 1, "hypothesis": null, "reference": "a"}'])
def test_predictions_of_other_clips_are_named(
    done: Graph, spec: str, tmp_path: Path, content: str
) -> None:
    scores = next(node.scores for node in done.nodes.values() if node.split is not None)
    path = write_predictions(scores, ["test-0"])
    told = r"predictions.jsonl: found 1 clips, expected the 2 of the split .* delete its folder"
    with pytest.raises(InputError, match=told):
        gather(done, spec, tmp_path)

    path.write_text(content)

    with pytest.raises(InputError, match=r"predictions.jsonl: .*delete its folder, and the clips"):
        gather(done, spec, tmp_path)
